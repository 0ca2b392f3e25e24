//! Where the uplink's program should run, and where it does: a part of the pure step.
//!
//! What comes from outside is judged by the interface's record, so that comes before the program and goes
//! after it. The early guard may need the same record: it goes with whoever needs it last.

use std::collections::BTreeMap;

use enforcer_common::endpoint::{Endpoint, EndpointId};

use super::{event::Facts, op::Op, step::padded_name};
use crate::config::Trust;

/// One interface that leads outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// What the kernel was told of it.
    pub record: Endpoint,
    /// The program is on it.
    pub attached: bool,
    /// Why it was not, when it was last refused.
    pub refused: Option<String>,
}

/// Interfaces that lead outside, by index.
pub type Wanted<'a> = BTreeMap<u32, (&'a str, Trust)>;

/// All uplinks of the host.
#[derive(Clone, Debug, Default)]
pub struct Uplinks(BTreeMap<u32, Uplink>);

impl Uplinks {
    /// None.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes over the program of an earlier daemon; it is put on again, so that it is this one's.
    pub fn adopt(&mut self, ifindex: u32, record: Endpoint) {
        let uplink = Uplink { name: String::new(), record, attached: false, refused: None };
        self.0.insert(ifindex, uplink);
    }

    /// Whether the program is to run on the interface.
    pub fn contains(&self, ifindex: u32) -> bool {
        self.0.contains_key(&ifindex)
    }

    /// Takes the program off where nobody wants it any more. `guarded`: whether the guard needs the record.
    pub fn released(&mut self, wanted: &Wanted<'_>, guarded: impl Fn(u32) -> bool) -> Vec<Op> {
        let unwanted = self.0.extract_if(.., |ifindex, _| !wanted.contains_key(ifindex));
        unwanted.map(|(ifindex, uplink)| detach(ifindex, uplink, guarded(ifindex))).collect()
    }

    /// Puts the program on where it is wanted and does not run, and tells what changed of the others.
    pub fn settled(&mut self, wanted: &Wanted<'_>) -> Vec<Op> {
        let mut ops = Vec::new();
        for (&ifindex, &(name, trust)) in wanted {
            let record = record(name, trust);
            let uplink = self.0.entry(ifindex).or_insert_with(|| Uplink {
                name: String::new(),
                record,
                attached: false,
                refused: None,
            });
            let is_other = uplink.name != name || !uplink.attached;
            let is_told = uplink.record == record;
            name.clone_into(&mut uplink.name);
            uplink.record = record;
            if is_other {
                uplink.attached = true;
                ops.push(Op::AttachUplink { ifindex, name: name.to_owned(), record });
            } else if !is_told {
                ops.push(Op::WriteEndpoint { ifindex, endpoint: record });
            }
        }
        ops
    }

    /// The interface is gone; the guard's record goes with it.
    pub fn forget(&mut self, ifindex: u32) -> Option<Op> {
        self.0.remove(&ifindex).map(|uplink| detach(ifindex, uplink, false))
    }

    /// It could not be attached; tried again with the next look.
    pub fn refused(&mut self, ifindex: u32, reason: String) {
        if let Some(uplink) = self.0.get_mut(&ifindex) {
            uplink.attached = false;
            uplink.refused = Some(reason);
        }
    }

    /// The name of an uplink.
    pub fn name(&self, ifindex: u32) -> Option<&str> {
        self.0.get(&ifindex).map(|uplink| uplink.name.as_str())
    }

    /// What the kernel was told of an uplink.
    pub fn record_of(&self, ifindex: u32) -> Option<&Endpoint> {
        self.0.get(&ifindex).map(|uplink| &uplink.record)
    }

    /// Why it was not attached to when it was last refused.
    pub fn refusal(&self, ifindex: u32) -> Option<&str> {
        self.0.get(&ifindex)?.refused.as_deref()
    }

    /// Those at which the program runs, by index, with their names.
    pub fn attached(&self) -> impl Iterator<Item = (u32, &str)> {
        let attached = self.0.iter().filter(|(_, uplink)| uplink.attached);
        attached.map(|(ifindex, uplink)| (*ifindex, uplink.name.as_str()))
    }

    /// Those at which the program does not run, and why.
    pub fn failing(&self) -> impl Iterator<Item = (&str, &str)> {
        let failing = self.0.values().filter(|uplink| !uplink.attached);
        failing.filter_map(|uplink| Some((&*uplink.name, uplink.refused.as_deref()?)))
    }

    /// What should run but does not, or lacks its record, and how to bring it back.
    pub fn missing(&self, facts: &Facts) -> impl Iterator<Item = (u32, Op)> {
        let is_whole = |ifindex: &u32, uplink: &Uplink| {
            facts.uplinks_attached.contains(ifindex) && facts.uplinks.get(ifindex) == Some(&uplink.record)
        };
        let missing =
            self.0.iter().filter(move |(ifindex, uplink)| uplink.attached && !is_whole(ifindex, uplink));
        missing.map(|(&ifindex, uplink)| {
            (ifindex, Op::AttachUplink { ifindex, name: uplink.name.clone(), record: uplink.record })
        })
    }
}

/// The record of an uplink.
pub fn record(name: &str, trust: Trust) -> Endpoint {
    let external = if trust == Trust::External { Endpoint::EXTERNAL } else { 0 };
    Endpoint {
        id: EndpointId::REMOTE,
        flags: Endpoint::UPLINK | external,
        name: padded_name(name),
        ..Endpoint::default()
    }
}

fn detach(ifindex: u32, uplink: Uplink, guarded: bool) -> Op {
    Op::DetachUplink { ifindex, name: uplink.name, record: !guarded }
}
