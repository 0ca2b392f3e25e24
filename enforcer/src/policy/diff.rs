//! What differs between two policies, by the names that people gave.
//!
//! Beside the policy's way: a question to two models.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{
    mode::Mode,
    model::{AddressSet, Policy},
    name::{Name, RuleName},
    prefix::Prefix,
    rule::{Action, Rule, Side},
    selector::Selector,
};

/// Everything that differs; what is equal in both is not told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Diff {
    /// Networks, in name order.
    pub networks: Vec<SetChange>,
    /// Groups, in name order.
    pub groups: Vec<SetChange>,
    /// Rules, in name order.
    pub rules: Vec<RuleChange>,
}

/// What becomes of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It means something else.
    Changed,
    /// It is gone.
    Removed,
}

/// A network or a group that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetChange {
    /// Its name.
    pub name: Name,
    /// What becomes of it.
    pub change: Change,
    /// Prefixes that it has now.
    pub prefixes_added: Vec<Prefix>,
    /// Prefixes that it had.
    pub prefixes_removed: Vec<Prefix>,
    /// Exceptions that it has now.
    pub except_added: Vec<Prefix>,
    /// Exceptions that it had.
    pub except_removed: Vec<Prefix>,
    /// Members by their containers that it has now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members_added: Vec<Selector>,
    /// Members by their containers that it had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members_removed: Vec<Selector>,
    /// The mode that it has now, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// A rule that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleChange {
    /// Its name.
    pub name: RuleName,
    /// What becomes of it.
    pub change: Change,
    /// What it was.
    pub before: Option<Rule>,
    /// What it is.
    pub after: Option<Rule>,
}

impl Diff {
    /// What differs from `old` to `new`.
    pub fn between(old: &Policy, new: &Policy) -> Self {
        let rules = differing(&old.rules, &new.rules).map(|(name, change, before, after)| RuleChange {
            name: name.clone(),
            change,
            before: before.cloned(),
            after: after.cloned(),
        });
        Self {
            networks: sets(&old.networks, &new.networks),
            groups: sets(&old.groups, &new.groups),
            rules: rules.collect(),
        }
    }

    /// Whether both are the same policy.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn sets(old: &BTreeMap<Name, AddressSet>, new: &BTreeMap<Name, AddressSet>) -> Vec<SetChange> {
    let changes = differing(old, new).map(|(name, change, before, after)| SetChange {
        name: name.clone(),
        change,
        prefixes_added: only(after, before, AddressSet::prefixes),
        prefixes_removed: only(before, after, AddressSet::prefixes),
        except_added: only(after, before, AddressSet::except),
        except_removed: only(before, after, AddressSet::except),
        members_added: only(after, before, AddressSet::members),
        members_removed: only(before, after, AddressSet::members),
        mode: after
            .map(AddressSet::mode)
            .filter(|mode| *mode != before.map_or(Mode::default(), AddressSet::mode)),
    });
    changes.collect()
}

/// Of one part, what is here and not there.
fn only<T: Ord + Clone>(
    here: Option<&AddressSet>,
    there: Option<&AddressSet>,
    part: fn(&AddressSet) -> &BTreeSet<T>,
) -> Vec<T> {
    let here = here.into_iter().flat_map(part);
    here.filter(|one| there.is_none_or(|there| !part(there).contains(*one))).cloned().collect()
}

/// The names of which not both sides say the same, with what each says.
fn differing<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Change, Option<&'a V>, Option<&'a V>)> {
    let names: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter_map(|name| {
        let (before, after) = (old.get(name), new.get(name));
        let change = match (before, after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ => Change::Changed,
        };
        (before != after).then_some((name, change, before, after))
    })
}

/// A rule in one line.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match (self.action(), self.mode()) {
            (Action::Allow, _) => "allow",
            (Action::Deny, Mode::Enforce) => "deny",
            (Action::Deny, Mode::Audit) => "audit: deny",
        };
        write!(f, "{action} {} from {} to {}", list(self.services()), self.from(), self.to())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(&self.ends))?;
        if self.except.is_empty() { Ok(()) } else { write!(f, " except {}", list(&self.except)) }
    }
}

fn list<T: fmt::Display>(things: &BTreeSet<T>) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        serde_json::from_str(json).unwrap()
    }

    fn old() -> Policy {
        policy(
            r#"{"networks": {"blue": {"prefixes": ["10.1.0.0/24", "10.2.0.0/24"], "except": ["10.1.0.13/32"]},
                             "green": {"prefixes": ["10.5.0.0/16"]}, "same": {"prefixes": ["10.6.0.0/16"]}},
                "rules": {"smtp": {"from": {"ends": ["blue"]}, "to": {"ends": ["world"]},
                                   "action": "deny", "services": ["tcp/25"]}}}"#,
        )
    }

    fn new() -> Policy {
        policy(
            r#"{"networks": {"blue": {"prefixes": ["10.1.0.0/24", "10.3.0.0/24"]},
                             "same": {"prefixes": ["10.6.0.0/16"]}},
                "groups": {"green": {"prefixes": ["10.5.0.0/16"]}},
                "rules": {"smtp": {"from": {"ends": ["blue", "host"], "except": ["green"]},
                                   "to": {"ends": ["world"]}, "action": "deny",
                                   "services": ["tcp/25", "tcp/587"]}}}"#,
        )
    }

    #[test]
    fn other_members_are_a_change() {
        let members = |text: &str| {
            policy(&format!(r#"{{"networks": {{"blue": {{"prefixes": [], "members": ["{text}"]}}}}}}"#))
        };
        let diff = Diff::between(&members("docker:label:a"), &members("docker:name:b"));
        let [change] = &diff.networks[..] else { panic!("{diff:?}") };
        assert_eq!(change.members_added, ["docker:name:b".parse().unwrap()]);
        assert_eq!(change.members_removed, ["docker:label:a".parse().unwrap()]);
    }

    #[test]
    fn what_differs_is_told_by_name() {
        let diff = serde_json::to_string_pretty(&Diff::between(&old(), &new())).unwrap();
        insta::assert_snapshot!(diff, @r#"
        {
          "networks": [
            {
              "name": "blue",
              "change": "changed",
              "prefixes_added": [
                "10.3.0.0/24"
              ],
              "prefixes_removed": [
                "10.2.0.0/24"
              ],
              "except_added": [],
              "except_removed": [
                "10.1.0.13/32"
              ]
            },
            {
              "name": "green",
              "change": "removed",
              "prefixes_added": [],
              "prefixes_removed": [
                "10.5.0.0/16"
              ],
              "except_added": [],
              "except_removed": []
            }
          ],
          "groups": [
            {
              "name": "green",
              "change": "added",
              "prefixes_added": [
                "10.5.0.0/16"
              ],
              "prefixes_removed": [],
              "except_added": [],
              "except_removed": []
            }
          ],
          "rules": [
            {
              "name": "smtp",
              "change": "changed",
              "before": {
                "from": {
                  "ends": [
                    "blue"
                  ]
                },
                "to": {
                  "ends": [
                    "world"
                  ]
                },
                "action": "deny",
                "services": [
                  "tcp/25"
                ]
              },
              "after": {
                "from": {
                  "ends": [
                    "blue",
                    "host"
                  ],
                  "except": [
                    "green"
                  ]
                },
                "to": {
                  "ends": [
                    "world"
                  ]
                },
                "action": "deny",
                "services": [
                  "tcp/25",
                  "tcp/587"
                ]
              }
            }
          ]
        }
        "#);
    }

    #[test]
    fn equal_policies_do_not_differ() {
        assert!(Diff::between(&old(), &old()).is_empty());
        assert!(!Diff::between(&old(), &new()).is_empty());
    }

    #[test]
    fn a_rule_is_one_line() {
        let rule = &new().rules[&"smtp".parse().unwrap()];
        insta::assert_snapshot!(rule, @"deny tcp/25, tcp/587 from blue, host except green to world");
    }
}
