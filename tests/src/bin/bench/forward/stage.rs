//! Two workloads and the host between them, and frames from one to the other.

use std::fs;
use std::time::Duration;

use enforcer::datapath::bpf::TcxHook;
use enforcer_tests::packet::{BLUE_A, BLUE_B, Family};
use enforcer_tests::tcx::{Link, Place};
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Host, NetNs, bytecode};

use super::mix::{Length, Mix};
use super::sender::Sender;
use super::template::Template;

/// The host's interface towards who sends, and towards who receives.
pub const TOWARDS_A: &str = "veth-a";
pub const TOWARDS_B: &str = "veth-b";
/// Of the host's interface, and of the one inside.
const MACS_A: [&str; 2] = ["02:00:00:00:0a:01", "02:00:00:00:0a:02"];
const MACS_B: [&str; 2] = ["02:00:00:00:0b:01", "02:00:00:00:0b:02"];
/// `TC_ACT_SHOT`
const DROP: i32 = 2;

/// What the kernel itself may send meanwhile: an interface that came up asks for routers and joins groups.
const STRAYS: u64 = 8;

/// How the host leads from one to the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    Routed,
    Bridged,
    /// Not at all: one veth joins both.
    Direct,
}

/// One host with its two workloads. What arrives is counted and dropped before the receiver's stack sees it.
pub struct Stage {
    pub host: Host,
    _a: NetNs,
    b: NetNs,
    sender: Sender,
    _sink: Link,
}

impl Stage {
    pub fn new(name: &str, wiring: Wiring) -> Self {
        let host = Host::new(name);
        let (a, b) = (NetNs::create(&format!("{name}-a")), NetNs::create(&format!("{name}-b")));
        if wiring == Wiring::Direct {
            join(&a, &b);
        } else {
            hang(&host, [&a, &b]);
        }
        for (netns, party) in [(&a, BLUE_A), (&b, BLUE_B)] {
            let [v4, v6] = Family::BOTH.map(|family| party.on(family));
            netns.ip(&format!(
                "link set {INSIDE} up\naddr add {v4}/32 dev {INSIDE}\naddr add {v6}/128 dev {INSIDE}\n"
            ));
        }
        match wiring {
            Wiring::Routed => route(&host),
            Wiring::Bridged => bridge(&host),
            Wiring::Direct => {}
        }
        for netns in [&a, &b] {
            netns.wait_for_carrier(INSIDE);
        }
        let sender = Sender::open(&a, INSIDE).expect("a packet socket");
        let sink = Link::attach(&b, INSIDE, TcxHook::Ingress, Place::First, &dropping());
        Self { host, _a: a, b, sender, _sink: sink }
    }

    /// Ends the way of every frame where it enters the host: what is left is the sender's part.
    pub fn end_at_the_host(&self) -> Link {
        Link::attach(self.host.netns(), TOWARDS_A, TcxHook::Ingress, Place::First, &dropping())
    }

    /// Hands every frame to the receiver, without looking at it.
    pub fn redirect_all(&self) -> Link {
        let to = self.host.netns().enter(|| nix::net::if_::if_nametoindex(TOWARDS_B)).expect("it is there");
        let program = bytecode::classifier(&[
            // r1 = ifindex; r2 = flags
            bytecode::instruction(0xb7, 0x01, 0, to as i32),
            bytecode::instruction(0xb7, 0x02, 0, 0),
            // bpf_redirect_peer
            bytecode::instruction(0x85, 0, 0, 155),
            bytecode::instruction(0x95, 0, 0, 0),
        ]);
        Link::attach(self.host.netns(), TOWARDS_A, TcxHook::Ingress, Place::First, &program)
    }

    /// Packets will be of this length from now on.
    pub fn prepare(&mut self, length: Length) {
        self.sender.prepare(length).expect("the kernel knows super-packets");
    }

    /// How long frames of these flows take, which all must arrive or, if `arrive` is false, none of them.
    pub fn run(&mut self, template: &Template, flows: &[u32], arrive: bool) -> Duration {
        let before = received(&self.b);
        let took = self.sender.send(template, flows).expect("the kernel takes frames");
        let (arrived, count) = (received(&self.b) - before, flows.len() as u64);
        let least = if arrive { count } else { 0 };
        assert!((least..=least + STRAYS).contains(&arrived), "{arrived} frames arrived, of {count}");
        took
    }
}

/// Packets that the receiver's interface has received.
pub fn received(receiver: &NetNs) -> u64 {
    let table = receiver.enter(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("it is there");
    let line = table.lines().find_map(|line| line.trim().strip_prefix(INSIDE)?.strip_prefix(':'));
    let packets = line.and_then(|line| line.split_whitespace().nth(1));
    packets.and_then(|packets| packets.parse().ok()).expect("a number of packets")
}

/// What a mix's frames are made of.
pub fn template(wiring: Wiring, family: Family, mix: Mix) -> Template {
    let to = if wiring == Wiring::Routed { MACS_A[0] } else { MACS_B[1] };
    Template::new(&[to, MACS_A[1]].map(mac).concat(), family, mix)
}

/// A program that drops what it sees.
pub fn dropping() -> std::os::fd::OwnedFd {
    bytecode::classifier(&[bytecode::instruction(0xb7, 0, 0, DROP), bytecode::instruction(0x95, 0, 0, 0)])
}

/// Each behind a veth of its own.
fn hang(host: &Host, [a, b]: [&NetNs; 2]) {
    for (interface, [outside, inside], netns) in [(TOWARDS_A, MACS_A, a), (TOWARDS_B, MACS_B, b)] {
        host.netns().ip(&format!(
            "link add {interface} address {outside} type veth peer name {INSIDE} address {inside} netns {}\n\
             link set {interface} up\n",
            netns.name()
        ));
    }
}

fn join(a: &NetNs, b: &NetNs) {
    let [own, other] = [MACS_A[1], MACS_B[1]];
    a.ip(&format!(
        "link add {INSIDE} address {own} type veth peer name {INSIDE} address {other} netns {}\n",
        b.name()
    ));
}

/// The receiver hears no questions, so nobody asks for its MAC.
fn route(host: &Host) {
    for family in Family::BOTH {
        let (a, b) = (BLUE_A.on(family), BLUE_B.on(family));
        host.netns().ip(&format!(
            "route add {a} dev {TOWARDS_A}\nroute add {b} dev {TOWARDS_B}\n\
             neigh add {b} lladdr {} dev {TOWARDS_B} nud permanent\n",
            MACS_B[1]
        ));
    }
}

fn bridge(host: &Host) {
    host.netns().ip(&format!(
        "link add br0 type bridge mcast_snooping 0\nlink set {TOWARDS_A} master br0\nlink set {TOWARDS_B} master br0\n\
         link set br0 up\n"
    ));
    let port =
        host.netns().run("bridge", &["fdb", "replace", MACS_B[1], "dev", TOWARDS_B, "master", "static"]);
    assert!(port.status.success(), "bridge fdb: {port:?}");
}

fn mac(text: &str) -> Vec<u8> {
    text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect()
}
