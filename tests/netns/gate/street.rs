//! A host with a victim on it and an uplink, on which workloads arrive that flood from their first moment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use enforcer_tests::beyond::{Beyond, FAR};
use enforcer_tests::capture::Capture;
use enforcer_tests::flood::Flood;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::packet::{
    Packet, Party, arp_request, from, neighbor_advertisement, neighbor_solicitation,
};
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Daemon, Host, NetNs, Workload, bridge, wait};
use ipnet::IpNet;

/// Nobody hears newcomers but the victim, and that over TCP. Strangers are in its network, and on no host.
pub const POLICY: &str = r#"
version = 1
[network.street]
prefixes = ["10.5.0.2/32", "10.9.0.0/24", "2001:db8:5::2/128", "2001:db8:9::/64"]
[group.newcomers]
prefixes = ["10.5.0.0/24", "2001:db8:5::/64"]
except = ["10.5.0.2/32", "2001:db8:5::2/128"]
[[rule]]
name = "newcomers ask the street"
from = ["newcomers"]
to = ["street"]
allow = ["tcp/5432"]
"#;

const VICTIM: Party =
    Party { v4: Ipv4Addr::new(10, 5, 0, 2), v6: Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 2) };
const STRANGER: Party =
    Party { v4: Ipv4Addr::new(10, 9, 0, 9), v6: Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9) };
const HOST: Party = Party { v4: HOST_IPV4, v6: HOST_IPV6 };

const VICTIM_MAC: Mac = [0x02, 0xf3, 0, 0, 0, 1];
const BROADCAST_MAC: Mac = [0xff; 6];
/// IEEE 802.1X; a bridge does not forward it, but learns from it.
const PORT_ACCESS_MAC: Mac = [0x01, 0x80, 0xc2, 0, 0, 0x03];
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// Ports of what no policy here admits, one behind the other as they stand in a header; as a trailer, what
/// nobody may ever hear of neighbour protocols.
const NEVER: [u8; 4] = [0xf1, 0x00, 0xf1, 0xa5];
/// The trailer of what the link needs, and may be heard from an enforced workload.
const NEIGHBORLY: [u8; 4] = [0xf1, 0x00, 0xf1, 0xa6];

/// Frames that a newcomer sends when all is wired.
const FRAMES: u64 = 500;

type Mac = [u8; 6];

/// How newcomers hang on their host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wiring {
    Routed,
    Bridged,
}

/// See the module.
pub struct Street {
    /// Dropped first: when a test fails, it dumps what it knows of the others.
    pub daemon: Daemon,
    pub victim: Workload,
    wiring: Wiring,
    at_victim: Capture,
    at_uplink: Capture,
    at_host: UdpSocket,
    _beyond: Beyond,
    pub host: Host,
}

impl Street {
    #[track_caller]
    pub fn build(wiring: Wiring) -> Self {
        let host = Host::new("gate");
        let beyond = Beyond::of(&host);
        let victim = host.workload("victim").at("10.5.0.2/24").at("2001:db8:5::2/64");
        let victim = wire(victim.with_macs("02:f4:00:00:00:01", &text(VICTIM_MAC)), wiring);
        let daemon = Daemon::start(&host);
        daemon.wait_ready(&[victim.interface()]);
        daemon.apply(POLICY);
        let port = u16::from_be_bytes([NEVER[2], NEVER[3]]);
        let at_host = host.netns().enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap();
        at_host.set_nonblocking(true).unwrap();
        let (at_victim, at_uplink) = (Capture::start(victim.netns()), Capture::start(&beyond.router));
        Self { daemon, victim, wiring, at_victim, at_uplink, at_host, _beyond: beyond, host }
    }

    /// A workload that floods before it has an interface, until some time after everything is wired.
    #[track_caller]
    pub fn welcome(&self, number: u8) -> Workload {
        let netns = NetNs::create(&format!("{}-n{number}", self.host.name()));
        let flood = Flood::start(&netns, INSIDE, self.frames(number));
        let own = own(number);
        let [outside, inside] = macs(number).map(text);
        let newcomer = self.host.workload(&format!("n{number}"));
        let newcomer = newcomer.at(&format!("{}/24", own.v4)).at(&format!("{}/64", own.v6));
        let newcomer = wire(newcomer.with_macs(&outside, &inside).within(netns), self.wiring);
        let before = flood.sent();
        wait::until("the newcomer has sent", Duration::from_secs(10), || {
            (flood.sent() > before + FRAMES).then_some(())
        });
        newcomer
    }

    /// Where anybody heard a newcomer since the last look. `enforced`: what the link needs is heard by right.
    pub fn leaks(&self, enforced: bool) -> Vec<String> {
        let forbidden: &[&[u8]] = if enforced { &[&NEVER] } else { &[&NEVER, &NEIGHBORLY] };
        let mut leaks = Vec::new();
        for (place, capture) in [("victim", &self.at_victim), ("uplink", &self.at_uplink)] {
            let heard = capture.find(forbidden);
            leaks.extend(heard.iter().map(|frame| format!("{place}: {frame:02x?}")));
        }
        while let Ok((_, source)) = self.at_host.recv_from(&mut [0; 64]) {
            leaks.push(format!("host: from {source}"));
        }
        leaks.extend(self.false_neighbors(enforced).into_iter().map(|line| format!("neighbor: {line}")));
        leaks.extend(self.false_stations(enforced).into_iter().map(|line| format!("bridge: {line}")));
        leaks
    }

    /// What the host believes of a newcomer's MAC, and should not.
    fn false_neighbors(&self, enforced: bool) -> Vec<String> {
        let output = self.host.netns().run("ip", &["neigh"]);
        let output = String::from_utf8(output.stdout).unwrap();
        let others = [VICTIM, STRANGER].map(|party| [party.v4.to_string(), party.v6.to_string()]).concat();
        let lines = output.lines().filter(|line| line.contains(&text(macs(0)[1])[..14]));
        let is_false =
            |line: &&str| !enforced || others.iter().any(|other| line.starts_with(&format!("{other} ")));
        lines.filter(is_false).map(str::to_owned).collect()
    }

    /// What the bridge learned behind a newcomer's port, and should not.
    fn false_stations(&self, enforced: bool) -> Vec<String> {
        let output = self.host.netns().run("bridge", &["fdb", "show"]);
        let output = String::from_utf8(output.stdout).unwrap();
        let own = &text(macs(0)[1])[..14];
        let learned =
            output.lines().filter(|line| line.contains("dev veth-n") && !line.contains("permanent"));
        let is_false = |line: &&str| !enforced || !line.starts_with(own);
        learned.filter(is_false).map(str::to_owned).collect()
    }

    /// Datagrams from itself and from a stranger to everybody, claims to be itself and the victim, and what a
    /// bridge hands over by another way.
    fn frames(&self, number: u8) -> Vec<Vec<u8>> {
        let own = own(number);
        let [outside, inside] = macs(number);
        let bridge = bridge::mac(IpNet::new_assert(VICTIM.v4.into(), 24), 1);
        let mut frames = Vec::new();
        for source in [own, STRANGER] {
            for (target, bridged) in [(VICTIM, VICTIM_MAC), (HOST, bridge), (FAR, bridge)] {
                let mac = if self.wiring == Wiring::Routed { outside } else { bridged };
                let datagrams = [datagram(source.v4, target.v4), datagram(source.v6, target.v6)];
                frames.extend(datagrams.map(|packet| framed(&packet, inside, mac, &[])));
            }
        }
        for (party, trailer) in [(own, NEIGHBORLY), (VICTIM, NEVER)] {
            let arp = arp_request(party.v4, self.gateway());
            frames.push(with_arp_mac(framed(&arp, inside, BROADCAST_MAC, &trailer), inside));
            let [solicits, advertises] =
                [neighbor_solicitation(party.v6, FAR.v6), neighbor_advertisement(party.v6, party.v6)];
            frames.push(framed(&solicits, inside, ALL_NODES_MAC, &trailer));
            frames.push(framed(&advertises, inside, ALL_NODES_MAC, &trailer));
        }
        let eapol = datagram(own.v4, HOST.v4).ethertype(0x888e);
        frames.push(framed(&eapol, VICTIM_MAC, PORT_ACCESS_MAC, &NEVER));
        frames
    }

    /// Whom the host answers for on the newcomers' link.
    fn gateway(&self) -> Ipv4Addr {
        match self.wiring {
            Wiring::Routed => Ipv4Addr::new(169, 254, 1, 1),
            Wiring::Bridged => Ipv4Addr::new(10, 5, 0, 1),
        }
    }
}

fn wire(workload: enforcer_tests::workload::NewWorkload<'_>, wiring: Wiring) -> Workload {
    match wiring {
        Wiring::Routed => workload.routed(),
        Wiring::Bridged => workload.bridged(),
    }
}

fn own(number: u8) -> Party {
    let host = 10 + number;
    Party {
        v4: Ipv4Addr::new(10, 5, 0, host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, u16::from(host)),
    }
}

/// The host's side of a newcomer's veth, and its own.
fn macs(number: u8) -> [Mac; 2] {
    [[0x02, 0xf2, 0, 0, 0, number], [0x02, 0xf1, 0, 0, 0, number]]
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn datagram(source: impl Into<IpAddr>, target: impl Into<IpAddr>) -> Packet {
    let [from_port, to_port] = [[NEVER[0], NEVER[1]], [NEVER[2], NEVER[3]]].map(u16::from_be_bytes);
    from(source).to(target).udp(to_port).from_port(from_port)
}

fn framed(packet: &Packet, source: Mac, target: Mac, trailer: &[u8]) -> Vec<u8> {
    let bytes = packet.bytes();
    [&target, &source, &bytes[12..], trailer].concat()
}

/// The sender inside ARP, behind the Ethernet header and eight bytes.
fn with_arp_mac(mut frame: Vec<u8>, mac: Mac) -> Vec<u8> {
    frame[22..28].copy_from_slice(&mac);
    frame
}
