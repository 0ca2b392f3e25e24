//! Stable numbers for networks and rules: what the kernel's tables and counters call them.
//!
//! On the policy's way: between model and tables. The tables of ids are kept on disk, so that an edit of
//! the policy, a restart or a rollback never gives the counters and flows of one to another.

use std::{collections::BTreeMap, fmt};

use enforcer_common::limits::{MAX_NETWORKS, MAX_RULES};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    model::Policy,
    name::{Name, RuleName},
};

/// The ids of everything that the kernel counts by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// Of the networks.
    pub networks: IdTable<Name>,
    /// Of the rules.
    pub rules: IdTable<RuleName>,
}

/// A kind of name that has ids.
pub trait Numbered: Ord + Clone + fmt::Display {
    /// What it names.
    const KIND: &'static str;
    /// The last id; id 0 means *none* in the kernel.
    const LAST_ID: u32;
}

impl Numbered for Name {
    const KIND: &'static str = "network";
    const LAST_ID: u32 = MAX_NETWORKS - 1;
}

impl Numbered for RuleName {
    const KIND: &'static str = "rule";
    const LAST_ID: u32 = MAX_RULES - 1;
}

/// Which id each name has, or had: a retired name stays until its id is needed, so that old flow
/// records can still be named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(
    try_from = "Vec<Record<N>>",
    into = "Vec<Record<N>>",
    bound(serialize = "N: Numbered + Serialize", deserialize = "N: Numbered + Deserialize<'de>")
)]
pub struct IdTable<N> {
    ids: BTreeMap<N, u32>,
    records: BTreeMap<u32, Record<N>>,
}

/// One line of the table, as it lies on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Record<N> {
    id: u32,
    name: N,
    live: bool,
}

/// More names than ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("policy has {count} {kind}s, there are ids for {capacity}")]
pub struct CapacityError {
    /// What there is too much of.
    pub kind: &'static str,
    /// How many the policy has.
    pub count: usize,
    /// Ids there are.
    pub capacity: u32,
}

/// A table from disk that contradicts itself.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum IdTableError {
    /// Zero, or beyond the last one.
    #[error("id {id} of {kind} {name} is not in 1..={last}")]
    OutOfRange { id: u32, kind: &'static str, name: String, last: u32 },
    /// An id of two names, or a name with two ids.
    #[error("id {id} or {kind} {name} is in the table twice")]
    Twice { id: u32, kind: &'static str, name: String },
}

impl Ids {
    /// The ids for `policy`, as far as they are in use already the same.
    pub fn assign(&self, policy: &Policy) -> Result<Self, CapacityError> {
        Ok(Self {
            networks: self.networks.assign(&policy.networks)?,
            rules: self.rules.assign(&policy.rules)?,
        })
    }

    /// Whether both number everything in `policy` alike.
    pub fn agree(&self, other: &Self, policy: &Policy) -> bool {
        let mut networks = policy.networks.keys();
        let mut rules = policy.rules.keys();
        networks.all(|name| self.networks.id(name) == other.networks.id(name))
            && rules.all(|name| self.rules.id(name) == other.rules.id(name))
    }
}

impl<N> Default for IdTable<N> {
    fn default() -> Self {
        Self { ids: BTreeMap::new(), records: BTreeMap::new() }
    }
}

impl<N: Numbered> IdTable<N> {
    /// The table for the keys of `named`: a name in the table keeps its id, a new one gets the lowest that
    /// was never used, in name order; retired ids are used again only when no other is left.
    pub fn assign<T>(&self, named: &BTreeMap<N, T>) -> Result<Self, CapacityError> {
        self.assign_up_to(N::LAST_ID, named)
    }

    fn assign_up_to<T>(&self, last: u32, named: &BTreeMap<N, T>) -> Result<Self, CapacityError> {
        let count = named.len();
        if count > last as usize {
            return Err(CapacityError { kind: N::KIND, count, capacity: last });
        }
        let mut next = self.clone();
        for record in next.records.values_mut() {
            record.live = named.contains_key(&record.name);
        }
        let unused = (1..=last).filter(|id| !self.records.contains_key(id));
        let retired = next.records.values().filter(|record| !record.live).map(|record| record.id);
        let new = named.keys().filter(|name| !self.ids.contains_key(*name));
        let assigned: Vec<_> = new.cloned().zip(unused.chain(retired)).collect();
        for (name, id) in assigned {
            next.ids.insert(name.clone(), id);
            if let Some(forgotten) = next.records.insert(id, Record { id, name, live: true }) {
                next.ids.remove(&forgotten.name);
            }
        }
        Ok(next)
    }

    /// The id of a name, live or retired.
    pub fn id(&self, name: &N) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// The name that has an id, or had it last.
    pub fn name(&self, id: u32) -> Option<&N> {
        self.records.get(&id).map(|record| &record.name)
    }

    /// Whether the name with that id is in the policy that was assigned last.
    pub fn is_live(&self, id: u32) -> bool {
        self.records.get(&id).is_some_and(|record| record.live)
    }
}

impl<N> From<IdTable<N>> for Vec<Record<N>> {
    fn from(table: IdTable<N>) -> Self {
        table.records.into_values().collect()
    }
}

impl<N: Numbered> TryFrom<Vec<Record<N>>> for IdTable<N> {
    type Error = IdTableError;

    fn try_from(records: Vec<Record<N>>) -> Result<Self, IdTableError> {
        let mut table = Self::default();
        for record in records {
            let (id, name, kind, last) = (record.id, record.name.clone(), N::KIND, N::LAST_ID);
            if id == 0 || id > last {
                return Err(IdTableError::OutOfRange { id, kind, name: name.to_string(), last });
            }
            let other_id = table.ids.insert(name.clone(), id);
            let other_name = table.records.insert(id, record);
            if other_id.is_some() || other_name.is_some() {
                return Err(IdTableError::Twice { id, kind, name: name.to_string() });
            }
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn named(names: &str) -> BTreeMap<Name, bool> {
        names.split_whitespace().map(|name| (name.parse().unwrap(), true)).collect()
    }

    fn steps(last: u32, policies: &[&str]) -> IdTable<Name> {
        policies
            .iter()
            .fold(IdTable::default(), |table, names| table.assign_up_to(last, &named(names)).unwrap())
    }

    /// `1:a 2:-b`: network a has id 1, retired b has id 2.
    fn text(table: &IdTable<Name>) -> String {
        let records = table.records.values();
        let lines: Vec<String> = records
            .map(|record| format!("{}:{}{}", record.id, if record.live { "" } else { "-" }, record.name))
            .collect();
        lines.join(" ")
    }

    #[rstest]
    #[case::name_order(&["c a b"], "1:a 2:b 3:c")]
    #[case::existing_keep(&["b c", "a b c"], "1:b 2:c 3:a")]
    #[case::retired_stay(&["a b", "b c"], "1:-a 2:b 3:c")]
    #[case::retired_return(&["a b", "b", "a b c"], "1:a 2:b 3:c")]
    #[case::nothing_lives(&["a", ""], "1:-a")]
    #[case::smallest_retired_is_reused_last(
        &["a b c", "c", "c x y"],
        "1:y 2:-b 3:c 4:x"
    )]
    #[case::all_retired_are_reused(&["a b c d", "w x y z"], "1:w 2:x 3:y 4:z")]
    #[case::the_returning_is_not_reused(&["a b c d", "d", "a d x"], "1:a 2:x 3:-c 4:d")]
    fn ids_are_stable(#[case] policies: &[&str], #[case] expected: &str) {
        let table = steps(4, policies);
        assert_eq!(text(&table), expected);
        for record in table.records.values() {
            assert_eq!(table.id(&record.name), Some(record.id));
            assert_eq!(table.name(record.id), Some(&record.name));
            assert_eq!(table.is_live(record.id), record.live);
        }
        assert_eq!(table.ids.len(), table.records.len());
    }

    #[test]
    fn the_same_policy_again_changes_nothing() {
        let table = steps(4, &["a b", "b"]);
        assert_eq!(table.assign(&named("b")).unwrap(), table);
    }

    #[test]
    fn more_names_than_ids_are_refused_with_the_numbers() {
        let error = IdTable::default().assign_up_to(2, &named("a b c")).unwrap_err();
        assert_eq!(error.to_string(), "policy has 3 networks, there are ids for 2");
        let rules: BTreeMap<RuleName, bool> =
            (0..=MAX_RULES).map(|i| (format!("rule {i}").parse().unwrap(), true)).collect();
        let error = IdTable::default().assign(&rules).unwrap_err();
        assert_eq!(error.to_string(), "policy has 65537 rules, there are ids for 65535");
    }

    #[test]
    fn the_table_round_trips() {
        let table = steps(4, &["a b", "b"]);
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(json, r#"[{"id":1,"name":"a","live":false},{"id":2,"name":"b","live":true}]"#);
        assert_eq!(serde_json::from_str::<IdTable<Name>>(&json).unwrap(), table);
    }

    #[rstest]
    #[case::zero(r#"[{"id":0,"name":"a","live":true}]"#)]
    #[case::beyond(r#"[{"id":131072,"name":"a","live":true}]"#)]
    #[case::id_twice(r#"[{"id":1,"name":"a","live":true},{"id":1,"name":"b","live":true}]"#)]
    #[case::name_twice(r#"[{"id":1,"name":"a","live":true},{"id":2,"name":"a","live":true}]"#)]
    fn a_table_that_contradicts_itself_is_refused(#[case] json: &str) {
        assert!(serde_json::from_str::<IdTable<Name>>(json).is_err());
    }
}
