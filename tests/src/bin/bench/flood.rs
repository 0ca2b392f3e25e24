//! A flood of what is denied, at the interface of a workload: how many packets a second are dropped, by whom. The frames
//! are XDP frames of the kernel's generator, as a network card would deliver them: who drops them early makes no buffer
//! of them first.

use std::time::Instant;

use enforcer_tests::cost::NETWORKS;
use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::live_frames::Leaving;
use enforcer_tests::packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, from};
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Daemon, Host, NetNs};

use crate::ladder::feed;
use crate::results::{Goal, Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, processor, rounds};

const ROUNDS: usize = 30;
/// Frames of one round.
const FRAMES: u32 = 20_000;
const VETH: &str = "veth-a";
const MACS: [&str; 2] = ["02:00:00:00:0a:01", "02:00:00:00:0a:02"];

/// Who drops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropper {
    IptablesRaw,
    NftRaw,
    Guard,
    Programs,
}

const DROPPERS: [Dropper; 4] = [Dropper::IptablesRaw, Dropper::NftRaw, Dropper::Guard, Dropper::Programs];

/// What is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Denied {
    Spoofed,
    ByDefault,
}

struct Standing {
    dropper: Dropper,
    daemon: Option<Daemon>,
    host: Host,
    inside: NetNs,
    /// Packets a second, by round.
    rates: Vec<f64>,
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nflood: packets that are denied, dropped in a second");
    processor::stay_on(processor::OTHERS);
    let mut hosts: Vec<Standing> = DROPPERS.into_iter().enumerate().map(stand).collect();
    processor::stay_on(processor::SENDER);
    for family in Family::BOTH {
        for denied in [Denied::Spoofed, Denied::ByDefault] {
            for round in 0..thoroughness.of(ROUNDS) {
                for at in rounds::order(round, hosts.len()) {
                    hosts[at].flood(family, denied);
                }
            }
            report(&mut hosts, family, denied, results);
        }
    }
}

fn stand((number, dropper): (usize, Dropper)) -> Standing {
    let host = Host::new(&format!("flood{number}"));
    let inside = NetNs::create(&format!("flood{number}-inside"));
    let [outer, inner] = MACS;
    host.netns().ip(&format!(
        "link add {VETH} address {outer} type veth peer name {INSIDE} address {inner} netns {}\nlink set {VETH} up\n",
        inside.name()
    ));
    inside.ip(&format!("link set {INSIDE} up\n"));
    for family in Family::BOTH {
        host.netns().ip(&format!("route add {} dev {VETH}\n", BLUE_A.on(family)));
    }
    // It takes XDP frames only with this, or with a program of its own.
    let gro = host.netns().run("ethtool", &["-K", VETH, "gro", "on"]);
    assert!(gro.status.success(), "{gro:?}");
    host.netns().wait_for_carrier(VETH);
    let daemon = match dropper {
        Dropper::IptablesRaw => {
            for command in ["iptables-legacy-restore", "ip6tables-legacy-restore"] {
                feed(host.netns(), command, &[], &format!("*raw\n-A PREROUTING -i {VETH} -j DROP\nCOMMIT\n"));
            }
            None
        }
        Dropper::NftRaw => {
            let rules = "table inet flood { chain raw { type filter hook prerouting priority raw; iif \"veth-a\" counter drop; }; }\n";
            feed(host.netns(), "nft", &["-f", "-"], rules);
            None
        }
        Dropper::Guard => Some(enforcer(&host, &format!("[guard]\nmatch = [\"{VETH}\"]\n"))),
        Dropper::Programs => Some(enforcer(&host, "")),
    };
    Standing { dropper, daemon, host, inside, rates: Vec::new() }
}

fn enforcer(host: &Host, guard: &str) -> Daemon {
    let daemon = Daemon::start_with(host, &format!("{ROOMY_CONFIG}{guard}"));
    daemon.apply(NETWORKS);
    daemon.wait_ready(&[VETH]);
    daemon
}

impl Standing {
    /// One round.
    fn flood(&mut self, family: Family, denied: Denied) {
        let (src, dst) = match denied {
            Denied::Spoofed => (BLUE_FAR, BLUE_B),
            Denied::ByDefault => (BLUE_A, DB),
        };
        let mut frame = from(src.on(family)).to(dst.on(family)).udp(9).payload(18).bytes();
        let macs = [self.host.netns().mac(VETH), self.inside.mac(INSIDE)].concat();
        frame[..macs.len()].copy_from_slice(&macs);
        let generator = Leaving::by(&self.inside, INSIDE, &frame);
        let before = self.dropped(family);
        let start = Instant::now();
        generator.send(FRAMES);
        let took = start.elapsed();
        let dropped = self.dropped(family) - before;
        assert_eq!(dropped, u64::from(FRAMES), "frames that {} dropped, of {FRAMES}", self.dropper.name());
        self.rates.push(f64::from(FRAMES) / took.as_secs_f64());
    }

    /// Packets that were dropped so far, as who drops them counts.
    fn dropped(&self, family: Family) -> u64 {
        let netns = self.host.netns();
        let counted = |program: &str, arguments: &[&str], before: &str| -> u64 {
            let output = netns.run(program, arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let words = text.split_whitespace().skip_while(|word| *word != before).skip(1);
            words
                .into_iter()
                .find_map(|word| word.parse().ok())
                .unwrap_or_else(|| panic!("no count in {text}"))
        };
        match (self.dropper, family) {
            (Dropper::IptablesRaw, Family::V4) => {
                counted("iptables-legacy", &["-t", "raw", "-nvxL", "PREROUTING"], "destination")
            }
            (Dropper::IptablesRaw, Family::V6) => {
                counted("ip6tables-legacy", &["-t", "raw", "-nvxL", "PREROUTING"], "destination")
            }
            (Dropper::NftRaw, _) => counted("nft", &["list", "table", "inet", "flood"], "packets"),
            (Dropper::Guard | Dropper::Programs, _) => {
                let daemon: &Daemon = self.daemon.as_ref().expect("it is enforced");
                daemon.counts("drop").values().sum()
            }
        }
    }
}

impl Dropper {
    fn name(self) -> &'static str {
        match self {
            Self::IptablesRaw => "iptables-legacy, table raw",
            Self::NftRaw => "nftables, priority raw",
            Self::Guard => "enforcer, guard (XDP)",
            Self::Programs => "enforcer, no guard",
        }
    }
}

fn report(hosts: &mut [Standing], family: Family, denied: Denied, results: &mut Results) {
    let denied = if denied == Denied::Spoofed { "spoofed" } else { "default-deny" };
    let of = |dropper| &hosts.iter().find(|host| host.dropper == dropper).expect("it was measured").rates;
    let ratio = |dropper| {
        let pairs = of(dropper).iter().zip(of(Dropper::IptablesRaw));
        Estimate::of(pairs.map(|(own, other)| own / other))
    };
    for dropper in DROPPERS {
        let row = Row {
            part: "flood".into(),
            of: format!("{family:?}, {denied}, one flow"),
            what: dropper.name().to_owned(),
            unit: Unit::PerSecond,
            value: Estimate::of(of(dropper).iter().copied()),
            times: ratio(dropper),
            of_what: "iptables-legacy, table raw".into(),
        };
        println!("    {family:?}, {denied:<12} {row}");
        results.rows.push(row);
    }
    let what = format!("flood at a guard, {family:?}, {denied}, against iptables-legacy, table raw");
    results.goals.push(Goal::at_least("flood", what, 3.0, ratio(Dropper::Guard)));
    for host in hosts {
        host.rates.clear();
    }
}
