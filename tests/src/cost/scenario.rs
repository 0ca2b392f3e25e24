//! What is measured. Every scenario first shows that it is the one it claims to be.

use std::{net::IpAddr, time::Duration};

use enforcer::datapath::{
    load::Options,
    sizes::{Sizes, TableKind},
};
use enforcer_common::verdict::{DropReason, PassReason};

use super::Law;
use crate::{
    kernel::Feature,
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, OUTSIDER, Packet, from},
    prog_run::Lab,
};

/// How often a packet is run for one figure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs of one packet whose flow is known: the figure is their mean.
    pub runs: u32,
    /// Packets whose flow is not known, each measured alone: the figure is their median.
    pub misses: u32,
}

/// A packet at a hook, and what is known of it.
#[derive(Debug)]
pub struct Scenario {
    /// Under which it is judged.
    pub law: Law,
    /// The program, and what it does with the packet.
    pub name: &'static str,
    packet: Kind,
}

/// Which packet it is, and where it is seen.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Sent,
    Delivered,
    Denied,
    Missed,
    MissedAndDenied,
    Spoofed,
    FirstFragment,
    LaterFragment,
    RuleHit,
    ReplyHit,
    RuleMissed,
    Error,
    Arrived,
    ArrivedSpoofed,
    Guarded,
    GuardedSpoofed,
}

const fn row(law: Law, packet: Kind, name: &'static str) -> Scenario {
    Scenario { law, name, packet }
}

/// In the order of the table.
pub const SCENARIOS: [Scenario; 24] = [
    row(Law::Networks, Kind::Sent, "from_endpoint, hit: flow known, passed and stamped"),
    row(Law::Networks, Kind::Delivered, "to_endpoint, hit: flow known, stamp recognised"),
    row(Law::Networks, Kind::Denied, "from_endpoint, deny: denied flow known"),
    row(Law::Networks, Kind::Missed, "from_endpoint, miss: judged anew, passed *"),
    row(Law::Networks, Kind::MissedAndDenied, "from_endpoint, miss: judged anew, denied *"),
    row(Law::Networks, Kind::Spoofed, "from_endpoint, spoofed: dropped"),
    row(Law::Networks, Kind::FirstFragment, "from_endpoint, first fragment: flow known, remembered"),
    row(Law::Networks, Kind::LaterFragment, "from_endpoint, later fragment: resolved, flow known"),
    row(Law::Networks, Kind::Arrived, "from_uplink: nobody's source"),
    row(Law::Networks, Kind::ArrivedSpoofed, "from_uplink, spoofed: dropped"),
    row(Law::Networks, Kind::Guarded, "xdp_guard at a veth: judged, passed"),
    row(Law::Networks, Kind::GuardedSpoofed, "xdp_guard at a veth, spoofed: dropped"),
    row(Law::OneRule, Kind::RuleHit, "from_endpoint, rule hit: flow known, 1 rule"),
    row(Law::ManyRules, Kind::RuleHit, "  10,000 rules"),
    row(Law::ManyPorts, Kind::RuleHit, "  10,000 rules, 10,000 ports in the one"),
    row(Law::OneRule, Kind::ReplyHit, "from_endpoint, reply hit: flow known, 1 rule"),
    row(Law::ManyRules, Kind::ReplyHit, "  10,000 rules"),
    row(Law::ManyPorts, Kind::ReplyHit, "  10,000 rules, 10,000 ports in the one"),
    row(Law::OneRule, Kind::RuleMissed, "from_endpoint, rule miss: judged anew, passed, 1 rule *"),
    row(Law::ManyRules, Kind::RuleMissed, "  10,000 rules *"),
    row(Law::ManyPorts, Kind::RuleMissed, "  10,000 rules, 10,000 ports in the one *"),
    row(Law::OneRule, Kind::Error, "from_endpoint, ICMP error: judged anew, state asked, 1 rule"),
    row(Law::ManyRules, Kind::Error, "  10,000 rules"),
    row(Law::ManyPorts, Kind::Error, "  10,000 rules, 10,000 ports in the one"),
];

/// Who is measured: `a` and `b` of *blue*, and `db`; with tables of this kind.
pub fn lab(tables: TableKind) -> Lab {
    let sizes = Sizes { tables, ..Sizes::default() };
    let mut lab = Lab::loaded_with(&Options { sizes, ..Options::default() });
    for (name, party) in [("a", BLUE_A), ("b", BLUE_B), ("db", DB)] {
        lab.endpoint(name).owns([party]);
    }
    lab.uplink(UPLINK);
    lab
}

const UPLINK: &str = "fabric";

impl Scenario {
    /// What the kernel must have so that it can be measured.
    pub const fn wants(&self) -> Option<Feature> {
        match self.packet {
            Kind::Delivered | Kind::Arrived | Kind::ArrivedSpoofed => Some(Feature::TestedOrigin),
            Kind::Guarded | Kind::GuardedSpoofed => Some(Feature::TestedXdp),
            _ => None,
        }
    }

    /// Time of one packet, under the scenario's law, in a [`lab`].
    pub fn measure(&self, lab: &mut Lab, family: Family, effort: Effort) -> Duration {
        let shared = question(BLUE_A.on(family), BLUE_B.on(family));
        let other = question(BLUE_A.on(family), DB.on(family));
        let forged = question(BLUE_FAR.on(family), BLUE_B.on(family));
        let outside = question(OUTSIDER.on(family), BLUE_A.on(family));
        let Effort { runs, misses } = effort;
        match self.packet {
            Kind::Sent => passes(lab, "a", &shared, PassReason::SharedNetwork, runs),
            Kind::Delivered => {
                lab.delivered_to("b", &shared).stamped_by("a").passes_counted_before();
                lab.delivered_to("b", &shared).stamped_by("a").mean_duration(runs)
            }
            Kind::Denied => drops(lab, &other, DropReason::DefaultDeny, runs),
            Kind::Missed => median_miss(lab, &shared, misses),
            Kind::MissedAndDenied => median_miss(lab, &other, misses),
            Kind::Spoofed => drops(lab, &forged, DropReason::SpoofedSource, runs),
            Kind::FirstFragment => passes(lab, "a", &first(&shared), PassReason::SharedNetwork, runs),
            Kind::LaterFragment => {
                lab.sent_by("a", first(&shared)).passes(PassReason::SharedNetwork);
                passes(lab, "a", &later(&shared), PassReason::SharedNetwork, runs)
            }
            Kind::RuleHit => passes(lab, "a", &other, PassReason::AllowedByRule, runs),
            Kind::RuleMissed => {
                lab.sent_by("a", &other).passes(PassReason::AllowedByRule);
                median_miss(lab, &other, misses)
            }
            Kind::ReplyHit => {
                lab.sent_by("a", &other).passes(PassReason::AllowedByRule);
                passes(lab, "db", &other.answer(), PassReason::Reply, runs)
            }
            Kind::Error => {
                lab.sent_by("a", &other).passes(PassReason::AllowedByRule);
                let error = from(DB.on(family)).to(BLUE_A.on(family)).unreachable(&other);
                passes(lab, "db", &error, PassReason::IcmpError, runs)
            }
            Kind::Arrived => {
                lab.arrives_at(UPLINK, &outside).passes(PassReason::Uplink);
                lab.arrives_at(UPLINK, &outside).mean_duration(runs)
            }
            Kind::ArrivedSpoofed => {
                lab.arrives_at(UPLINK, &shared).drops(DropReason::SpoofedOutside);
                lab.spend_events();
                lab.arrives_at(UPLINK, &shared).mean_duration(runs)
            }
            Kind::Guarded => {
                lab.guarded_by("a", &shared).passes_uncounted();
                lab.guarded_by("a", &shared).mean_duration(runs)
            }
            Kind::GuardedSpoofed => {
                lab.guarded_by("a", &forged).drops(DropReason::SpoofedSource);
                lab.spend_events();
                lab.guarded_by("a", &forged).mean_duration(runs)
            }
        }
    }
}

fn question(src: IpAddr, dst: IpAddr) -> Packet {
    from(src).to(dst).udp(53).payload(22)
}

/// A datagram's first fragment.
fn first(datagram: &Packet) -> Packet {
    datagram.clone().payload(1024).fragment(0, true)
}

/// And its rest.
fn later(datagram: &Packet) -> Packet {
    datagram.clone().fragment(129, false)
}

/// Many runs of a packet that passes; the first makes its flow known.
fn passes(lab: &mut Lab, endpoint: &str, packet: &Packet, reason: PassReason, runs: u32) -> Duration {
    lab.sent_by(endpoint, packet).passes(reason);
    lab.sent_by(endpoint, packet).mean_duration(runs)
}

fn drops(lab: &mut Lab, packet: &Packet, reason: DropReason, runs: u32) -> Duration {
    lab.sent_by("a", packet).drops(reason);
    lab.spend_events();
    lab.sent_by("a", packet).mean_duration(runs)
}

/// The median of many single misses.
fn median_miss(lab: &mut Lab, packet: &Packet, misses: u32) -> Duration {
    let single = (0..misses).map(|_| {
        lab.forget_flows();
        lab.sent_by("a", packet).mean_duration(1)
    });
    let mut single: Vec<Duration> = single.collect();
    single.sort_unstable();
    single[single.len() / 2]
}
