//! Where the early guard should run, and where it does: a part of the pure step.
//!
//! The guard drops everything at an interface of which there is no record. So an uplink's record comes
//! before its guard and goes after it; a veth is guarded only while its endpoint is registered.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::endpoint::{Endpoint, EndpointId};

use super::{op::Op, step::padded_name};

/// What the guard of an interface judges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// What the endpoint behind the veth sends.
    Endpoint,
    /// What comes from outside.
    Uplink,
}

/// One guarded interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// What is judged there.
    pub role: Role,
    /// The program is on it.
    pub attached: bool,
    /// Why it was not, when it was last refused.
    pub refused: Option<String>,
}

/// Guarded interfaces, by index.
pub type Wanted<'a> = BTreeMap<u32, (Role, &'a str)>;

/// All guards of the host.
#[derive(Clone, Debug, Default)]
pub struct Guards(BTreeMap<u32, Guard>);

impl Guards {
    /// None.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes over a guard of an earlier daemon; it is put on again, so that it runs this program.
    pub fn adopt(&mut self, ifindex: u32, role: Role) {
        self.0.insert(ifindex, Guard { name: String::new(), role, attached: false, refused: None });
    }

    /// Whether one is to run on the interface.
    pub fn contains(&self, ifindex: u32) -> bool {
        self.0.contains_key(&ifindex)
    }

    /// What should run but does not, or lacks its record, and how to bring it back.
    pub fn missing(
        &self,
        running: &BTreeSet<u32>,
        uplinks: &BTreeSet<u32>,
    ) -> impl Iterator<Item = (u32, Op)> {
        let is_whole = |ifindex: &u32, guard: &Guard| {
            running.contains(ifindex) && (guard.role == Role::Endpoint || uplinks.contains(ifindex))
        };
        let missing =
            self.0.iter().filter(move |(ifindex, guard)| guard.attached && !is_whole(ifindex, guard));
        missing.map(|(ifindex, guard)| {
            (*ifindex, Op::Guard { ifindex: *ifindex, name: guard.name.clone(), uplink: record(guard) })
        })
    }

    /// Takes the guard off where nobody wants it any more, or not for the same.
    pub fn released(&mut self, wanted: &Wanted<'_>) -> Vec<Op> {
        let is_wanted =
            |ifindex: &u32, guard: &Guard| wanted.get(ifindex).is_some_and(|(role, _)| *role == guard.role);
        let unwanted = self.0.extract_if(.., |ifindex, guard| !is_wanted(ifindex, guard));
        unwanted.map(|(ifindex, guard)| unguard(ifindex, &guard)).collect()
    }

    /// Puts the guard on where it is wanted and does not run.
    pub fn settled(&mut self, wanted: &Wanted<'_>) -> Vec<Op> {
        let mut ops = Vec::new();
        for (ifindex, (role, name)) in wanted {
            let guard = self.0.entry(*ifindex).or_insert_with(|| Guard {
                name: String::new(),
                role: *role,
                attached: false,
                refused: None,
            });
            let renamed = guard.name != *name;
            (*name).clone_into(&mut guard.name);
            if renamed || !guard.attached {
                guard.attached = true;
                ops.push(Op::Guard { ifindex: *ifindex, name: guard.name.clone(), uplink: record(guard) });
            }
        }
        ops
    }

    /// The interface is gone.
    pub fn forget(&mut self, ifindex: u32) -> Option<Op> {
        self.0.remove(&ifindex).map(|guard| unguard(ifindex, &guard))
    }

    /// It could not be put on; tried again with the next look.
    pub fn refused(&mut self, ifindex: u32, reason: String) {
        if let Some(guard) = self.0.get_mut(&ifindex) {
            guard.attached = false;
            guard.refused = Some(reason);
        }
    }

    /// The name of a guarded interface.
    pub fn name(&self, ifindex: u32) -> Option<&str> {
        self.0.get(&ifindex).map(|guard| guard.name.as_str())
    }

    /// Why it was not put on when it was last refused.
    pub fn refusal(&self, ifindex: u32) -> Option<&str> {
        self.0.get(&ifindex)?.refused.as_deref()
    }

    /// Those that do not run, and why.
    pub fn failing(&self) -> impl Iterator<Item = (&str, &str)> {
        let failing = self.0.values().filter(|guard| !guard.attached);
        failing.filter_map(|guard| Some((&*guard.name, guard.refused.as_deref()?)))
    }
}

/// The record of an uplink.
fn record(guard: &Guard) -> Option<Endpoint> {
    let uplink = Endpoint {
        id: EndpointId::REMOTE,
        flags: Endpoint::UPLINK,
        name: padded_name(&guard.name),
        ..Endpoint::default()
    };
    (guard.role == Role::Uplink).then_some(uplink)
}

fn unguard(ifindex: u32, guard: &Guard) -> Op {
    Op::Unguard { ifindex, uplink: guard.role == Role::Uplink }
}
