//! A rule: who may, or may not, open what to whom.
//!
//! On the policy's way: part of the model.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wildmatch::WildMatch;

use super::{
    mode::Mode,
    name::{Name, NameError},
    prefix::{Prefix, PrefixError},
    service::Service,
};

/// A rule of the policy; its name is its key in [`super::Policy::rules`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RuleParts")]
pub struct Rule {
    from: Side,
    to: Side,
    action: Action,
    services: BTreeSet<Service>,
    #[serde(skip_serializing_if = "Mode::is_enforce")]
    mode: Mode,
}

/// Who a rule is about, on one of its sides: whoever an end names, but for the excepted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Any of these; never empty.
    pub ends: BTreeSet<End>,
    /// None of these: names, globs and prefixes only. The host is never excepted by a prefix.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<End>,
}

/// A set of addresses that a rule names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum End {
    /// Members of a network or a group.
    Named(Name),
    /// Members of every network and group whose name matches.
    Glob(Glob),
    /// Addresses in a prefix, except the host's own.
    Prefix(Prefix),
    /// Addresses that no network or group covers, excepted or not; never a local endpoint's, the host's or
    /// a link-local one.
    World,
    /// The host itself.
    Host,
    /// Everybody but the host.
    Any,
}

/// A pattern for names: `*` stands for any text, `?` for one character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Glob(String);

/// What a rule does with what it matches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets it, and the answers to it, pass.
    Allow,
    /// Drops it, whatever else would let it pass.
    Deny,
}

/// Why a text names nobody.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EndError {
    /// It looks like a prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// It looks like a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Why parts do not make a rule.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RuleError {
    /// Nobody at one side.
    #[error("`{side}` names nobody")]
    Nobody { side: &'static str },
    /// Nothing to allow or deny.
    #[error("the rule says neither what it allows nor what it denies")]
    Nothing,
    /// An exception that no address proves.
    #[error("`{except}` cannot be excepted; list networks, groups or prefixes")]
    Exception { except: End },
    /// Only the host at a side with exceptions.
    #[error("`{side}` is the host alone, which nothing excepts")]
    ExceptedHost { side: &'static str },
    /// It stops nothing anyway.
    #[error("only a rule that denies has a mode")]
    AuditedAllow,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleParts {
    from: Side,
    to: Side,
    action: Action,
    services: BTreeSet<Service>,
    #[serde(default)]
    mode: Mode,
}

impl Rule {
    /// A rule, if the parts make sense together.
    pub fn new(from: Side, to: Side, action: Action, services: BTreeSet<Service>) -> Result<Self, RuleError> {
        from.check("from")?;
        to.check("to")?;
        if services.is_empty() {
            return Err(RuleError::Nothing);
        }
        Ok(Self { from, to, action, services, mode: Mode::Enforce })
    }

    /// The same in another mode, if it denies.
    pub fn in_mode(self, mode: Mode) -> Result<Self, RuleError> {
        if mode != Mode::Enforce && self.action != Action::Deny {
            return Err(RuleError::AuditedAllow);
        }
        Ok(Self { mode, ..self })
    }

    /// In `audit` mode it stops nobody; what it would stop is counted.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it drops what it matches.
    pub fn stops(&self) -> bool {
        self.action == Action::Deny && self.mode == Mode::Enforce
    }

    /// Who opens.
    pub const fn from(&self) -> &Side {
        &self.from
    }

    /// To whom.
    pub const fn to(&self) -> &Side {
        &self.to
    }

    /// All that it names, excepted or not.
    pub fn ends(&self) -> impl Iterator<Item = &End> {
        let sides = [&self.from, &self.to].into_iter();
        sides.flat_map(|side| side.ends.iter().chain(&side.except))
    }

    /// What becomes of it.
    pub const fn action(&self) -> Action {
        self.action
    }

    /// What; never empty.
    pub const fn services(&self) -> &BTreeSet<Service> {
        &self.services
    }
}

impl Action {
    /// The key of its services in a policy file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl TryFrom<RuleParts> for Rule {
    type Error = RuleError;

    fn try_from(parts: RuleParts) -> Result<Self, RuleError> {
        Self::new(parts.from, parts.to, parts.action, parts.services)?.in_mode(parts.mode)
    }
}

impl Side {
    fn check(&self, side: &'static str) -> Result<(), RuleError> {
        if self.ends.is_empty() {
            return Err(RuleError::Nobody { side });
        }
        let special = |end: &&End| matches!(end, End::World | End::Host | End::Any);
        if let Some(except) = self.except.iter().find(special) {
            return Err(RuleError::Exception { except: except.clone() });
        }
        if !self.except.is_empty() && self.ends.iter().all(|end| *end == End::Host) {
            return Err(RuleError::ExceptedHost { side });
        }
        Ok(())
    }
}

impl Glob {
    /// Whether a name matches.
    pub fn matches(&self, name: &Name) -> bool {
        WildMatch::new(&self.0).matches(name.as_str())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for End {
    type Err = EndError;

    fn from_str(text: &str) -> Result<Self, EndError> {
        match text {
            "world" => Ok(Self::World),
            "host" => Ok(Self::Host),
            "any" => Ok(Self::Any),
            _ if text.contains('/') || text.parse::<IpAddr>().is_ok() => {
                Ok(Self::Prefix(Prefix::in_rule(text)?))
            }
            _ if text.contains(['*', '?']) => {
                // What remains must be able to be part of a name.
                text.replace(['*', '?'], "a").parse::<Name>()?;
                Ok(Self::Glob(Glob(text.to_owned())))
            }
            _ => Ok(Self::Named(text.parse()?)),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Glob(glob) => glob.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::World => f.pad("world"),
            Self::Host => f.pad("host"),
            Self::Any => f.pad("any"),
        }
    }
}

impl From<End> for String {
    fn from(end: End) -> Self {
        end.to_string()
    }
}

impl TryFrom<String> for End {
    type Error = EndError;

    fn try_from(text: String) -> Result<Self, EndError> {
        text.parse()
    }
}
