//! Sides of rules to ends: the numbers under which the kernel knows sets of addresses that rules name.
//!
//! A rule connects every end of its source with every end of its target. Its shorter side becomes one end,
//! the longer one an end for each set that is written there, so that pairs of ends are linear in the text.
//! Equal ends of different rules are one: an address matches few of them, however many rules there are.

use std::collections::{BTreeMap, HashMap};

use enforcer_common::policy::EndPair;

use super::NumberedRule;
use crate::policy::{
    mode::Mode,
    name::RuleName,
    rule::{End, Side},
};

/// The index of something that rules write at their sides.
pub(super) type Term = usize;

/// All ends, and which of them rules connect.
pub(super) struct Connections<'p> {
    /// What is written at any side, each once.
    pub terms: Vec<&'p End>,
    pub sources: Ends<'p>,
    pub targets: Ends<'p>,
    /// The rules between two ends, by their indices.
    pub pairs: BTreeMap<EndPair, Vec<usize>>,
}

/// The ends of one side of all rules.
pub(super) struct Ends<'p> {
    /// What errors call the side.
    pub side: &'static str,
    entries: Vec<Entry<'p>>,
    numbers: HashMap<EndSet, u32>,
    /// By term, the ends with it.
    having: Vec<Vec<u32>>,
}

struct Entry<'p> {
    set: EndSet,
    /// The first rule that has it.
    rule: &'p RuleName,
}

/// The addresses of any of some terms and none of others.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct EndSet {
    /// Rules that only audit have ends of their own: what they say lies in lists of their own, so that it
    /// is found beside what decides.
    pub mode: Mode,
    pub any_of: Vec<Term>,
    pub none_of: Vec<Term>,
}

impl<'p> Connections<'p> {
    pub fn new(rules: &[NumberedRule<'p>]) -> Self {
        let mut terms = Terms::default();
        let mut connections = Self {
            terms: Vec::new(),
            sources: Ends::of("from"),
            targets: Ends::of("to"),
            pairs: BTreeMap::new(),
        };
        for (index, NumberedRule { name, rule, .. }) in rules.iter().enumerate() {
            let (from, to) = (rule.from(), rule.to());
            let from_is_shorter = from.ends.len() <= to.ends.len();
            let sources = terms.ends_of(from, from_is_shorter, rule.mode());
            let sources = connections.sources.add(name, sources);
            let targets = terms.ends_of(to, !from_is_shorter, rule.mode());
            let targets = connections.targets.add(name, targets);
            for &source in &sources {
                for &target in &targets {
                    connections.pairs.entry(EndPair { source, target }).or_default().push(index);
                }
            }
        }
        connections.terms = terms.list;
        connections.sources.index(connections.terms.len());
        connections.targets.index(connections.terms.len());
        connections
    }

    /// The term of a word such as `world`, if any rule writes it.
    pub fn term(&self, end: &End) -> Option<Term> {
        self.terms.iter().position(|known| *known == end)
    }
}

#[derive(Default)]
struct Terms<'p> {
    list: Vec<&'p End>,
    known: HashMap<&'p End, Term>,
}

impl<'p> Terms<'p> {
    fn term(&mut self, end: &'p End) -> Term {
        *self.known.entry(end).or_insert_with(|| {
            self.list.push(end);
            self.list.len() - 1
        })
    }

    /// The ends of a side: one for all of it, or one for each set.
    fn ends_of(&mut self, side: &'p Side, whole: bool, mode: Mode) -> Vec<EndSet> {
        let none_of: Vec<Term> = side.except.iter().map(|end| self.term(end)).collect();
        let terms: Vec<Term> = side.ends.iter().map(|end| self.term(end)).collect();
        let parts = if whole { vec![terms] } else { terms.into_iter().map(|term| vec![term]).collect() };
        parts.into_iter().map(|any_of| EndSet { mode, any_of, none_of: none_of.clone() }).collect()
    }
}

impl<'p> Ends<'p> {
    fn of(side: &'static str) -> Self {
        Self { side, entries: Vec::new(), numbers: HashMap::new(), having: Vec::new() }
    }

    fn add(&mut self, rule: &'p RuleName, sets: Vec<EndSet>) -> Vec<u32> {
        sets.into_iter().map(|set| self.number(rule, set)).collect()
    }

    /// The number of a set; numbers start at 1.
    fn number(&mut self, rule: &'p RuleName, set: EndSet) -> u32 {
        if let Some(&known) = self.numbers.get(&set) {
            return known;
        }
        self.entries.push(Entry { set: set.clone(), rule });
        let number = self.entries.len() as u32;
        self.numbers.insert(set, number);
        number
    }

    fn index(&mut self, terms: usize) {
        self.having = vec![Vec::new(); terms];
        for (number, entry) in (1..).zip(&self.entries) {
            for &term in &entry.set.any_of {
                self.having[term].push(number);
            }
        }
    }

    /// What an end of this side is.
    pub fn set(&self, number: u32) -> &EndSet {
        &self.entries[number as usize - 1].set
    }

    /// The first rule with an end.
    pub fn rule(&self, number: u32) -> &'p RuleName {
        self.entries[number as usize - 1].rule
    }

    /// The ends that have a term, in order.
    pub fn having(&self, term: Term) -> &[u32] {
        &self.having[term]
    }
}
