//! A flood of what is denied, at the interface of a workload: what a packet takes until it is dropped, by whom. The frames
//! are XDP frames of the kernel's generator, as a network card would deliver them: who drops them early makes no buffer
//! of them first. What generator and interface take is measured beside it, with a program that drops all unseen, and
//! subtracted.

mod xdp_filter;

use std::os::fd::OwnedFd;

use anyhow::Result;
use enforcer_tests::cost::NETWORKS;
use enforcer_tests::daemon::{PATIENCE, ROOMY_CONFIG};
use enforcer_tests::live_frames::{self, Leaving};
use enforcer_tests::packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, OUTSIDER, from};
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Daemon, Host, NetNs, processor, wait};

use crate::ladder::feed;
use crate::results::{Goal, Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, rounds};
use xdp_filter::XdpFilter;

const ROUNDS: usize = 30;
/// Frames of one round.
const FRAMES: u32 = 100_000;
/// Others that the workload's kernel may send meanwhile, of its own accord.
const STRAYS: u64 = 8;
const VETH: &str = "veth-a";
/// Of a host whose flood comes from outside.
const WORKLOAD: &str = "veth-db";
const MACS: [&str; 2] = ["02:00:00:00:0a:01", "02:00:00:00:0a:02"];

/// Who drops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropper {
    /// An XDP program that drops all: what a frame takes besides.
    Unseen,
    IptablesRaw,
    NftRaw,
    XdpFilter,
    Guard,
    /// The same where the driver cannot run it.
    GenericGuard,
    /// The same where frames come from outside.
    UplinkGuard,
    Programs,
}

const DROPPERS: [Dropper; 8] = [
    Dropper::Unseen,
    Dropper::IptablesRaw,
    Dropper::NftRaw,
    Dropper::XdpFilter,
    Dropper::Guard,
    Dropper::GenericGuard,
    Dropper::UplinkGuard,
    Dropper::Programs,
];

/// What is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Denied {
    Spoofed,
    ByDefault,
}

struct Standing {
    dropper: Dropper,
    kept: Kept,
    host: Host,
    inside: NetNs,
    /// Nanoseconds of a packet, by round.
    times: Vec<f64>,
}

/// What must live on so that it is dropped.
enum Kept {
    Nothing,
    Unseen { _link: OwnedFd },
    XdpFilter(XdpFilter),
    Daemon(Daemon),
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nflood: nanoseconds of a packet that is denied, beyond generator and interface");
    processor::stay_on(processor::OTHERS);
    let mut hosts: Vec<Standing> = DROPPERS.into_iter().enumerate().filter_map(stand).collect();
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

/// Nobody, where it does not load: a line says why.
fn stand((number, dropper): (usize, Dropper)) -> Option<Standing> {
    let host = Host::new(&format!("flood{number}"));
    let inside = NetNs::create(&format!("flood{number}-inside"));
    let [outer, inner] = MACS;
    let mtu = dropper.mtu();
    host.netns().ip(&format!(
        "link add {VETH} address {outer} mtu {mtu} type veth peer name {INSIDE} address {inner} mtu {mtu} netns {}\n\
         link set {VETH} up\n",
        inside.name()
    ));
    inside.ip(&format!("link set {INSIDE} up\n"));
    if dropper == Dropper::UplinkGuard {
        hang_a_workload(&host);
    } else {
        for family in Family::BOTH {
            host.netns().ip(&format!("route add {} dev {VETH}\n", BLUE_A.on(family)));
        }
    }
    // It takes XDP frames only with this, or with a program of its own.
    let gro = host.netns().run("ethtool", &["-K", VETH, "gro", "on"]);
    assert!(gro.status.success(), "{gro:?}");
    host.netns().wait_for_carrier(VETH);
    match dropper.set_up(&host) {
        Ok(kept) => Some(Standing { dropper, kept, host, inside, times: Vec::new() }),
        Err(error) => {
            println!("  without {}: {error:#}", dropper.name());
            None
        }
    }
}

/// For whom frames from outside are, and in whose name. Nobody lives in it.
fn hang_a_workload(host: &Host) {
    let routes = Family::BOTH.map(|family| format!("route add {} dev {WORKLOAD}\n", DB.on(family))).concat();
    host.netns().ip(&format!(
        "link add {WORKLOAD} type veth peer name nobody\nlink set nobody up\nlink set {WORKLOAD} up\n{routes}"
    ));
}

fn enforcer(host: &Host, config: &str, endpoint: &str) -> Daemon {
    let daemon = Daemon::start_with(host, &format!("{ROOMY_CONFIG}{config}"));
    daemon.apply(NETWORKS);
    daemon.wait_ready(&[endpoint]);
    daemon
}

/// With a guard at the interface that is flooded, which has to run so.
fn guarded(host: &Host, config: &str, endpoint: &str, mode: &str) -> Daemon {
    let daemon = enforcer(host, &format!("[guard]\nmatch = [\"{VETH}\"]\n{config}"), endpoint);
    wait::until(&format!("a {mode} guard runs"), PATIENCE, || {
        (daemon.json(&["status"])["guards"][0]["mode"] == mode).then_some(())
    });
    daemon
}

impl Standing {
    /// One round.
    fn flood(&mut self, family: Family, denied: Denied) {
        let (src, dst) = match (self.dropper, denied) {
            (Dropper::UplinkGuard, Denied::Spoofed) => (DB, BLUE_B),
            (Dropper::UplinkGuard, Denied::ByDefault) => (OUTSIDER, DB),
            (_, Denied::Spoofed) => (BLUE_FAR, BLUE_B),
            (_, Denied::ByDefault) => (BLUE_A, DB),
        };
        let mut frame = from(src.on(family)).to(dst.on(family)).udp(9).payload(18).bytes();
        let macs = [self.host.netns().mac(VETH), self.inside.mac(INSIDE)].concat();
        frame[..macs.len()].copy_from_slice(&macs);
        let generator = Leaving::by(&self.inside, INSIDE, &frame);
        // The processor's caches hold what the one before had use for.
        generator.send(FRAMES / 20);
        let before = self.dropped(family);
        let took = generator.send(FRAMES);
        let dropped = self.dropped(family) - before;
        let all = u64::from(FRAMES)..=u64::from(FRAMES) + STRAYS;
        assert!(all.contains(&dropped), "{} dropped {dropped} frames of {FRAMES}", self.dropper.name());
        self.times.push(f64::from(took));
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
            // The interface counts by queue, `rx_queue_0_xdp_drops: 7`.
            (Dropper::Unseen, _) => {
                let shown = netns.run("ethtool", &["-S", VETH]);
                let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
                let drops = shown.lines().filter_map(|line| line.split_once("xdp_drops: "));
                drops.map(|(_, count)| count.parse::<u64>().expect("a number")).sum()
            }
            (Dropper::IptablesRaw, Family::V4) => {
                counted("iptables-legacy", &["-t", "raw", "-nvxL", "PREROUTING"], "destination")
            }
            (Dropper::IptablesRaw, Family::V6) => {
                counted("ip6tables-legacy", &["-t", "raw", "-nvxL", "PREROUTING"], "destination")
            }
            (Dropper::NftRaw, _) => counted("nft", &["list", "table", "inet", "flood"], "packets"),
            _ => match &self.kept {
                Kept::XdpFilter(filter) => filter.dropped(netns),
                Kept::Daemon(daemon) => daemon.counts("drop").values().sum(),
                Kept::Nothing | Kept::Unseen { .. } => unreachable!("somebody drops"),
            },
        }
    }
}

impl Dropper {
    fn set_up(self, host: &Host) -> Result<Kept> {
        match self {
            Self::Unseen => return Ok(Kept::Unseen { _link: live_frames::end_at(host.netns(), VETH) }),
            Self::IptablesRaw => {
                for command in ["iptables-legacy-restore", "ip6tables-legacy-restore"] {
                    let rules = format!("*raw\n-A PREROUTING -i {VETH} -j DROP\nCOMMIT\n");
                    feed(host.netns(), command, &[], &rules);
                }
            }
            Self::NftRaw => {
                let rules = "table inet flood { chain raw { type filter hook prerouting priority raw; iif \"veth-a\" counter drop; }; }\n";
                feed(host.netns(), "nft", &["-f", "-"], rules);
            }
            Self::XdpFilter => return XdpFilter::load(host, VETH).map(Kept::XdpFilter),
            Self::Guard => return Ok(Kept::Daemon(guarded(host, "", VETH, "native"))),
            Self::GenericGuard => return Ok(Kept::Daemon(guarded(host, "", VETH, "generic"))),
            Self::UplinkGuard => {
                let uplink = format!("[[uplink]]\nmatch = \"{VETH}\"\ntrust = \"external\"\n");
                return Ok(Kept::Daemon(guarded(host, &uplink, WORKLOAD, "native")));
            }
            Self::Programs => return Ok(Kept::Daemon(enforcer(host, "", VETH))),
        }
        Ok(Kept::Nothing)
    }

    /// Frames that fit no page beside what a driver's XDP program needs leave the generic mode alone.
    const fn mtu(self) -> u16 {
        if matches!(self, Self::GenericGuard) { 9_000 } else { 1_500 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unseen => "XDP_DROP, unseen",
            Self::IptablesRaw => "iptables-legacy, table raw",
            Self::NftRaw => "nftables, priority raw",
            Self::XdpFilter => "xdp-filter",
            Self::Guard => "enforcer, guard (XDP)",
            Self::GenericGuard => "enforcer, guard (XDP) in generic mode",
            Self::UplinkGuard => "enforcer, guard (XDP) at an uplink",
            Self::Programs => "enforcer, no guard",
        }
    }
}

fn report(hosts: &mut [Standing], family: Family, denied: Denied, results: &mut Results) {
    let denied = if denied == Denied::Spoofed { "spoofed" } else { "default-deny" };
    let times = |dropper| &hosts.iter().find(|host| host.dropper == dropper).expect("it was measured").times;
    let unseen = times(Dropper::Unseen);
    let beyond = |dropper| Estimate::of(times(dropper).iter().zip(unseen).map(|(all, unseen)| all - unseen));
    let ratio = |dropper, of| beyond(dropper).times(beyond(of));
    let besides = Estimate::of(unseen.iter().copied()).median;
    println!("  {family:?}, {denied}; generator and interface {besides:.0} ns");
    let droppers = hosts.iter().map(|host| host.dropper).filter(|dropper| *dropper != Dropper::Unseen);
    for dropper in droppers {
        let row = Row {
            part: "flood".into(),
            of: format!("{family:?}, {denied}, one flow"),
            what: dropper.name().to_owned(),
            unit: Unit::Nanoseconds,
            value: beyond(dropper),
            times: ratio(dropper, Dropper::IptablesRaw),
            of_what: "iptables-legacy, table raw".into(),
        };
        println!("    {row}");
        results.rows.push(row);
    }
    let what = format!("flood at a guard, {family:?}, {denied}, against iptables-legacy, table raw");
    results.goals.push(Goal::at_least("flood", what, 3.0, ratio(Dropper::IptablesRaw, Dropper::Guard)));
    for host in hosts {
        host.times.clear();
    }
}
