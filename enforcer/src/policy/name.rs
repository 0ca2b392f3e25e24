//! The names of networks, groups and rules.
//!
//! On the policy's way: part of the model; what flows, counters and messages call them by.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// Longest name, in characters: fits a DNS label and a table column.
const MAX_LENGTH: usize = 63;

/// Words that rules use for sets of addresses that are no network.
const RESERVED: [&str; 3] = ["world", "host", "any"];

/// The name of a network or group: 1 to 63 of `a-z 0-9 . _ -`, starting with a letter or digit, no reserved word.
/// Copies share one text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum NameError {
    /// Nothing.
    #[error("a name must not be empty")]
    Empty,
    /// More than 63 characters.
    #[error("a name has at most {MAX_LENGTH} characters, this one has {length}")]
    TooLong { length: usize },
    /// First character is neither a letter nor a digit.
    #[error("a name starts with a-z or 0-9, not with {found:?}")]
    BadStart { found: char },
    /// A character outside of the set.
    #[error("a name consists of a-z, 0-9, `.`, `_` and `-`; {found:?} is none of them")]
    BadCharacter { found: char },
    /// A word with a meaning of its own.
    #[error("`{name}` is a reserved word and cannot name a network or group; reserved are world, host, any")]
    Reserved { name: String },
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let first = text.chars().next().ok_or(NameError::Empty)?;
        let length = text.chars().count();
        if length > MAX_LENGTH {
            return Err(NameError::TooLong { length });
        }
        if let Some(found) = text.chars().find(|&c| !alphanumeric(c) && !".-_".contains(c)) {
            return Err(NameError::BadCharacter { found });
        }
        if !alphanumeric(first) {
            return Err(NameError::BadStart { found: first });
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved { name: text.to_owned() });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

/// A rule's name: one line of 1 to 128 characters, for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleName(String);

/// Longest name of a rule, in characters.
const MAX_RULE_LENGTH: usize = 128;

/// Why a text is not a name of a rule.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RuleNameError {
    /// Nothing, or nothing but blanks at one end.
    #[error("a rule's name starts and ends with a character that is seen")]
    Blank,
    /// More than 128 characters.
    #[error("a rule's name has at most {MAX_RULE_LENGTH} characters, this one has {length}")]
    TooLong { length: usize },
    /// A line break or the like.
    #[error("a rule's name is one line of text; {found:?} is none of it")]
    Control { found: char },
}

impl RuleName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = RuleNameError;

    fn from_str(text: &str) -> Result<Self, RuleNameError> {
        let length = text.chars().count();
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(RuleNameError::Control { found });
        }
        if text.is_empty() || text.trim() != text {
            return Err(RuleNameError::Blank);
        }
        if length > MAX_RULE_LENGTH {
            return Err(RuleNameError::TooLong { length });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<RuleName> for String {
    fn from(name: RuleName) -> Self {
        name.0
    }
}

impl TryFrom<String> for RuleName {
    type Error = RuleNameError;

    fn try_from(text: String) -> Result<Self, RuleNameError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("blue")]
    #[case("0")]
    #[case("tenant-7.db_2")]
    #[case("worldwide")]
    #[case(&"a".repeat(63))]
    fn a_good_name_round_trips(#[case] text: &str) {
        let name: Name = text.parse().unwrap();
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Name>(&json).unwrap(), name);
    }

    #[rstest]
    #[case("", NameError::Empty)]
    #[case(&"a".repeat(64), NameError::TooLong { length: 64 })]
    #[case("-a", NameError::BadStart { found: '-' })]
    #[case("Blue", NameError::BadCharacter { found: 'B' })]
    #[case("blau grün", NameError::BadCharacter { found: ' ' })]
    #[case("tenant*", NameError::BadCharacter { found: '*' })]
    #[case("world", NameError::Reserved { name: "world".into() })]
    #[case("host", NameError::Reserved { name: "host".into() })]
    #[case("any", NameError::Reserved { name: "any".into() })]
    fn a_bad_name_is_refused(#[case] text: &str, #[case] error: NameError) {
        assert_eq!(text.parse::<Name>(), Err(error));
        assert!(serde_json::from_str::<Name>(&format!("\"{text}\"")).is_err());
    }
}
