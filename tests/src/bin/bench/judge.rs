//! What a verdict takes, by test run: of a flow that is known, and of one that is not, with few flows and many, few
//! networks and rules and very many, and where it is denied; in tables of our own and in the kernel's.

use std::fmt::Write as _;

use enforcer::datapath::load::Options;
use enforcer::datapath::sizes::{Sizes, TableKind};
use enforcer_common::event::Hook;
use enforcer_common::limits::MAX_NETWORKS;
use enforcer_common::mode::Mode;
use enforcer_common::verdict::{DropReason, PassReason};
use enforcer_tests::cost::{Law, NETWORKS};
use enforcer_tests::packet::{BLUE_A, BLUE_B, DB, Family, Packet, from};
use enforcer_tests::processor;
use enforcer_tests::prog_run::{Lab, Stream};

use crate::draw::Draw;
use crate::results::{Goal, Point, Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, turns};

const ROUNDS: usize = 60;
/// Packets of a host in one round, and those of flows that nobody knows.
const PACKETS: u32 = 20_000;
const NEW_PACKETS: u32 = 500;
/// Times that each flow is sent before: tables that grow with what comes forget some of the first.
const FILLS: usize = 3;
const FEW: usize = 1;
const SOME: usize = 4_096;
const MANY: usize = 1 << 20;
/// Networks of the largest policy, besides the two of the packets.
pub const ALL_NETWORKS: usize = 100_000;

/// What decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Two networks.
    Two,
    /// The same, and the packets go from one to the other.
    Apart,
    /// Very many more.
    Networks,
    /// The same, and all their prefixes are also in the one that the packets are judged by.
    OneForAll,
    /// One rule, or ten thousand.
    Rules(Law),
    /// One rule, and it is about connections.
    TcpRule,
}

/// Whose verdict is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flows {
    /// Any of so many that are known.
    Known(usize),
    /// The answers to these, known as well.
    Answers(usize),
    /// Each packet is the first of its flow.
    New,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// A program that decides nothing: what a test run takes besides.
    Nothing,
    Verdict(TableKind, Policy, Flows),
}

type Standing = turns::Standing<Case, ()>;

/// Everything that is compared.
fn cases(thoroughness: Thoroughness) -> Vec<Case> {
    let known = if thoroughness.is_full() { &[FEW, SOME, MANY][..] } else { &[FEW, SOME] };
    let policies = [
        Policy::Apart,
        Policy::Networks,
        Policy::OneForAll,
        Policy::Rules(Law::OneRule),
        Policy::Rules(Law::ManyRules),
        Policy::TcpRule,
    ];
    let policies = if thoroughness.is_full() { &policies[..] } else { &policies[3..] };
    let mut cases = vec![Case::Nothing];
    for kind in [TableKind::Own, TableKind::Kernel] {
        let flows = known.iter().map(|flows| Flows::Known(*flows)).chain([Flows::New]);
        cases.extend(flows.map(|flows| Case::Verdict(kind, Policy::Two, flows)));
    }
    for policy in policies {
        let answers = matches!(policy, Policy::Rules(Law::OneRule) | Policy::TcpRule);
        let flows = [Flows::Known(SOME), Flows::New];
        let flows = flows.into_iter().chain(answers.then_some(Flows::Answers(SOME)));
        cases.extend(flows.map(|flows| Case::Verdict(TableKind::Own, *policy, flows)));
    }
    cases
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\njudge: nanoseconds of a verdict by test run, beyond a program that decides nothing");
    processor::stay_on(processor::SENDER);
    for family in Family::BOTH {
        let mut hosts: Vec<Standing> = cases(thoroughness)
            .into_iter()
            .map(|case| Standing::stand(case, move || (turn(case, family), ())))
            .collect();
        turns::take(&mut hosts, thoroughness.of(ROUNDS));
        report(&hosts, family, results);
        hosts.into_iter().for_each(Standing::leave);
    }
}

fn turn(case: Case, family: Family) -> turns::Turn {
    let Case::Verdict(kind, policy, flows) = case else {
        let stream = Stream::to_nowhere(packets(family, Policy::Two, SOME));
        return Box::new(move || turns::mean_of(&stream, PACKETS));
    };
    let mut lab = lab(kind, policy, flows, family);
    let first = lab.sent_by("a", packet(family, policy, 0));
    match policy.passes() {
        Some(reason) => first.passes(reason),
        None => first.drops(DropReason::DefaultDeny),
    };
    if let Flows::Known(flows) | Flows::Answers(flows) = flows {
        // In an order of their own: tables of the kernel put one flow behind the other as they come.
        let fill = lab.stream(Hook::FromEndpoint, "a", (0..flows).map(|flow| packet(family, policy, flow)));
        // Of what is dropped only some is remembered in a second; of what only should be, all.
        lab.host_mode(Mode::Audit);
        fill.mean_duration((FILLS * flows) as u32);
        if policy.opens() {
            let answers = (0..flows).map(|flow| packet(family, policy, flow).answer());
            lab.stream(Hook::FromEndpoint, "db", answers).mean_duration(flows as u32);
        }
        lab.host_mode(Mode::Enforce);
    }
    let packets = packets(family, policy, flows.number());
    let stream = match flows {
        Flows::New => lab.stream(Hook::FromEndpoint, "a", packets),
        Flows::Known(_) => lab.stream(Hook::FromEndpoint, "a", packets.map(Packet::ack)),
        Flows::Answers(_) => {
            lab.stream(Hook::FromEndpoint, "db", packets.map(|packet| packet.answer().ack()))
        }
    };
    Box::new(move || {
        // The program is the lab's, where nobody hears of drops.
        if policy == Policy::Apart {
            lab.spend_events();
        }
        turns::mean_of(&stream, if flows == Flows::New { NEW_PACKETS } else { PACKETS })
    })
}

fn lab(tables: TableKind, policy: Policy, flows: Flows, family: Family) -> Lab {
    // Twice the flows that are sent, from one of the processors.
    let flows = if flows == Flows::Known(MANY) { 4 * MANY as u32 } else { Sizes::default().flows };
    let sizes = Sizes { tables, flows, networks: MAX_NETWORKS, ..Sizes::default() };
    let mut lab = Lab::loaded_with(&Options { sizes, ..Options::default() });
    for (name, party) in [("a", BLUE_A), ("b", BLUE_B), ("db", DB)] {
        lab.endpoint(name).owns([party]);
    }
    lab.apply(&policy.text(family));
    lab
}

impl Policy {
    fn text(self, family: Family) -> String {
        match self {
            Self::Two | Self::Apart => NETWORKS.to_owned(),
            Self::Networks => many_networks(family, ALL_NETWORKS, false),
            Self::OneForAll => many_networks(family, ALL_NETWORKS, true),
            Self::Rules(law) => law.policy(),
            Self::TcpRule => Law::OneRule.policy().replacen("udp/53", "tcp/53", 1),
        }
    }

    /// Why packets do, or not at all.
    fn passes(self) -> Option<PassReason> {
        match self {
            Self::Two | Self::Networks | Self::OneForAll => Some(PassReason::SharedNetwork),
            Self::Apart => None,
            Self::Rules(_) | Self::TcpRule => Some(PassReason::AllowedByRule),
        }
    }

    /// Whether packets open conversations.
    fn opens(self) -> bool {
        self.passes() == Some(PassReason::AllowedByRule)
    }

    fn name(self) -> String {
        match self {
            Self::Two => "2 networks".to_owned(),
            Self::Apart => "2 networks, denied".to_owned(),
            Self::Networks => format!("{} networks", ALL_NETWORKS + 2),
            Self::OneForAll => format!("{} networks, one with everybody", ALL_NETWORKS + 2),
            Self::Rules(Law::OneRule) => "1 rule".to_owned(),
            Self::Rules(_) => "10001 rules".to_owned(),
            Self::TcpRule => "1 rule, TCP".to_owned(),
        }
    }
}

/// The two, and so many more with a prefix of the family each; if asked for, *blue* has all their prefixes, too.
pub fn many_networks(family: Family, count: usize, one_for_all: bool) -> String {
    let prefixes = (0..count).map(|number| match family {
        Family::V4 => format!("\"100.{}.{}.{}/32\"", 64 + (number >> 16), number >> 8 & 255, number & 255),
        Family::V6 => format!("\"2001:db8:f:{:x}:{:x}::/80\"", number >> 16, number & 0xffff),
    });
    let prefixes: Vec<String> = prefixes.collect();
    let mut text = NETWORKS.to_owned();
    if one_for_all {
        text = text.replacen("prefixes = [", &format!("prefixes = [{}, ", prefixes.join(", ")), 1);
    }
    for (number, prefix) in prefixes.iter().enumerate() {
        writeln!(text, "[network.tenant-{number}]\nprefixes = [{prefix}]").expect("a string");
    }
    text
}

/// One of each flow, in any order.
fn packets(family: Family, policy: Policy, flows: usize) -> impl Iterator<Item = Packet> {
    let mut order: Vec<usize> = (0..flows).collect();
    Draw::default().shuffle(&mut order);
    order.into_iter().map(move |flow| packet(family, policy, flow))
}

/// A packet of a flow, each with other ports; a rule is about one port, and so it is the sender's alone that differ.
fn packet(family: Family, policy: Policy, flow: usize) -> Packet {
    let port = 1_000 + (flow >> 15) as u16;
    let (to, port) = match policy {
        Policy::Rules(_) | Policy::TcpRule => (DB, 53),
        Policy::Apart => (DB, port),
        Policy::Two | Policy::Networks | Policy::OneForAll => (BLUE_B, port),
    };
    let from_port = 20_000 + (flow & 0x7fff) as u16;
    let packet = from(BLUE_A.on(family)).to(to.on(family));
    let packet = if policy == Policy::TcpRule { packet.tcp(port) } else { packet.udp(port) };
    packet.from_port(from_port).payload(22)
}

fn report(hosts: &[Standing], family: Family, results: &mut Results) {
    let find = |case| hosts.iter().find(|host| host.what == case);
    let besides = &find(Case::Nothing).expect("it is always measured").times;
    let of = |case| -> Option<Vec<f64>> {
        Some(find(case)?.times.iter().zip(besides).map(|(all, besides)| all - besides).collect())
    };
    let ratio = |case, other| -> Option<Estimate> {
        Some(Estimate::of(of(case)?.iter().zip(of(other)?).map(|(own, other)| own / other)))
    };
    for case in hosts.iter().map(|host| host.what) {
        let Case::Verdict(kind, policy, flows) = case else { continue };
        let plain = Case::Verdict(
            TableKind::Kernel,
            Policy::Two,
            match flows {
                Flows::Known(_) | Flows::Answers(_) if policy != Policy::Two => Flows::Known(SOME),
                flows => flows,
            },
        );
        let tables = if kind == TableKind::Kernel { ", tables = \"kernel\"" } else { "" };
        let row = Row {
            part: "judge".into(),
            of: format!("{family:?}"),
            what: format!("{}, {}{tables}", flows.name(), policy.name()),
            unit: Unit::Nanoseconds,
            value: Estimate::of(of(case).expect("it was measured")),
            times: ratio(case, plain).expect("it was measured"),
            of_what: "the same in the kernel's tables, 2 networks".into(),
        };
        println!("    {family:?} {row}");
        if let (Policy::Two, Flows::Known(flows)) = (policy, flows) {
            results.points.push(Point {
                part: "judge".into(),
                plot: format!("verdict of a known flow, {family:?}"),
                series: if kind == TableKind::Own { "own table" } else { "kernel table" }.to_owned(),
                against: "flows".into(),
                x: flows as f64,
                unit: row.unit,
                y: row.value,
            });
        }
        results.rows.push(row);
    }
    let own = |policy, flows| Case::Verdict(TableKind::Own, policy, flows);
    let kernel = |flows| Case::Verdict(TableKind::Kernel, Policy::Two, Flows::Known(flows));
    let one_rule = Policy::Rules(Law::OneRule);
    let goals = [FEW, SOME, MANY].map(|flows| {
        let limit = if flows == MANY { 0.45 } else { 0.40 };
        let what = format!("verdict of a known flow, of {flows}, against tables = \"kernel\"");
        (what, limit, own(Policy::Two, Flows::Known(flows)), kernel(flows))
    });
    let growth = [
        (Policy::Two, Policy::Networks),
        (Policy::Two, Policy::OneForAll),
        (one_rule, Policy::Rules(Law::ManyRules)),
    ];
    let growth = growth.into_iter().flat_map(|(few, many)| {
        [(Flows::Known(SOME), 1.05), (Flows::New, 1.5)].map(|(flows, limit)| {
            let what = format!("verdict of a {}, {} against {}", flows.name(), many.name(), few.name());
            (what, limit, own(many, flows), own(few, flows))
        })
    });
    for (what, limit, case, other) in goals.into_iter().chain(growth) {
        if let Some(measured) = ratio(case, other) {
            results.goals.push(Goal::at_most("judge", format!("{what}, {family:?}"), limit, measured));
        }
    }
}

impl Flows {
    /// How many there are; new ones for all rounds.
    fn number(self) -> usize {
        match self {
            Self::Known(flows) | Self::Answers(flows) => flows,
            Self::New => ROUNDS * NEW_PACKETS as usize,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Known(1) => "known flow".to_owned(),
            Self::Known(flows) => format!("known flow, of {flows}"),
            Self::Answers(flows) => format!("known answer, of {flows}"),
            Self::New => "new flow".to_owned(),
        }
    }
}
