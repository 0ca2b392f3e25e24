//! Stable numbers for networks: what the kernel's tables and counters call them.
//!
//! On the policy's way: between model and tables. The table is kept on disk, so that an edit of the
//! policy, a restart or a rollback never gives a network's counters and flows to another one.

use std::collections::BTreeMap;

use enforcer_common::limits::MAX_NETWORKS;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{model::Policy, name::Name};

/// The last id; id 0 means *no network* in the kernel.
const LAST_ID: u32 = MAX_NETWORKS - 1;

/// Which id each network has, or had: a retired name stays until its id is needed, so that old flow
/// records can still be named.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Record>", into = "Vec<Record>")]
pub struct IdTable {
    ids: BTreeMap<Name, u32>,
    records: BTreeMap<u32, Record>,
}

/// One line of the table, as it lies on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Record {
    id: u32,
    name: Name,
    live: bool,
}

/// More networks than ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("policy has {networks} networks, there are ids for {capacity}")]
pub struct CapacityError {
    /// Networks of the policy.
    pub networks: usize,
    /// Ids there are.
    pub capacity: u32,
}

/// A table from disk that contradicts itself.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum IdTableError {
    /// Zero, or beyond the last one.
    #[error("id {id} of network {name} is not in 1..={LAST_ID}")]
    OutOfRange { id: u32, name: Name },
    /// An id of two networks, or a network with two ids.
    #[error("id {id} or network {name} is in the table twice")]
    Twice { id: u32, name: Name },
}

impl IdTable {
    /// The table for `policy`: a name in the table keeps its id, a new one gets the lowest that was
    /// never used, in name order; retired ids are used again only when no other is left.
    pub fn assign(&self, policy: &Policy) -> Result<Self, CapacityError> {
        self.assign_up_to(LAST_ID, policy)
    }

    fn assign_up_to(&self, last: u32, policy: &Policy) -> Result<Self, CapacityError> {
        let networks = policy.networks.len();
        if networks > last as usize {
            return Err(CapacityError { networks, capacity: last });
        }
        let mut next = self.clone();
        for record in next.records.values_mut() {
            record.live = policy.networks.contains_key(&record.name);
        }
        let unused = (1..=last).filter(|id| !self.records.contains_key(id));
        let retired = next.records.values().filter(|record| !record.live).map(|record| record.id);
        let new = policy.networks.keys().filter(|name| !self.ids.contains_key(*name));
        let assigned: Vec<_> = new.cloned().zip(unused.chain(retired)).collect();
        for (name, id) in assigned {
            next.ids.insert(name.clone(), id);
            if let Some(forgotten) = next.records.insert(id, Record { id, name, live: true }) {
                next.ids.remove(&forgotten.name);
            }
        }
        Ok(next)
    }

    /// The id of a network, live or retired.
    pub fn id(&self, name: &Name) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// The network that has an id, or had it last.
    pub fn name(&self, id: u32) -> Option<&Name> {
        self.records.get(&id).map(|record| &record.name)
    }

    /// Whether the network with that id is in the policy that was assigned last.
    pub fn is_live(&self, id: u32) -> bool {
        self.records.get(&id).is_some_and(|record| record.live)
    }
}

impl From<IdTable> for Vec<Record> {
    fn from(table: IdTable) -> Self {
        table.records.into_values().collect()
    }
}

impl TryFrom<Vec<Record>> for IdTable {
    type Error = IdTableError;

    fn try_from(records: Vec<Record>) -> Result<Self, IdTableError> {
        let mut table = Self::default();
        for record in records {
            let (id, name) = (record.id, record.name.clone());
            if id == 0 || id > LAST_ID {
                return Err(IdTableError::OutOfRange { id, name });
            }
            let other_id = table.ids.insert(name.clone(), id);
            let other_name = table.records.insert(id, record);
            if other_id.is_some() || other_name.is_some() {
                return Err(IdTableError::Twice { id, name });
            }
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::policy::AddressSet;

    fn policy(names: &str) -> Policy {
        let network = AddressSet::new(["10.0.0.0/8".parse().unwrap()].into(), [].into()).unwrap();
        Policy {
            networks: names.split_whitespace().map(|name| (name.parse().unwrap(), network.clone())).collect(),
            ..Policy::default()
        }
    }

    fn steps(last: u32, policies: &[&str]) -> IdTable {
        policies
            .iter()
            .fold(IdTable::default(), |table, names| table.assign_up_to(last, &policy(names)).unwrap())
    }

    /// `1:a 2:-b`: network a has id 1, retired b has id 2.
    fn text(table: &IdTable) -> String {
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
        assert_eq!(table.assign(&policy("b")).unwrap(), table);
    }

    #[test]
    fn more_networks_than_ids_are_refused_with_the_numbers() {
        let error = IdTable::default().assign_up_to(2, &policy("a b c")).unwrap_err();
        assert_eq!(error.to_string(), "policy has 3 networks, there are ids for 2");
    }

    #[test]
    fn the_table_round_trips() {
        let table = steps(4, &["a b", "b"]);
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(json, r#"[{"id":1,"name":"a","live":false},{"id":2,"name":"b","live":true}]"#);
        assert_eq!(serde_json::from_str::<IdTable>(&json).unwrap(), table);
    }

    #[rstest]
    #[case::zero(r#"[{"id":0,"name":"a","live":true}]"#)]
    #[case::beyond(r#"[{"id":65536,"name":"a","live":true}]"#)]
    #[case::id_twice(r#"[{"id":1,"name":"a","live":true},{"id":1,"name":"b","live":true}]"#)]
    #[case::name_twice(r#"[{"id":1,"name":"a","live":true},{"id":2,"name":"a","live":true}]"#)]
    fn a_table_that_contradicts_itself_is_refused(#[case] json: &str) {
        assert!(serde_json::from_str::<IdTable>(json).is_err());
    }
}
