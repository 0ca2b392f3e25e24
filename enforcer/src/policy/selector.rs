//! Members that are told by what their containers are called or labelled, wherever they run.
//!
//! On the policy's way: part of the model. Which addresses a selector means is known on each host alone, so
//! a policy is resolved there, just before it is compiled; a policy's files and its digest hold no
//! addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wildmatch::WildMatch;

use super::{
    model::{AddressSet, Policy},
    name::Name,
    prefix::Prefix,
};

/// Containers, told by something that is known of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selector {
    /// Whose name matches: `docker:name:PATTERN`; `*` stands for any text, `?` for one character.
    Name(String),
    /// That have a label, whatever its value: `docker:label:KEY`.
    Label(String),
    /// That have a label of this value: `docker:label:KEY=VALUE`.
    Value {
        /// The label.
        key: String,
        /// Its whole value.
        value: String,
    },
}

/// Why a text selects nobody.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SelectorError {
    /// Nothing that a container could be told by.
    #[error(
        "`{text}` names no containers; write docker:label:KEY=VALUE, docker:label:KEY or docker:name:PATTERN"
    )]
    Form { text: String },
    /// It stands in the wrong list.
    #[error("`{text}` is an address; addresses are listed in `prefixes`")]
    Address { text: String },
    /// No container can have this name.
    #[error(
        "`{pattern}` matches no container's name; names have letters, digits, `_`, `.` and `-`, and `*` and `?` match any"
    )]
    Name { pattern: String },
    /// It would be compared as a whole.
    #[error("labels are compared as they are; `*` and `?` mean something in docker:name only")]
    Wildcard,
    /// Nobody means that.
    #[error("blanks around a label, or control characters in it")]
    Blank,
}

const NAME: &str = "docker:name:";
const LABEL: &str = "docker:label:";

impl Selector {
    /// Whether it means a container of which `label` is known: `docker:name:NAME` or
    /// `docker:label:KEY=VALUE`.
    pub fn matches(&self, label: &str) -> bool {
        match self {
            Self::Name(pattern) => {
                label.strip_prefix(NAME).is_some_and(|name| WildMatch::new(pattern).matches(name))
            }
            Self::Label(key) => label
                .strip_prefix(LABEL)
                .and_then(|label| label.strip_prefix(key.as_str()))
                .is_some_and(|rest| rest.starts_with('=')),
            Self::Value { key, value } => label
                .strip_prefix(LABEL)
                .and_then(|label| label.strip_prefix(key.as_str()))
                .and_then(|rest| rest.strip_prefix('='))
                .is_some_and(|label| label == value),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if let Some(pattern) = text.strip_prefix(NAME) {
            let able = |letter: char| letter.is_ascii_alphanumeric() || "_.-*?".contains(letter);
            let able = !pattern.is_empty() && pattern.chars().all(able);
            return if able {
                Ok(Self::Name(pattern.to_owned()))
            } else {
                Err(SelectorError::Name { pattern: pattern.to_owned() })
            };
        }
        let text_owned = || text.to_owned();
        let Some(label) = text.strip_prefix(LABEL).filter(|label| !label.is_empty()) else {
            let is_address = text.contains('/') || text.parse::<std::net::IpAddr>().is_ok();
            let error = if is_address {
                SelectorError::Address { text: text_owned() }
            } else {
                SelectorError::Form { text: text_owned() }
            };
            return Err(error);
        };
        if label.trim() != label || label.chars().any(char::is_control) {
            return Err(SelectorError::Blank);
        }
        if label.contains(['*', '?']) {
            return Err(SelectorError::Wildcard);
        }
        match label.split_once('=') {
            None => Ok(Self::Label(label.to_owned())),
            Some(("", _)) => Err(SelectorError::Form { text: text_owned() }),
            Some((key, value)) => Ok(Self::Value { key: key.to_owned(), value: value.to_owned() }),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(pattern) => write!(f, "{NAME}{pattern}"),
            Self::Label(key) => write!(f, "{LABEL}{key}"),
            Self::Value { key, value } => write!(f, "{LABEL}{key}={value}"),
        }
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

/// Which addresses on this host belong to containers of which something is known, by what is known.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Labels(BTreeMap<String, BTreeSet<Prefix>>);

impl Labels {
    /// Nobody is known.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// `prefix` belongs to a container of which `label` is known.
    pub fn add(&mut self, label: &str, prefix: Prefix) {
        match self.0.get_mut(label) {
            Some(prefixes) => _ = prefixes.insert(prefix),
            None => _ = self.0.insert(label.to_owned(), [prefix].into()),
        }
    }

    /// What either says.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (label, prefixes) in &other.0 {
            self.0.entry(label.clone()).or_default().extend(prefixes);
        }
        self
    }

    /// What both say.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(label, prefixes)| {
            let common: BTreeSet<Prefix> = prefixes.intersection(other.0.get(label)?).copied().collect();
            (!common.is_empty()).then(|| (label.clone(), common))
        });
        Self(both.collect())
    }

    /// What is said of prefixes that `keeps` holds for.
    #[must_use]
    pub fn only(&self, keeps: impl Fn(&Prefix) -> bool) -> Self {
        let kept = self.0.iter().filter_map(|(label, prefixes)| {
            let kept: BTreeSet<Prefix> = prefixes.iter().copied().filter(&keeps).collect();
            (!kept.is_empty()).then(|| (label.clone(), kept))
        });
        Self(kept.collect())
    }

    /// The prefixes of which this says something that `other` does not.
    pub fn beyond(&self, other: &Self) -> BTreeSet<Prefix> {
        let all = self.0.iter().flat_map(|(label, prefixes)| {
            let known = other.0.get(label);
            prefixes.iter().copied().filter(move |prefix| known.is_none_or(|known| !known.contains(prefix)))
        });
        all.collect()
    }

    fn meant_by(&self, members: &BTreeSet<Selector>) -> BTreeSet<Prefix> {
        let meant = self.0.iter().filter(|(label, _)| members.iter().any(|member| member.matches(label)));
        meant.flat_map(|(_, prefixes)| prefixes.iter().copied()).collect()
    }
}

impl Policy {
    /// Whether anybody is a member by what is known of containers, so that addresses of members are known on
    /// a host only.
    pub fn has_members(&self) -> bool {
        self.selecting().next().is_some()
    }

    fn selecting(&self) -> impl Iterator<Item = (&Name, &AddressSet)> {
        self.networks.iter().chain(&self.groups).filter(|(_, set)| !set.members().is_empty())
    }

    /// The addresses that `labels` add to each network and group; what is not told here is as it is
    /// written.
    pub fn additions(&self, labels: &Labels) -> BTreeMap<Name, BTreeSet<Prefix>> {
        let meant = self.selecting().map(|(name, set)| (name.clone(), labels.meant_by(set.members())));
        meant.filter(|(_, prefixes)| !prefixes.is_empty()).collect()
    }

    /// The policy as it is on a host where `labels` are known: every member by its addresses, too.
    #[must_use]
    pub fn resolve(&self, labels: &Labels) -> Self {
        let mut policy = self.clone();
        for (name, prefixes) in self.additions(labels) {
            let set = policy.networks.get_mut(&name).or_else(|| policy.groups.get_mut(&name));
            if let Some(set) = set {
                set.admit(prefixes);
            }
        }
        policy
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
