//! Which endpoints may be reached by a shortcut, and from whom: a part of the pure step.
//!
//! What nobody has looked at yet, or nobody looks at any more, is no shortcut: the daemon gives the datapath a lease,
//! and renews it with every look around.

use std::collections::BTreeMap;

use enforcer_common::shortcut::Shortcut;

use super::{
    event::Wire,
    op::Op,
    step::{EndpointState, State},
};
use crate::{
    config::Fastpath,
    report::{Barred, FastpathReport},
    shortcut::{Barrier, Kinds, Surroundings, open},
};

/// What is known of shortcuts, and what the kernel was told.
#[derive(Clone, Debug, Default)]
pub struct Shortcuts {
    /// As they were last looked at.
    surroundings: Option<Surroundings>,
    /// What a look at the host's interfaces has shown to be in everybody's way.
    routing: Vec<Barrier>,
    told: BTreeMap<u32, Shortcut>,
    leased: Kinds,
}

impl Shortcuts {
    /// What the kernel was told may have been lost.
    pub(super) fn tell_again(&mut self) {
        self.told.clear();
    }

    /// What a look at the host's interfaces shows.
    pub(super) fn routed(&mut self, barriers: &[Barrier]) {
        self.routing = barriers.to_vec();
    }
}

impl State {
    /// Somebody has looked around. The lease is renewed, whatever was seen.
    pub(super) fn looked_around(&mut self, surroundings: Surroundings) -> Vec<Op> {
        self.shortcuts.surroundings = Some(surroundings);
        self.shortcuts.leased = self.leasable();
        vec![Op::Lease(self.shortcuts.leased)]
    }

    /// Tells the kernel what follows for shortcuts from what the step did. What may not be taken any more goes before
    /// anything else, what may be comes when all else is in its place.
    pub(super) fn follow_shortcuts(&mut self, ops: &mut Vec<Op>) {
        let lease = self.leasable();
        let is_less = lease.and(self.shortcuts.leased) != lease;
        let wanted: BTreeMap<u32, Shortcut> = self.shortcuts_wanted().collect();
        let told = &self.shortcuts.told;
        let is_gone = |id: &u32| told.contains_key(id) && wanted.get(id) != told.get(id);
        let gone = told.keys().filter(|id| is_gone(id));
        let gone = gone.map(|id| Op::WriteShortcut { id: *id, shortcut: Shortcut::default() });
        let mut all: Vec<Op> = if is_less { vec![Op::Lease(lease)] } else { Vec::new() };
        all.extend(gone);
        all.append(ops);
        let new = wanted.iter().filter(|(id, shortcut)| told.get(id) != Some(*shortcut));
        all.extend(new.map(|(id, shortcut)| Op::WriteShortcut { id: *id, shortcut: *shortcut }));
        if is_less {
            self.shortcuts.leased = lease;
        }
        self.shortcuts.told = wanted;
        *ops = all;
    }

    /// What stands in everybody's way.
    pub fn barriers(&self) -> Vec<Barrier> {
        let Shortcuts { surroundings, routing, .. } = &self.shortcuts;
        let seen = surroundings.iter().flat_map(|around| &around.host);
        let mut barriers: Vec<Barrier> = seen.chain(routing).cloned().collect();
        if self.config.datapath.fastpath == Fastpath::Off {
            barriers.push(Barrier::new(Kinds::ALL, "the host file: datapath.fastpath = \"off\""));
        }
        if surroundings.is_none() {
            barriers.push(Barrier::new(Kinds::ALL, "nobody has looked around yet"));
        }
        barriers
    }

    /// What stands in the way of one endpoint.
    pub fn barriers_at(&self, ifindex: u32, endpoint: &EndpointState) -> Vec<Barrier> {
        let mut barriers = endpoint.wire.barriers.clone();
        let seen = self.shortcuts.surroundings.as_ref().and_then(|around| around.interfaces.get(&ifindex));
        match seen {
            Some(seen) => barriers.extend_from_slice(seen),
            None => barriers.push(Barrier::new(Kinds::ALL, "nobody has looked at its interface yet")),
        }
        if !endpoint.attached || endpoint.owned.is_empty() {
            barriers.push(Barrier::new(Kinds::ALL, "it is not ready"));
        }
        barriers
    }

    /// For people, and for scripts.
    pub fn fastpath(&self) -> FastpathReport {
        let endpoints = self.endpoints.iter().filter(|(_, endpoint)| !endpoint.owned.is_empty());
        let barriers = endpoints.map(|(ifindex, endpoint)| Barred {
            endpoint: endpoint.name.clone(),
            barriers: self.barriers_at(*ifindex, endpoint),
        });
        let (free, barred): (Vec<_>, Vec<_>) = barriers.partition(|barred| barred.barriers.is_empty());
        FastpathReport {
            kinds: self.leasable(),
            barriers: self.barriers(),
            endpoints: free.len() as u32,
            barred,
        }
    }

    fn leasable(&self) -> Kinds {
        open(&self.barriers())
    }

    fn shortcuts_wanted(&self) -> impl Iterator<Item = (u32, Shortcut)> {
        self.endpoints.iter().filter_map(|(ifindex, endpoint)| {
            let Wire { mtu, bridge, gateway, mac, .. } = endpoint.wire;
            let kinds = open(&self.barriers_at(*ifindex, endpoint));
            let shortcut = Shortcut {
                ifindex: *ifindex,
                flags: kinds.0,
                bridge,
                mtu,
                mac: mac?,
                gateway: gateway?,
                ..Shortcut::default()
            };
            (kinds != Kinds::NONE).then_some((endpoint.id.0, shortcut))
        })
    }
}
