use super::*;
use crate::limits::MAX_ENDS_PER_ADDRESS;

struct Lists(Vec<Vec<u32>>);

impl Lists {
    fn membership(&self, set: usize) -> Membership {
        let first = self.0[..set].iter().map(Vec::len).sum::<usize>() as u32;
        Membership { set: set as u32, first, networks: self.0[set].len() as u8, ..Membership::default() }
    }
}

impl Networks for Lists {
    fn number_at(&self, index: u32) -> Option<u32> {
        self.0.concat().get(index as usize).copied()
    }
    fn first_in(&self, networks: Run, set: u32) -> Option<u32> {
        let holds = |member: SetMember| self.0[member.set as usize].contains(&member.network);
        first_in(networks, set, |index| self.number_at(index), holds)
    }
    fn match_ends(&self, _: Run, _: Run, _: Point, _: &mut Rules) {}
}

#[test]
fn the_lowest_common_network_decides_in_both_directions() {
    let sets = Lists(vec![vec![], vec![1], vec![2], vec![1, 2, 3], vec![2, 3]]);
    for (a, b, expected) in [
        (1, 1, Some(1)),
        (1, 2, None),
        (1, 3, Some(1)),
        (2, 3, Some(2)),
        (3, 4, Some(2)),
        (0, 3, None),
        (0, 0, None),
    ] {
        let (x, y) = (sets.membership(a), sets.membership(b));
        assert_eq!(shared_network(&x, &y, &sets), expected, "sets {a} and {b}");
        assert_eq!(shared_network(&y, &x, &sets), expected, "sets {b} and {a}");
    }
}

#[test]
fn the_last_range_that_starts_before_a_point_decides() {
    for count in 1..40_u32 {
        let range = |index: u32| ServiceRange { start: Point(index * 10), rule: RuleWord::allow(index + 1) };
        for point in 0..count * 10 + 5 {
            let list = ServiceList { first: 7, count };
            let found = search(list, Point(point), &mut Search::default(), |index| {
                Some(range(index.checked_sub(7)?))
            });
            assert_eq!(found.id(), (point / 10).min(count - 1) + 1, "{point} of {count}");
        }
    }
}

/// Ends whose numbers are their places in the list, and one pair of them with a rule.
struct OnePair(EndPair);

impl Ends for OnePair {
    fn end_at(&self, index: u32) -> Option<u32> {
        Some(index)
    }
    fn services(&self, pair: EndPair) -> Option<ServiceList> {
        (pair == self.0).then_some(ServiceList { first: 0, count: 1 })
    }
    fn rule_at(&self, _: ServiceList, _: Point) -> RuleWord {
        RuleWord::deny(9)
    }
    fn match_targets(&self, source: u32, targets: Run, point: Point, rules: &mut Rules) -> bool {
        match_targets(source, targets, point, self, rules)
    }
}

#[test]
fn every_end_of_the_source_meets_every_end_of_the_target() {
    const MOST: u32 = MAX_ENDS_PER_ADDRESS;
    for (sources, targets) in [(0, 0), (0, 3), (3, 0), (1, 1), (1, MOST), (MOST, 1), (5, 7), (MOST, MOST)] {
        for (source, target) in
            (0..=sources).flat_map(|source| (0..=targets).map(move |target| (source, target)))
        {
            let ends = OnePair(EndPair { source, target: 100 + target });
            let mut rules = Rules::default();
            let [from, to] = [(0, sources), (100, targets)].map(|(first, count)| Run { first, count });
            match_ends(from, to, Point(0), &ends, &mut rules);
            let is_met = source < sources && target < targets;
            let found = rules.first(RuleWord::deny(0)) == RuleWord::deny(9);
            assert_eq!(found, is_met, "{source} of {sources} sources, {target} of {targets} targets");
        }
    }
}

/// Lists that end after so many numbers, whatever their length is said to be; no rule is about their ends.
struct Torn(u32);

impl Ends for Torn {
    fn end_at(&self, index: u32) -> Option<u32> {
        (index < self.0).then_some(index)
    }
    fn services(&self, _: EndPair) -> Option<ServiceList> {
        None
    }
    fn rule_at(&self, list: ServiceList, point: Point) -> RuleWord {
        search(list, point, &mut Search::default(), |_| None)
    }
    fn match_targets(&self, source: u32, targets: Run, point: Point, rules: &mut Rules) -> bool {
        match_targets(source, targets, point, self, rules)
    }
}

#[test]
fn an_end_that_cannot_be_read_may_be_denied() {
    let found = |readable, sources, targets| {
        let mut rules = Rules::default();
        let [from, to] = [(0, sources), (4, targets)].map(|(first, count)| Run { first, count });
        match_ends(from, to, Point(0), &Torn(readable), &mut rules);
        rules.first(RuleWord::deny(0))
    };
    assert_eq!(found(8, 4, 4), RuleWord::NONE, "all can be read");
    assert_eq!(found(7, 4, 4), RuleWord::UNREADABLE, "the last target cannot");
    assert_eq!(found(3, 4, 0), RuleWord::UNREADABLE, "the last source cannot");
    assert_eq!(found(0, 1, 1), RuleWord::UNREADABLE, "nothing can");
}

#[test]
fn a_sure_denial_comes_first_then_the_lowest_id() {
    let first = |rules: &Rules| [RuleWord::deny(0), RuleWord::allow(0)].map(|like| rules.first(like));
    let mut rules = Rules::default();
    rules.add(RuleWord::NONE);
    for word in [RuleWord::deny(3).unsure(), RuleWord::deny(9), RuleWord::allow(7), RuleWord::allow(4)] {
        rules.add(word);
    }
    assert_eq!(first(&rules), [RuleWord::deny(9), RuleWord::allow(4)]);
    rules.add(RuleWord::deny(8));
    rules.add(RuleWord::allow(1).unsure());
    assert_eq!(first(&rules), [RuleWord::deny(8), RuleWord::allow(4)]);
}

#[test]
fn a_local_address_is_not_of_the_world() {
    let membership = Membership {
        ends: 10,
        sources: 2,
        world_sources: 1,
        targets: 3,
        world_targets: 4,
        ..Default::default()
    };
    assert_eq!(membership.sources(true), Run { first: 10, count: 2 });
    assert_eq!(membership.sources(false), Run { first: 10, count: 3 });
    assert_eq!(membership.targets(true), Run { first: 13, count: 3 });
    assert_eq!(membership.targets(false), Run { first: 13, count: 7 });
}
