//! One look for an address among few prefixes and among very many, in the trie of our own and in the kernel's.
//!
//! At an external uplink every packet is asked about once, and nothing of the answer is kept; at one that is not external
//! nobody asks. Each table is a host of its own, in a thread of its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use enforcer::datapath::sizes::TableKind;
use enforcer::policy::{Policy, Source};
use enforcer_common::event::Hook;
use enforcer_common::verdict::PassReason;
use enforcer_tests::packet::{BLUE_A, Family, Packet, from};
use enforcer_tests::prog_run::Lab;
use ipnet::IpNet;

use crate::draw::Draw;
use crate::memory::of_maps;
use crate::results::{Goal, Point, Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, processor, turns};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const ROUNDS: usize = 60;
/// Packets of a table in one round, and how many there are: more than the processor's caches remember.
const PACKETS: u32 = 20_000;
const ADDRESSES: usize = 50_000;
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

type Standing = turns::Standing<Look, Built>;

/// What it took to have the policy.
#[derive(Clone, Copy)]
struct Built {
    took: Duration,
    bytes_per_prefix: f64,
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nprefixes: nanoseconds of one look, and times that of the kernel's trie");
    let sizes = if thoroughness.is_full() { &SIZES[..] } else { &SIZES[..1] };
    processor::stay_on(processor::SENDER);
    for family in Family::BOTH {
        let looks = sizes
            .iter()
            .flat_map(|size| [TableKind::Own, TableKind::Kernel].map(|kind| Look::Among(*size, kind)));
        let mut tables: Vec<Standing> = [Look::Nowhere]
            .into_iter()
            .chain(looks)
            .map(|look| stand(look, family, thoroughness.of(ADDRESSES)))
            .collect();
        turns::take(&mut tables, thoroughness.of(ROUNDS));
        report(&tables, family, results);
        tables.into_iter().for_each(Standing::leave);
    }
}

fn stand(look: Look, family: Family, addresses: usize) -> Standing {
    Standing::stand(look, move || {
        let (mut lab, packets, built) = host(look, family, addresses);
        let stream = lab.stream(Hook::FromUplink, UPLINK, packets);
        let turn = move || {
            // The program is the lab's.
            let _ = &lab;
            turns::mean_of(&stream, PACKETS)
        };
        (Box::new(turn), built)
    })
}

/// A host with an uplink, a policy, and packets from so many addresses of nobody.
fn host(look: Look, family: Family, addresses: usize) -> (Lab, Vec<Packet>, Built) {
    let (size, kind) = match look {
        Look::Nowhere => (1, TableKind::Own),
        Look::Among(size, kind) => (size, kind),
    };
    let mut lab = Lab::with_tables(kind);
    lab.endpoint("a").owns([BLUE_A]);
    if look == Look::Nowhere {
        lab.uplink(UPLINK);
    } else {
        lab.external_uplink(UPLINK);
    }
    let known = scattered(family, size);
    let prefixes: Vec<IpNet> = known.iter().copied().collect();
    let source = Source { name: "policy".to_owned(), text: text(&prefixes) };
    let policy = Policy::parse(&[source]).expect("the policy is valid");
    let (memory, start) = (of_maps(), Instant::now());
    lab.apply_policy(policy);
    let took = start.elapsed();
    let bytes_per_prefix = of_maps().saturating_sub(memory) as f64 / size as f64;
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

fn text(prefixes: &[IpNet]) -> String {
    let mut text = String::from("version = 1\n");
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
    let find = |look| tables.iter().find(|table| table.what == look).expect("it was measured");
    let besides = &find(Look::Nowhere).times;
    let of = |size, kind| -> Vec<f64> {
        find(Look::Among(size, kind)).times.iter().zip(besides).map(|(all, besides)| all - besides).collect()
    };
    let ratio =
        |own: &[f64], other: &[f64]| Estimate::of(own.iter().zip(other).map(|(own, other)| own / other));
    for table in tables {
        let Look::Among(size, kind) = table.what else { continue };
        let what = match kind {
            TableKind::Own => format!("{size} prefixes"),
            TableKind::Kernel => format!("{size} prefixes, tables = \"kernel\""),
        };
        let row = Row {
            part: "prefixes".into(),
            of: format!("{family:?}"),
            what,
            unit: Unit::Nanoseconds,
            value: Estimate::of(of(size, kind)),
            times: ratio(&of(size, kind), &of(size, TableKind::Kernel)),
            of_what: "the kernel's trie".into(),
        };
        let Built { took, bytes_per_prefix } = table.built;
        println!(
            "    {family:?} {row}; compiled and loaded in {} ms, {bytes_per_prefix:.0} B a prefix",
            took.as_millis()
        );
        results.points.push(Point {
            part: "prefixes".into(),
            plot: format!("one look among prefixes, {family:?}"),
            series: if kind == TableKind::Own { "own trie" } else { "kernel trie" }.to_owned(),
            against: "prefixes".into(),
            x: size as f64,
            unit: row.unit,
            y: row.value,
        });
        results.rows.push(row);
    }
    let [few, .., many] = SIZES;
    if tables.iter().all(|table| table.what != Look::Among(many, TableKind::Own)) {
        return;
    }
    let goal = |what: &str, limit, measured| {
        Goal::at_most("prefixes", format!("{what}, {family:?}"), limit, measured)
    };
    let (own, kernel) = (of(many, TableKind::Own), of(many, TableKind::Kernel));
    let built = find(Look::Among(many, TableKind::Own)).built;
    let (of_kernel, bytes) = if family == Family::V4 { (1.0 / 20.0, 64.0) } else { (1.0 / 8.0, 96.0) };
    results.goals.extend([
        goal("one look among 1M prefixes, against the kernel's trie", of_kernel, ratio(&own, &kernel)),
        goal("one look, 1M prefixes against 1,000", 2.0, ratio(&own, &of(few, TableKind::Own))),
        goal("1M prefixes, compiled and loaded, seconds", 2.0, Estimate::of([built.took.as_secs_f64()])),
        goal("1M prefixes, bytes of kernel memory for each", bytes, Estimate::of([built.bytes_per_prefix])),
    ]);
}
