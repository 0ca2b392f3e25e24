//! Merges what several files say into one policy, and refuses what contradicts itself.
//!
//! On the policy's way: text → spec → **model** → tables. The rules of a single network live in
//! [`AddressSet::new`]; here they get their places in the text.

mod rule;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use toml::Spanned;

use super::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    model::{AddressSet, AddressSetError, Policy},
    name::{Name, RuleName},
    prefix::Prefix,
    rule::Rule,
    source::Source,
    spec::{self, FileSpec, Kind, SetSpec},
};

impl Policy {
    /// The one policy that all `sources` together stand for, or all mistakes in all of them.
    pub fn parse(sources: &[Source]) -> Result<Self, Diagnostics> {
        let mut merge = Merge::default();
        let mut rules = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let file: FileSpec = spec::read(index, &source.text, &mut merge.found);
            merge.flawed |= file.flawed;
            for set in file.sets {
                merge.set(set);
            }
            rules.extend(file.rules);
        }
        // Rules name what any file defines.
        for rule in rules {
            merge.rule(rule);
        }
        Diagnostics::refuse(merge.found, sources)?;
        Ok(Self::new(merge.networks, merge.groups, merge.rules).expect("every name was looked up"))
    }
}

#[derive(Default)]
struct Merge {
    networks: BTreeMap<Name, AddressSet>,
    groups: BTreeMap<Name, AddressSet>,
    rules: BTreeMap<RuleName, Rule>,
    /// Where each network or group was defined first.
    defined: BTreeMap<Name, (Kind, Place)>,
    /// Where each rule was.
    defined_rules: BTreeMap<RuleName, Place>,
    /// Some file could not be read wholly: what is missing may be in there.
    flawed: bool,
    found: Vec<Diagnostic>,
}

impl Merge {
    fn set(&mut self, spec: SetSpec) {
        let SetSpec { kind, name, place, prefixes, except, members, mode } = spec;
        self.define(kind, &name, &place);
        let prefix_set = self.distinct(place.source, "prefixes", &prefixes.items);
        let except_set = self.distinct(place.source, "except", &except.items);
        let member_set = self.distinct(place.source, "members", &members.items);
        if prefixes.flawed || members.flawed {
            return;
        }
        match AddressSet::with_members(prefix_set, except_set, member_set) {
            Ok(set) => {
                let sets = if kind == Kind::Network { &mut self.networks } else { &mut self.groups };
                sets.insert(name, set.in_mode(mode));
            }
            Err(AddressSetError::Empty) => {
                let message = format!("{kind} `{name}` has neither prefixes nor members");
                let help = format!("list at least one of either, or remove the {kind}");
                self.found.push(Diagnostic::new(place, message, "nobody is a member").help(help));
            }
            Err(AddressSetError::StrayExcepts(stray)) => {
                for except in except.items.iter().filter(|except| stray.contains(except.get_ref())) {
                    self.found.push(stray_except(place.source, kind, &name, except));
                }
            }
        }
    }

    /// Rules call networks and groups by their names, so the two share them.
    fn define(&mut self, kind: Kind, name: &Name, place: &Place) {
        let Some((first_kind, first)) = self.defined.get(name) else {
            self.defined.insert(name.clone(), (kind, place.clone()));
            return;
        };
        self.found.push(if *first_kind == kind {
            Diagnostic::new(place.clone(), format!("{kind} `{name}` is defined twice"), "defined again here")
                .related(first.clone(), "first defined here")
        } else {
            let message = format!("`{name}` is both a network and a group");
            Diagnostic::new(place.clone(), message, format!("a {kind} here"))
                .related(first.clone(), format!("a {first_kind} here"))
                .help("rename one of them: rules could mean either")
        });
    }

    /// The set of a list in which nothing may stand twice: a repetition is mostly a mistyped neighbour.
    fn distinct<T: Ord + Clone + fmt::Display>(
        &mut self,
        source: usize,
        list: &str,
        written: &[Spanned<T>],
    ) -> BTreeSet<T> {
        let mut sorted: Vec<&Spanned<T>> = written.iter().collect();
        sorted.sort_by_key(|item| item.get_ref());
        for pair in sorted.windows(2).filter(|pair| pair[0].get_ref() == pair[1].get_ref()) {
            let message = format!("{} stands twice in `{list}`", pair[1].get_ref());
            let diagnostic = Diagnostic::new(Place::new(source, pair[1].span()), message, "again here");
            self.found.push(diagnostic.related(Place::new(source, pair[0].span()), "first here"));
        }
        sorted.into_iter().map(|item| item.get_ref().clone()).collect()
    }
}

fn stray_except(source: usize, kind: Kind, name: &Name, except: &Spanned<Prefix>) -> Diagnostic {
    let prefix = except.get_ref();
    let message = format!("{prefix} lies outside of every prefix of {kind} `{name}`");
    Diagnostic::new(Place::new(source, except.span()), message, "excepts nothing")
        .help(format!("an exception must overlap with a prefix of its own {kind}"))
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
