//! Where the early guard should run, and where it does: a part of the pure step.
//!
//! The guard drops everything at an interface of which there is no record. So an uplink's record comes
//! before its guard and goes after it; a veth is guarded only while its endpoint is registered.

use std::collections::BTreeMap;

use enforcer_common::endpoint::Endpoint;

use super::{event::Facts, op::Op};

/// One guarded interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// Its record, if it is an uplink; else the endpoint behind the veth is judged by its own.
    pub uplink: Option<Endpoint>,
    /// The program is on it.
    pub attached: bool,
    /// Why it was not, when it was last refused.
    pub refused: Option<String>,
}

/// Interfaces to be guarded, by index: an uplink's record, and the name.
pub type Wanted<'a> = BTreeMap<u32, (Option<Endpoint>, &'a str)>;

/// All guards of the host.
#[derive(Clone, Debug, Default)]
pub struct Guards(BTreeMap<u32, Guard>);

impl Guards {
    /// None.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes over a guard of an earlier daemon; it is put on again, so that it runs this program.
    pub fn adopt(&mut self, ifindex: u32, uplink: Option<Endpoint>) {
        self.0.insert(ifindex, Guard { name: String::new(), uplink, attached: false, refused: None });
    }

    /// Whether one is to run on the interface.
    pub fn contains(&self, ifindex: u32) -> bool {
        self.0.contains_key(&ifindex)
    }

    /// What should run but does not, or lacks its record, and how to bring it back.
    pub fn missing(&self, facts: &Facts) -> impl Iterator<Item = (u32, Op)> {
        let is_whole = |ifindex: &u32, guard: &Guard| {
            let record = facts.uplinks.get(ifindex);
            facts.guards.contains(ifindex) && (guard.uplink.is_none() || guard.uplink.as_ref() == record)
        };
        let missing =
            self.0.iter().filter(move |(ifindex, guard)| guard.attached && !is_whole(ifindex, guard));
        missing.map(|(ifindex, guard)| (*ifindex, put_on(*ifindex, guard)))
    }

    /// Takes the guard off where nobody wants it any more, or not for the same. `is_uplink`: whether the
    /// uplink's own program needs the record.
    pub fn released(&mut self, wanted: &Wanted<'_>, is_uplink: impl Fn(u32) -> bool) -> Vec<Op> {
        let is_wanted = |ifindex: &u32, guard: &Guard| {
            wanted.get(ifindex).is_some_and(|(uplink, _)| uplink.is_some() == guard.uplink.is_some())
        };
        let unwanted = self.0.extract_if(.., |ifindex, guard| !is_wanted(ifindex, guard));
        unwanted.map(|(ifindex, guard)| unguard(ifindex, &guard, is_uplink(ifindex))).collect()
    }

    /// Puts the guard on where it is wanted and does not run.
    pub fn settled(&mut self, wanted: &Wanted<'_>) -> Vec<Op> {
        let mut ops = Vec::new();
        for (ifindex, (uplink, name)) in wanted {
            let guard = self.0.entry(*ifindex).or_insert_with(|| Guard {
                name: String::new(),
                uplink: *uplink,
                attached: false,
                refused: None,
            });
            let changed = guard.name != *name || guard.uplink != *uplink;
            (*name).clone_into(&mut guard.name);
            guard.uplink = *uplink;
            if changed || !guard.attached {
                guard.attached = true;
                ops.push(put_on(*ifindex, guard));
            }
        }
        ops
    }

    /// The interface is gone. `is_uplink`: whether the uplink's own program needs the record.
    pub fn forget(&mut self, ifindex: u32, is_uplink: bool) -> Option<Op> {
        self.0.remove(&ifindex).map(|guard| unguard(ifindex, &guard, is_uplink))
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

fn put_on(ifindex: u32, guard: &Guard) -> Op {
    Op::Guard { ifindex, name: guard.name.clone(), uplink: guard.uplink }
}

const fn unguard(ifindex: u32, guard: &Guard, is_uplink: bool) -> Op {
    Op::Unguard { ifindex, uplink: guard.uplink.is_some() && !is_uplink }
}
