//! What is measured. Every scenario first shows that it is the one it claims to be.

use std::{net::IpAddr, time::Duration};

use enforcer_common::verdict::{DropReason, PassReason};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, Family, Packet, from},
    prog_run::Lab,
};

use crate::policies::Law;

/// Runs of one packet in a round, when its flow is known.
pub const REPEAT: u32 = 100_000;
/// Misses in a round, each measured alone.
pub const MISSES: u32 = 300;

/// A row of the table.
pub struct Scenario {
    pub law: Law,
    pub name: &'static str,
    packet: Kind,
}

/// Which packet it is, and where it is seen.
#[derive(Clone, Copy)]
enum Kind {
    Sent,
    Delivered,
    Denied,
    Missed,
    MissedAndDenied,
    LaterFragment,
    RuleHit,
    ReplyHit,
    RuleMissed,
    Error,
}

const fn row(law: Law, packet: Kind, name: &'static str) -> Scenario {
    Scenario { law, name, packet }
}

/// In the order of the table.
pub const SCENARIOS: [Scenario; 18] = [
    row(Law::Networks, Kind::Sent, "from_endpoint, hit: flow known, passed and stamped"),
    row(Law::Networks, Kind::Delivered, "to_endpoint, hit: flow known, stamp recognised"),
    row(Law::Networks, Kind::Denied, "from_endpoint, deny: denied flow known"),
    row(Law::Networks, Kind::Missed, "from_endpoint, miss: judged anew, passed *"),
    row(Law::Networks, Kind::MissedAndDenied, "from_endpoint, miss: judged anew, denied *"),
    row(Law::Networks, Kind::LaterFragment, "from_endpoint, later fragment: resolved, flow known"),
    row(Law::OneRule, Kind::RuleHit, "from_endpoint, rule hit: flow known, state refreshed, 1 rule"),
    row(Law::ManyRules, Kind::RuleHit, "  10,000 rules"),
    row(Law::ManyPorts, Kind::RuleHit, "  10,000 rules, 10,000 ports in the one"),
    row(Law::OneRule, Kind::ReplyHit, "from_endpoint, reply hit: flow known, state asked, 1 rule"),
    row(Law::ManyRules, Kind::ReplyHit, "  10,000 rules"),
    row(Law::ManyPorts, Kind::ReplyHit, "  10,000 rules, 10,000 ports in the one"),
    row(Law::OneRule, Kind::RuleMissed, "from_endpoint, rule miss: judged anew, passed, 1 rule *"),
    row(Law::ManyRules, Kind::RuleMissed, "  10,000 rules *"),
    row(Law::ManyPorts, Kind::RuleMissed, "  10,000 rules, 10,000 ports in the one *"),
    row(Law::OneRule, Kind::Error, "from_endpoint, ICMP error: judged anew, state asked, 1 rule"),
    row(Law::ManyRules, Kind::Error, "  10,000 rules"),
    row(Law::ManyPorts, Kind::Error, "  10,000 rules, 10,000 ports in the one"),
];

impl Scenario {
    /// Nanoseconds of one packet, under the scenario's law.
    pub fn measure(&self, lab: &mut Lab, family: Family) -> Duration {
        let shared = question(BLUE_A.on(family), BLUE_B.on(family));
        let other = question(BLUE_A.on(family), DB.on(family));
        match self.packet {
            Kind::Sent => passes(lab, "a", &shared, PassReason::SharedNetwork),
            Kind::Delivered => delivered(lab, &shared),
            Kind::Denied => {
                lab.sent_by("a", &other).drops(DropReason::DefaultDeny);
                lab.sent_by("a", &other).mean_duration(REPEAT)
            }
            Kind::Missed => misses(lab, &shared),
            Kind::MissedAndDenied => misses(lab, &other),
            Kind::LaterFragment => {
                let first = shared.payload(1024).fragment(0, true);
                lab.sent_by("a", &first).passes(PassReason::SharedNetwork);
                passes(lab, "a", &later(&first), PassReason::SharedNetwork)
            }
            Kind::RuleHit => passes(lab, "a", &other, PassReason::AllowedByRule),
            Kind::RuleMissed => {
                lab.sent_by("a", &other).passes(PassReason::AllowedByRule);
                misses(lab, &other)
            }
            Kind::ReplyHit => {
                lab.sent_by("a", &other).passes(PassReason::AllowedByRule);
                passes(lab, "db", &other.answer(), PassReason::Reply)
            }
            Kind::Error => {
                lab.sent_by("a", &other).passes(PassReason::AllowedByRule);
                let error = from(DB.on(family)).to(BLUE_A.on(family)).unreachable(&other);
                passes(lab, "db", &error, PassReason::IcmpError)
            }
        }
    }
}

fn question(src: IpAddr, dst: IpAddr) -> Packet {
    from(src).to(dst).udp(53).payload(22)
}

/// The rest of the datagram that `first` begins.
fn later(first: &Packet) -> Packet {
    from(first.src()).to(first.dst()).udp(53).payload(22).fragment(129, false)
}

/// Many runs of a packet that passes; the first makes its flow known.
fn passes(lab: &mut Lab, endpoint: &str, packet: &Packet, reason: PassReason) -> Duration {
    lab.sent_by(endpoint, packet).passes(reason);
    lab.sent_by(endpoint, packet).mean_duration(REPEAT)
}

fn delivered(lab: &mut Lab, packet: &Packet) -> Duration {
    lab.delivered_to("b", packet).stamped_by("a").passes_counted_before();
    lab.delivered_to("b", packet).stamped_by("a").mean_duration(REPEAT)
}

/// The median of many single misses.
fn misses(lab: &mut Lab, packet: &Packet) -> Duration {
    let single = (0..MISSES).map(|_| {
        lab.forget_flows();
        lab.sent_by("a", packet).mean_duration(1)
    });
    let mut single: Vec<Duration> = single.collect();
    single.sort_unstable();
    single[single.len() / 2]
}
