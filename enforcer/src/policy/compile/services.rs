//! What rules say between two ends: sorted ranges of points, each with the rule that decides there.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use enforcer_common::policy::{Point, RuleWord, ServiceList, ServiceRange};

use super::{
    NumberedRule,
    capacity::{Capacity, CompileError, NAMED},
    ends::Connections,
};
use crate::policy::{
    mode::Mode,
    rule::{Action, Rule},
    tables::Tables,
};

/// Points of one protocol.
const PER_PROTOCOL: u32 = 1 << 16;

/// Behind every point that a packet has; no range ends there.
const BEYOND: u32 = u32::MAX;

/// The points where a rule says something, and what.
struct Span {
    points: Range<u32>,
    word: RuleWord,
}

/// Writes the pairs of ends and their ranges. Equal lists of ranges are written once.
pub(super) fn write(
    rules: &[NumberedRule],
    connections: &Connections,
    capacity: Capacity,
    tables: &mut Tables,
) -> Result<(), CompileError> {
    let spans: Vec<Vec<Span>> = rules.iter().map(|numbered| spans(numbered.id, numbered.rule)).collect();
    let mut by_rules: HashMap<&[usize], ServiceList> = HashMap::new();
    let mut by_ranges: HashMap<Vec<ServiceRange>, ServiceList> = HashMap::new();
    for (&pair, between) in &connections.pairs {
        if let Some(&list) = by_rules.get(between.as_slice()) {
            tables.pairs.push((pair, list));
            continue;
        }
        let ranges = ranges(between.iter().flat_map(|&index| &spans[index]));
        if ranges.len() > capacity.ranges_per_pair as usize {
            return Err(too_many(rules, between, ranges.len(), capacity.ranges_per_pair));
        }
        let next = ServiceList { first: tables.ranges.len() as u32, count: ranges.len() as u32 };
        let list = *by_ranges.entry(ranges).or_insert_with_key(|ranges| {
            tables.ranges.extend(ranges);
            next
        });
        capacity.check_ranges(tables.ranges.len())?;
        by_rules.insert(between, list);
        tables.pairs.push((pair, list));
    }
    Ok(())
}

fn too_many(rules: &[NumberedRule], between: &[usize], needed: usize, limit: u32) -> CompileError {
    let first = between.iter().take(NAMED).map(|&index| rules[index].name.clone()).collect();
    CompileError::TooManyRanges { count: between.len(), first, needed, limit }
}

/// Where a rule says something: for packets of known ports, for later fragments of each protocol, and for
/// those of an unknown one. It is sure of a fragment if it says the same whatever the ports are.
fn spans(id: u32, rule: &Rule) -> Vec<Span> {
    let word = match (rule.action(), rule.mode()) {
        (Action::Allow, _) => RuleWord::allow(id),
        (Action::Deny, Mode::Enforce) => RuleWord::deny(id),
        (Action::Deny, Mode::Audit) => RuleWord::deny(id).audited(),
    };
    let covered = covered(rule);
    let everything = covered.first() == Some(&(Point::FIRST.0..Point::LAST.0 + 1));
    let unknown = if everything { word } else { word.unsure() };
    let fragments = covered.iter().flat_map(|points| fragments(points, word)).collect::<Vec<_>>();
    let known = covered.into_iter().map(|points| Span { points, word });
    let unknown = Span { points: Point::UNKNOWN.0..BEYOND, word: unknown };
    known.chain(fragments).chain([unknown]).collect()
}

/// The points of a rule's services, taken together.
fn covered(rule: &Rule) -> Vec<Range<u32>> {
    let points = rule.services().iter().flat_map(|service| service.points());
    let mut sorted: Vec<Range<u32>> = points.map(|points| points.start().0..points.end().0 + 1).collect();
    sorted.sort_unstable_by_key(|points| points.start);
    let mut covered: Vec<Range<u32>> = Vec::new();
    for points in sorted {
        match covered.last_mut() {
            Some(last) if points.start <= last.end => last.end = last.end.max(points.end),
            _ => covered.push(points),
        }
    }
    covered
}

/// The later fragments of the protocols that `points` touch: those in the middle are covered wholly.
fn fragments(points: &Range<u32>, word: RuleWord) -> Vec<Span> {
    let (first, last) = (points.start / PER_PROTOCOL, (points.end - 1) / PER_PROTOCOL);
    let whole = points.start.div_ceil(PER_PROTOCOL)..points.end / PER_PROTOCOL;
    let of = |protocols: Range<u32>, word| {
        let start = Point::no_ports(0).0;
        let points = start + protocols.start * PER_PROTOCOL..start + protocols.end * PER_PROTOCOL;
        (!points.is_empty()).then_some(Span { points, word })
    };
    let partly = |protocol: u32| {
        (!whole.contains(&protocol)).then(|| of(protocol..protocol + 1, word.unsure())).flatten()
    };
    let after = if last == first { None } else { partly(last) };
    [of(whole.clone(), word), partly(first), after].into_iter().flatten().collect()
}

/// The best word at every point: a denial before everything else, then the surest, then the lowest id.
fn ranges<'s>(spans: impl Iterator<Item = &'s Span>) -> Vec<ServiceRange> {
    let rank = |word: RuleWord| (!word.denies(), word);
    let mut edges: Vec<(u32, bool, RuleWord)> = spans
        .flat_map(|span| [(span.points.start, true, span.word), (span.points.end, false, span.word)])
        .filter(|&(point, ..)| point != BEYOND)
        .collect();
    edges.sort_unstable();
    let mut open: BTreeMap<(bool, RuleWord), u32> = BTreeMap::new();
    let mut ranges = vec![ServiceRange { start: Point::FIRST, rule: RuleWord::NONE }];
    for here in edges.chunk_by(|a, b| a.0 == b.0) {
        for &(_, opens, word) in here {
            let count = open.entry(rank(word)).or_default();
            *count = if opens { *count + 1 } else { *count - 1 };
            if *count == 0 {
                open.remove(&rank(word));
            }
        }
        let rule = open.first_key_value().map_or(RuleWord::NONE, |(&(_, word), _)| word);
        let start = Point(here[0].0);
        match ranges.last_mut() {
            Some(last) if last.start == start => last.rule = rule,
            Some(last) if last.rule == rule => {}
            _ => ranges.push(ServiceRange { start, rule }),
        }
    }
    ranges
}
