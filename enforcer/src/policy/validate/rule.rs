//! Rules against the networks and groups of all files.

use toml::Spanned;

use super::Merge;
use crate::policy::{
    diagnostic::{Diagnostic, MAX_SHOWN, Place},
    name::{Name, RuleName},
    prefix::Prefix,
    rule::{End, Rule, RuleError, Side},
    spec::{RuleSpec, SideSpec},
};

/// How alike a name must be to be suggested, from 0 to 1.
const ALIKE: f64 = 0.6;

impl Merge {
    pub(super) fn rule(&mut self, spec: RuleSpec) {
        let RuleSpec { place, name, from, to, services, mode } = spec;
        let source = place.source;
        if let Some((name, place)) = &name {
            self.define_rule(name, place);
        }
        let sides = [&from, &to].map(|side| side.as_ref().map(|side| self.side(source, side)));
        let services = services
            .map(|(action, list)| (action, self.distinct(source, action.word(), &list.items), list.flawed));
        if let (Some(from), Some(to)) = (&from, &to) {
            self.families(source, from, to);
        }
        let flawed = [&from, &to].into_iter().flatten().any(SideSpec::is_flawed);
        let (Some((name, _)), [Some(from), Some(to)]) = (name, sides) else { return };
        let Some((action, services, false)) = services.filter(|_| !flawed) else { return };
        match Rule::new(from, to, action, services).and_then(|rule| rule.in_mode(mode)) {
            Ok(rule) => _ = self.rules.insert(name, rule),
            // Told where the exception stands.
            Err(RuleError::Exception { .. } | RuleError::ExceptedHost { .. }) => {}
            Err(error) => self.found.push(Diagnostic::new(place, error.to_string(), "this rule")),
        }
    }

    fn define_rule(&mut self, name: &RuleName, place: &Place) {
        let Some(first) = self.defined_rules.get(name) else {
            self.defined_rules.insert(name.clone(), place.clone());
            return;
        };
        let message = format!("rule `{name}` is defined twice");
        let diagnostic = Diagnostic::new(place.clone(), message, "defined again here");
        self.found.push(diagnostic.related(first.clone(), "first defined here"));
    }

    fn side(&mut self, source: usize, spec: &SideSpec) -> Side {
        let ends = self.distinct(source, spec.key, &spec.ends.items);
        let except = self.distinct(source, spec.except_key(), &spec.except.items);
        for end in spec.ends.items.iter().chain(&spec.except.items) {
            self.known(source, end);
        }
        for end in &spec.except.items {
            if matches!(end.get_ref(), End::World | End::Host | End::Any) {
                let error = RuleError::Exception { except: end.get_ref().clone() };
                self.found.push(at(source, end, &error.to_string(), "cannot be excepted"));
            }
        }
        let only_host = !spec.ends.flawed && ends.iter().all(|end| *end == End::Host);
        if let Some(first) = spec.except.items.first().filter(|_| only_host) {
            let error = RuleError::ExceptedHost { side: spec.key };
            self.found.push(at(source, first, &error.to_string(), "excepts nothing"));
        }
        Side { ends, except }
    }

    /// Whether there is what an end names.
    fn known(&mut self, source: usize, end: &Spanned<End>) {
        if self.flawed {
            return;
        }
        match end.get_ref() {
            End::Named(name) if !self.defined.contains_key(name) => {
                let message = format!("no network or group is named `{name}`");
                let mut diagnostic = at(source, end, &message, "unknown name");
                let meant = meant(name).or_else(|| self.nearest(name).map(Name::as_str));
                diagnostic.help = meant.map(|meant| format!("did you mean `{meant}`?"));
                self.found.push(diagnostic);
            }
            End::Glob(glob) if !self.defined.keys().any(|name| glob.matches(name)) => {
                let message = format!("`{glob}` matches no network or group");
                self.found.push(at(source, end, &message, "matches nothing"));
            }
            _ => {}
        }
    }

    /// The name that was meant, if one is alike. Looks at all names, so only while somebody reads it.
    fn nearest(&self, name: &Name) -> Option<&Name> {
        if self.found.len() >= MAX_SHOWN {
            return None;
        }
        let likeness = |known: &Name| strsim::normalized_damerau_levenshtein(known.as_str(), name.as_str());
        let alike = self.defined.keys().map(|known| (likeness(known), known));
        // Of equally near names the first; `max_by` alone would take the last.
        alike
            .filter(|&(likeness, _)| likeness >= ALIKE)
            .rev()
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known)
    }

    /// No packet goes from one family to the other.
    fn families(&mut self, source: usize, from: &SideSpec, to: &SideSpec) {
        let (Some((from, from_v4)), Some((to, to_v4))) = (from.only_family(), to.only_family()) else {
            return;
        };
        if from_v4 == to_v4 {
            return;
        }
        let family = |v4| if v4 { "IPv4" } else { "IPv6" };
        let message = "the rule never matches: its sides are of different families";
        let diagnostic = at(source, to, message, &format!("only {} here", family(to_v4)));
        self.found.push(
            diagnostic.related(Place::new(source, from.span()), format!("only {} here", family(from_v4))),
        );
    }
}

/// What others call those who have names of their own here.
fn meant(name: &Name) -> Option<&'static str> {
    match name.as_str() {
        "all" | "anyone" | "anywhere" | "everybody" | "everyone" => Some("any"),
        "external" | "internet" | "outside" => Some("world"),
        "localhost" | "self" => Some("host"),
        _ => None,
    }
}

impl SideSpec {
    fn is_flawed(&self) -> bool {
        self.ends.flawed || self.except.flawed
    }

    fn except_key(&self) -> &'static str {
        if self.key == "from" { "except_from" } else { "except_to" }
    }

    /// The first end, and whether all are IPv4, if all are prefixes of one family.
    fn only_family(&self) -> Option<(&Spanned<End>, bool)> {
        let families: Option<Vec<bool>> = self.ends.items.iter().map(|end| family(end.get_ref())).collect();
        let families = families.filter(|_| !self.ends.flawed)?;
        let first = *families.first()?;
        families.iter().all(|&family| family == first).then_some((&self.ends.items[0], first))
    }
}

fn family(end: &End) -> Option<bool> {
    match end {
        End::Prefix(prefix) => Some(Prefix::is_v4(prefix)),
        _ => None,
    }
}

fn at(source: usize, end: &Spanned<End>, message: &str, label: &str) -> Diagnostic {
    Diagnostic::new(Place::new(source, end.span()), message, label)
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
