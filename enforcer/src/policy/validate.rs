//! Merges what several files say into one policy, and refuses what contradicts itself.
//!
//! On the policy's way: text → spec → **model** → tables. The rules of a single network live in
//! [`AddressSet::new`]; here they get their places in the text.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::{
    diagnostic::{Diagnostic, Diagnostics, Place},
    model::{AddressSet, AddressSetError, Policy},
    name::Name,
    prefix::Prefix,
    source::Source,
    spec::{self, NetworkSpec},
};

impl Policy {
    /// The one policy that all `sources` together stand for, or all mistakes in all of them.
    pub fn parse(sources: &[Source]) -> Result<Self, Diagnostics> {
        let mut merge = Merge::default();
        for (index, source) in sources.iter().enumerate() {
            for network in spec::read(index, &source.text, &mut merge.found) {
                merge.network(network);
            }
        }
        Diagnostics::refuse(merge.found, sources)?;
        Ok(Self { networks: merge.networks, ..Self::default() })
    }
}

#[derive(Default)]
struct Merge {
    networks: BTreeMap<Name, AddressSet>,
    /// Where each name was defined first.
    defined: BTreeMap<Name, Place>,
    found: Vec<Diagnostic>,
}

impl Merge {
    fn network(&mut self, spec: NetworkSpec) {
        let NetworkSpec { name, place, prefixes, except } = spec;
        if let Some(first) = self.defined.get(&name) {
            let message = format!("network `{name}` is defined twice");
            let diagnostic = Diagnostic::new(place.clone(), message, "defined again here");
            self.found.push(diagnostic.related(first.clone(), "first defined here"));
        } else {
            self.defined.insert(name.clone(), place.clone());
        }
        let prefix_set = self.distinct(place.source, "prefixes", &prefixes.prefixes);
        let except_set = self.distinct(place.source, "except", &except.prefixes);
        if prefixes.flawed {
            return;
        }
        match AddressSet::new(prefix_set, except_set) {
            Ok(network) => {
                self.networks.insert(name, network);
            }
            Err(AddressSetError::Empty) => {
                let message = format!("network `{name}` has no prefixes");
                let help = "list at least one prefix, or remove the network";
                self.found.push(Diagnostic::new(place, message, "nobody is a member").help(help));
            }
            Err(AddressSetError::StrayExcepts(stray)) => {
                for except in except.prefixes.iter().filter(|except| stray.contains(except.get_ref())) {
                    self.found.push(stray_except(place.source, &name, except));
                }
            }
        }
    }

    /// The set of a list in which nothing may stand twice: a repetition is mostly a mistyped neighbour.
    fn distinct(&mut self, source: usize, list: &str, written: &[Spanned<Prefix>]) -> BTreeSet<Prefix> {
        let mut sorted: Vec<&Spanned<Prefix>> = written.iter().collect();
        sorted.sort_by_key(|prefix| *prefix.get_ref());
        for pair in sorted.windows(2).filter(|pair| pair[0].get_ref() == pair[1].get_ref()) {
            let message = format!("{} stands twice in `{list}`", pair[1].get_ref());
            let diagnostic = Diagnostic::new(Place::new(source, pair[1].span()), message, "again here");
            self.found.push(diagnostic.related(Place::new(source, pair[0].span()), "first here"));
        }
        sorted.into_iter().map(|prefix| *prefix.get_ref()).collect()
    }
}

fn stray_except(source: usize, name: &Name, except: &Spanned<Prefix>) -> Diagnostic {
    let prefix = except.get_ref();
    let message = format!("{prefix} lies outside of every prefix of network `{name}`");
    Diagnostic::new(Place::new(source, except.span()), message, "excepts nothing")
        .help("an exception must overlap with a prefix of its own network")
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
