//! The policy of one generation: what it says about a packet between two parties.

use aya_ebpf::btf_maps::{Array, HashMap, lpm_trie};
use enforcer_common::{
    address::{Address, Scope},
    control::{ControlWord, Generation},
    endpoint::EndpointId,
    flow::FlowKey,
    policy::{
        self, EndPair, Ends, Membership, Networks, Party, Point, RuleWord, Rules, Ruling, Run, ServiceList,
    },
    prefix_trie::{self, Key},
    since,
};

use crate::{
    config,
    journey::{Journey, question},
    maps,
};

/// Looks both parties of a packet up, for the questions that follow. Without a policy nobody is a member of
/// anything.
#[inline(always)]
pub fn introduce(question: u32, owners: [EndpointId; 2]) {
    introduce_parties(question, owners[0].0, owners[1].0);
}

/// A station of its own, verified once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn introduce_parties(question: u32, src: u32, dst: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Some((bank, host)) = Bank::of(journey.control.active) else {
        journey.parties = [Party::default(); 2];
        return 0;
    };
    let Journey { packet, quote, parties, points, .. } = journey;
    let there = if question & question::QUOTE == 0 { &packet.key } else { &quote.key };
    for (party, (address, owner)) in parties.iter_mut().zip([(&there.src, src), (&there.dst, dst)]) {
        // The host's addresses are the host's, whatever prefix covers them.
        party.membership = if owner == EndpointId::HOST.0 { *host } else { bank.membership(*address) };
        party.local = owner != EndpointId::REMOTE.0;
    }
    *points = [Point::of(there), Point::of(&there.reversed())];
    0
}

/// Whether an address that is nobody's here is one of a network. Others than global ones are everywhere.
#[inline(always)]
pub fn is_member(journey: &Journey, address: Address) -> bool {
    address.scope() == Scope::Global
        && Bank::of(journey.control.active).is_some_and(|(bank, _)| bank.membership(address).networks != 0)
}

/// A station of its own: walks to the end of the journey's search; the line of the leaf, 0 for members of nothing.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_prefix(bank: u32) -> u32 {
    let (Some(lines), Some(journey)) = (maps::PREFIXES.get(bank), Journey::current()) else { return 0 };
    journey.walk.finish(|line| lines.get(line).map(|[line]| line))
}

/// A station of its own: whether the packet's addresses mean what they did under an earlier generation.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn means_the_same_since(generation: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Some((Bank(bank), _)) = Bank::of(journey.control.active) else { return 0 };
    let Some(lines) = maps::PREFIXES.get(bank) else { return 0 };
    let line_at = |line| lines.get(line).map(|[line]| line);
    let Some(table) = line_at(0).and_then(|line| since::Table::of(line.0[prefix_trie::SINCE])) else {
        return 0;
    };
    let today = journey.control.active.generation() as u32;
    if !since::is_later(generation, today) {
        return 0;
    }
    let is_changed = |address: Address| {
        let mark = table.mark(since::bucket(&Key::new(address)), line_at);
        mark.is_none_or(|mark| since::is_later(generation, mark))
    };
    let FlowKey { src, dst, .. } = journey.packet.key;
    u32::from(!is_changed(src) && !is_changed(dst))
}

/// What the policy says about the packet of [`introduce`], or about what it would answer.
#[inline(always)]
pub fn consult(back: bool) -> Ruling {
    decode(rule_on(u32::from(back)))
}

/// The rule in `audit` mode that would deny the packet that was last asked about; 0 for none.
#[inline(always)]
pub fn auditing_rule(journey: &Journey) -> u32 {
    let rule = journey.rules.first(RuleWord::deny(0).audited());
    // A later fragment may have other ports; for all we know the rule is not about it.
    if rule.is_unsure() { 0 } else { rule.id() }
}

/// Whether what nobody allows between the parties of [`introduce`] is being audited.
#[inline(always)]
pub fn audits_networks(journey: &Journey) -> bool {
    let [src, dst] = &journey.parties;
    src.membership.audits(&dst.membership)
}

/// A station of its own, verified once for all who ask; see [`encode`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rule_on(back: u32) -> u64 {
    let Some(journey) = Journey::current() else { return encode(Ruling::Unsure) };
    let Some((bank, _)) = Bank::of(journey.control.active) else {
        journey.rules = Rules::default();
        return encode(Ruling::Silent);
    };
    let Journey { parties: [src, dst], points, rules, .. } = journey;
    encode(if back & 1 == 0 {
        policy::ruling(src, dst, points[0], &bank, rules)
    } else {
        policy::ruling(dst, src, points[1], &bank, rules)
    })
}

/// A station of its own: the first network of a list that a set holds; 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn first_network(bank: u32, first: u32, count: u32, set: u32) -> u32 {
    let (Some(lists), Some(members)) = (maps::LISTS.get(bank), maps::SET_MEMBERS.get(bank)) else { return 0 };
    let (number_at, holds) = (|index| lists.get(index).copied(), |member| members.get_ptr(member).is_some());
    policy::first_in(Run { first, count }, set, number_at, holds).unwrap_or(0)
}

/// A station of its own: finds the rules between two lists of ends and leaves them in the journey. `counts`
/// holds the length of the first list in its high half.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn match_rules(bank: u32, sources: u32, targets: u32, counts: u32, point: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let sources = Run { first: sources, count: counts >> 16 };
    let targets = Run { first: targets, count: counts & 0xffff };
    match RuleTables::of(bank) {
        Some(tables) => policy::match_ends(sources, targets, Point(point), &tables, &mut journey.rules),
        None => journey.rules.add(RuleWord::UNREADABLE),
    }
    0
}

/// A station of its own: the same from one end of the source on; 0 where the tables could not be read to the end.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn match_rules_from(bank: u32, source: u32, targets: u32, count: u32, point: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Some(tables) = RuleTables::of(bank) else { return 0 };
    let targets = Run { first: targets, count };
    u32::from(policy::match_targets(source, targets, Point(point), &tables, &mut journey.rules))
}

/// A station of its own: the rule of a list for a point.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn service_rule(bank: u32, first: u32, count: u32, point: u32) -> u32 {
    let (Some(ranges), Some(journey)) = (maps::SERVICES.get(bank), Journey::current()) else {
        return RuleWord::UNREADABLE.0;
    };
    let list = ServiceList { first, count };
    policy::search(list, Point(point), &mut journey.search, |index| ranges.get(index).map(|[range]| *range)).0
}

/// A ruling as the number that a station returns: what in the high half, by whom in the low one.
#[inline(always)]
const fn encode(ruling: Ruling) -> u64 {
    match ruling {
        Ruling::Silent => 0,
        Ruling::Denied(rule) => 1 << 32 | rule as u64,
        Ruling::Shared(network) => 2 << 32 | network as u64,
        Ruling::Allowed(rule) => 3 << 32 | rule as u64,
        Ruling::Unsure => 4 << 32,
    }
}

#[inline(always)]
const fn decode(ruling: u64) -> Ruling {
    let by = ruling as u32;
    match ruling >> 32 {
        0 => Ruling::Silent,
        1 => Ruling::Denied(by),
        2 => Ruling::Shared(by),
        3 => Ruling::Allowed(by),
        _ => Ruling::Unsure,
    }
}

/// Where the tables of one generation lie: a complete, immutable copy.
#[derive(Clone, Copy)]
struct Bank(u32);

impl Bank {
    #[inline(always)]
    fn of(control: ControlWord) -> Option<(Self, &'static Membership)> {
        if control.generation() == 0 {
            return None;
        }
        let Generation { bank, host, .. } = maps::GENERATIONS.get(control.slot())?;
        Some((Self(*bank), host))
    }

    #[inline(always)]
    fn membership(self, address: Address) -> Membership {
        let found = if config::kernel_tables() {
            let prefixes = maps::MEMBERSHIPS.get(self.0);
            prefixes
                .and_then(|prefixes| prefixes.get(&lpm_trie::Key::new(128, address)))
                .map(|[membership]| *membership)
        } else {
            self.leaf(address)
        };
        found.unwrap_or_default()
    }

    #[inline(always)]
    fn leaf(self, address: Address) -> Option<Membership> {
        let lines = maps::PREFIXES.get(self.0)?;
        let [roots] = lines.get(0)?;
        Journey::current()?.walk.start(address, roots);
        match find_prefix(self.0) {
            0 => None,
            leaf => lines.get(leaf).map(|[line]| line.membership()),
        }
    }
}

impl Networks for Bank {
    #[inline(always)]
    fn number_at(&self, index: u32) -> Option<u32> {
        maps::LISTS.get(self.0)?.get(index).copied()
    }

    #[inline(always)]
    fn first_in(&self, networks: Run, set: u32) -> Option<u32> {
        // No network has the id 0.
        let network = first_network(self.0, networks.first, networks.count, set);
        (network != 0).then_some(network)
    }

    #[inline(always)]
    fn match_ends(&self, sources: Run, targets: Run, point: Point, _: &mut Rules) {
        match_rules(self.0, sources.first, targets.first, sources.count << 16 | targets.count, point.0);
    }
}

/// The tables that the search for rules looks at step by step, found once and not in each of its steps.
struct RuleTables {
    bank: u32,
    lists: &'static Array<u32, 1, { maps::INNER_MAP }>,
    pairs: &'static HashMap<EndPair, maps::Plain<ServiceList>, 1>,
}

impl RuleTables {
    /// Without them no rule can be ruled out, a denying one least of all.
    #[inline(always)]
    fn of(bank: u32) -> Option<Self> {
        Some(Self { bank, lists: maps::LISTS.get(bank)?, pairs: maps::PAIRS.get(bank)? })
    }
}

impl Ends for RuleTables {
    #[inline(always)]
    fn end_at(&self, index: u32) -> Option<u32> {
        self.lists.get(index).copied()
    }

    #[inline(always)]
    fn services(&self, pair: EndPair) -> Option<ServiceList> {
        // SAFETY: a bank's tables are not written while a generation names it.
        unsafe { self.pairs.get(pair) }.map(|[list]| *list)
    }

    #[inline(always)]
    fn rule_at(&self, list: ServiceList, point: Point) -> RuleWord {
        RuleWord(service_rule(self.bank, list.first, list.count, point.0))
    }

    #[inline(always)]
    fn match_targets(&self, source: u32, targets: Run, point: Point, _: &mut Rules) -> bool {
        match_rules_from(self.bank, source, targets.first, targets.count, point.0) != 0
    }
}
