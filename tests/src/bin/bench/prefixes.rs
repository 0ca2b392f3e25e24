//! One look for an address among few prefixes and among very many, in the trie of our own and in the kernel's; what it
//! takes to have them; and whether a flow that is known feels anything of it.
//!
//! At an external uplink every packet is asked about once, and nothing of the answer is kept; at one that is not external
//! nobody asks. Each table is a host of its own, in a thread of its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use enforcer::datapath::load::Options;
use enforcer::datapath::sizes::{Sizes, TableKind};
use enforcer::policy::{Policy, Source};
use enforcer_common::event::Hook;
use enforcer_common::verdict::PassReason;
use enforcer_tests::packet::{BLUE_A, BLUE_FAR, Family, Packet, from};
use enforcer_tests::processor;
use enforcer_tests::prog_run::{Lab, Stream};
use ipnet::IpNet;

use crate::draw::Draw;
use crate::memory::of_maps;
use crate::results::{Goal, Point, Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, turns};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
const SIZES: [usize; 3] = [FEW, 100_000, MANY];
const ROUNDS: usize = 60;
/// Packets of a table in one round, and how many there are: more than the processor's caches remember.
const PACKETS: u32 = 20_000;
const ADDRESSES: usize = 50_000;
/// Flows that are known, room for them, and times that each is sent before: the table grows with what comes.
const FLOWS: u16 = 4_096;
const ROOM: u32 = 65_536;
const FILLS: u32 = 3;
/// Times that each is sent before what counts. What was looked through lies in the caches, and more of it the more there is;
/// and a processor whose caches were flooded lets only a part of what comes into them for a while.
const WARM_UP: u32 = 40;
/// How often the policy is loaded.
const LOADS: usize = 5;
/// Before each: nothing waits any more for packets under way through the policy before.
const REST: Duration = Duration::from_millis(50);
/// Networks that share the prefixes.
const NETWORKS: usize = 64;
const UPLINK: &str = "outside";

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nobody: what a packet takes besides.
    Nowhere,
    /// So many prefixes in such a table.
    Among(usize, TableKind),
}

type Standing = turns::Standing<Look, Built, Took>;

/// Nanoseconds of a packet from outside, and of one of a flow that is known.
#[derive(Clone, Copy)]
struct Took {
    look: f64,
    known: f64,
}

/// What it took to have the policy.
#[derive(Clone, Copy)]
struct Built {
    /// Milliseconds.
    took: Estimate,
    bytes_per_prefix: f64,
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nprefixes: nanoseconds of one look and of a known flow, and what it takes to have them");
    let sizes = if thoroughness.is_full() { &SIZES[..] } else { &SIZES[..1] };
    processor::stay_on(processor::SENDER);
    for family in Family::BOTH {
        let looks = sizes
            .iter()
            .flat_map(|size| [TableKind::Own, TableKind::Kernel].map(|kind| Look::Among(*size, kind)));
        let mut tables: Vec<Standing> =
            [Look::Nowhere].into_iter().chain(looks).map(|look| stand(look, family, thoroughness)).collect();
        turns::take(&mut tables, thoroughness.of(ROUNDS));
        report(&tables, family, results);
        tables.into_iter().for_each(Standing::leave);
    }
}

fn stand(look: Look, family: Family, thoroughness: Thoroughness) -> Standing {
    let (addresses, loads) = (thoroughness.of(ADDRESSES), thoroughness.of(LOADS));
    Standing::stand(look, move || {
        let (mut lab, packets, built) = host(look, family, addresses, loads);
        let looks = lab.stream(Hook::FromUplink, UPLINK, packets);
        let known = known(&mut lab, look, family);
        let turn = move || {
            // The programs are the lab's.
            let _ = &lab;
            let look = turns::mean_of(&looks, PACKETS);
            known.mean_duration(WARM_UP * u32::from(FLOWS));
            Took { look, known: turns::mean_of(&known, PACKETS) }
        };
        (Box::new(turn), built)
    })
}

/// Packets of flows that the host knows in tables of our own; elsewhere in front of a program that decides nothing.
fn known(lab: &mut Lab, look: Look, family: Family) -> Stream {
    let flow = |number: u16| from(BLUE_A.on(family)).to(BLUE_FAR.on(family)).from_port(20_000 + number);
    let flows = (0..FLOWS).map(flow);
    if !matches!(look, Look::Among(_, TableKind::Own)) {
        return Stream::to_nowhere(flows);
    }
    lab.sent_by("a", flow(0)).passes(PassReason::SharedNetwork);
    let known = lab.stream(Hook::FromEndpoint, "a", flows);
    known.mean_duration(FILLS * u32::from(FLOWS));
    known
}

/// A host with an uplink, a policy, and packets from so many addresses of nobody.
fn host(look: Look, family: Family, addresses: usize, loads: usize) -> (Lab, Vec<Packet>, Built) {
    let (size, kind) = match look {
        Look::Nowhere => (1, TableKind::Own),
        Look::Among(size, kind) => (size, kind),
    };
    let sizes = Sizes { tables: kind, flows: ROOM, networks: 1_024, rules: 1_024, ..Sizes::default() };
    let mut lab = Lab::loaded_with(&Options { sizes, ..Options::default() });
    lab.endpoint("a").owns([BLUE_A]);
    if look == Look::Nowhere {
        lab.uplink(UPLINK);
    } else {
        lab.external_uplink(UPLINK);
    }
    let known = scattered(family, size);
    let prefixes: Vec<IpNet> = known.iter().copied().collect();
    let source = Source { name: "policy".to_owned(), text: text(&prefixes, family) };
    let policy = Policy::parse(&[source]).expect("the policy is valid");
    let memory = of_maps();
    let load = |lab: &mut Lab| {
        let (policy, start) = (policy.clone(), Instant::now());
        lab.apply_policy(policy);
        start.elapsed().as_secs_f64() * 1e3
    };
    let first = load(&mut lab);
    let bytes_per_prefix = of_maps().saturating_sub(memory) as f64 / size as f64;
    let others = (1..loads).map(|_| {
        // As the first one: nothing was there before.
        lab.apply_policy(Policy::default());
        thread::sleep(REST);
        load(&mut lab)
    });
    let took = Estimate::of([first].into_iter().chain(others.collect::<Vec<_>>()));
    let mut draw = Draw::default();
    let beside = std::iter::repeat_with(|| beside(prefixes[draw.below(prefixes.len())], draw.below(2)));
    let others = beside.filter(|address| !is_member(*address, &known));
    let packets: Vec<Packet> =
        others.take(addresses).map(|address| from(address).to(BLUE_A.on(family))).collect();
    lab.arrives_at(UPLINK, &packets[0]).passes(PassReason::Uplink);
    (lab, packets, Built { took, bytes_per_prefix })
}

/// As many different ones, half of them the longest or nearly.
fn scattered(family: Family, count: usize) -> BTreeSet<IpNet> {
    let mut draw = Draw::default();
    let mut prefixes = BTreeSet::new();
    while prefixes.len() < count {
        let (high, low) = (draw.below(1 << 32) as u128, draw.below(usize::MAX) as u128);
        let kind = draw.below(4);
        let net = match family {
            Family::V4 => {
                let first = 11 + high % 89;
                let address = Ipv4Addr::from_bits((first << 24 | low & 0x00ff_ffff) as u32);
                IpNet::new(address.into(), [32, 32, 24, 20 + draw.below(9) as u8][kind])
            }
            Family::V6 => {
                let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | high << 64 | low);
                IpNet::new(address.into(), [64, 64, 128, 56 + draw.below(9) as u8][kind])
            }
        };
        prefixes.insert(net.expect("the length is the family's").trunc());
    }
    prefixes
}

fn is_member(address: IpAddr, prefixes: &BTreeSet<IpNet>) -> bool {
    let around = std::iter::successors(Some(IpNet::from(address)), IpNet::supernet);
    around.into_iter().any(|net| prefixes.contains(&net))
}

/// An address in the next prefix of the same length, or in the one before.
fn beside(net: IpNet, after: usize) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            let step = 1_u32 << (32 - u32::from(net.prefix_len()));
            let start = net.network().to_bits();
            Ipv4Addr::from_bits(if after == 1 { start + step } else { start - step }).into()
        }
        IpNet::V6(net) => {
            let step = 1_u128 << (128 - u32::from(net.prefix_len()));
            let start = net.network().to_bits();
            Ipv6Addr::from_bits(if after == 1 { start + step } else { start - step }).into()
        }
    }
}

/// A network of those whose flows are known, and the others.
fn text(prefixes: &[IpNet], family: Family) -> String {
    let (near, far) = (IpNet::from(BLUE_A.on(family)), IpNet::from(BLUE_FAR.on(family)));
    let mut text = format!("version = 1\n[network.blue]\nprefixes = [\"{near}\", \"{far}\"]\n");
    for number in 0..NETWORKS.min(prefixes.len()) {
        // What lies around others is of another network, mostly.
        let prefixes: Vec<String> =
            prefixes.iter().skip(number).step_by(NETWORKS).map(ToString::to_string).collect();
        write!(text, "[network.n{number}]\nprefixes = [\"{}\"]\n", prefixes.join("\", \""))
            .expect("a string");
    }
    text
}

fn report(tables: &[Standing], family: Family, results: &mut Results) {
    println!("  {family:?}, one look");
    for (size, kind, _) in among(tables) {
        let of = |kind| beyond(tables, Look::Among(size, kind), |took| took.look);
        let row = Row {
            part: "prefixes".into(),
            of: format!("{family:?}"),
            what: name(size, kind),
            unit: Unit::Nanoseconds,
            value: Estimate::of(of(kind)),
            times: ratio(&of(kind), &of(TableKind::Kernel)),
            of_what: "the kernel's trie".into(),
        };
        results.points.push(Point {
            part: "prefixes".into(),
            plot: format!("one look among prefixes, {family:?}"),
            series: if kind == TableKind::Own { "own trie" } else { "kernel trie" }.to_owned(),
            against: "prefixes".into(),
            x: size as f64,
            unit: row.unit,
            y: row.value,
        });
        results.tell(row);
    }
    report_known(tables, family, results);
    let built = |of: &str, figure: fn(Built) -> Estimate, unit, results: &mut Results| {
        let value = |(size, kind, built)| (name(size, kind), figure(built));
        let values: Vec<_> = among(tables).map(value).collect();
        results.table(("prefixes", format!("{family:?}, {of}").as_str()), unit, &values);
    };
    built("compiled and loaded", |built| built.took, Unit::Milliseconds, results);
    let bytes = |built: Built| Estimate::of([built.bytes_per_prefix]);
    built("kernel memory for each", bytes, Unit::Bytes, results);
    if tables.iter().any(|table| table.what == Look::Among(MANY, TableKind::Own)) {
        add_goals(tables, family, results);
    }
}

/// What a packet takes where nobody looks for its addresses.
fn report_known(tables: &[Standing], family: Family, results: &mut Results) {
    let heading = format!("{family:?}, known flow, of {FLOWS}");
    println!("  {heading}");
    let known = |size| beyond(tables, Look::Among(size, TableKind::Own), |took| took.known);
    for (size, kind, _) in among(tables).filter(|(_, kind, _)| *kind == TableKind::Own) {
        results.tell(Row {
            part: "prefixes".into(),
            of: heading.clone(),
            what: name(size, kind),
            unit: Unit::Nanoseconds,
            value: Estimate::of(known(size)),
            times: ratio(&known(size), &known(FEW)),
            of_what: format!("the same among {FEW} prefixes").into(),
        });
    }
}

fn add_goals(tables: &[Standing], family: Family, results: &mut Results) {
    let goal = |what: &str, limit, measured| {
        Goal::at_most("prefixes", format!("{what}, {family:?}"), limit, measured)
    };
    let look = |size, kind| beyond(tables, Look::Among(size, kind), |took| took.look);
    let known = |size| beyond(tables, Look::Among(size, TableKind::Own), |took| took.known);
    let (own, kernel) = (look(MANY, TableKind::Own), look(MANY, TableKind::Kernel));
    let built = find(tables, Look::Among(MANY, TableKind::Own)).built;
    let (of_kernel, bytes) = if family == Family::V4 { (1.0 / 20.0, 64.0) } else { (1.0 / 8.0, 96.0) };
    results.goals.extend([
        goal("one look among 1M prefixes, against the kernel's trie", of_kernel, ratio(&own, &kernel)),
        goal("one look, 1M prefixes against 1,000", 2.0, ratio(&own, &look(FEW, TableKind::Own))),
        goal("verdict of a known flow, 1M prefixes against 1,000", 1.05, ratio(&known(MANY), &known(FEW))),
        goal("1M prefixes, compiled and loaded, ms", 2_000.0, built.took),
        goal("1M prefixes, bytes of kernel memory for each", bytes, Estimate::of([built.bytes_per_prefix])),
    ]);
}

fn find(tables: &[Standing], look: Look) -> &Standing {
    tables.iter().find(|table| table.what == look).expect("it was measured")
}

/// Those with prefixes: how many, in what, and what it took to have them.
fn among(tables: &[Standing]) -> impl Iterator<Item = (usize, TableKind, Built)> {
    tables.iter().filter_map(|table| match table.what {
        Look::Nowhere => None,
        Look::Among(size, kind) => Some((size, kind, table.built)),
    })
}

fn name(size: usize, kind: TableKind) -> String {
    match kind {
        TableKind::Own => format!("{size} prefixes"),
        TableKind::Kernel => format!("{size} prefixes, tables = \"kernel\""),
    }
}

/// What a packet took beyond one of [`Look::Nowhere`], by round.
fn beyond(tables: &[Standing], look: Look, figure: fn(Took) -> f64) -> Vec<f64> {
    let times = |look| find(tables, look).times.iter().copied().map(figure);
    times(look).zip(times(Look::Nowhere)).map(|(all, besides)| all - besides).collect()
}

fn ratio(own: &[f64], other: &[f64]) -> Estimate {
    Estimate::of(own.iter().zip(other).map(|(own, other)| own / other))
}
