//! Who is a member by what is known of its container.

use std::collections::BTreeSet;

use enforcer_common::endpoint::EndpointId;

use super::super::{
    host::{Interface, LABELS},
    machine::Machine,
    pool::{POOL, Passes, by_digest, labels, resolved},
};
use crate::daemon::op::Owned;

/// Nobody is let through by what was never known of the workload that has the address.
pub fn always(machine: &Machine) -> Option<String> {
    let anything = || LABELS.iter().map(|label| (*label).to_owned()).collect();
    let once = |address| match owner(machine, address) {
        // Nobody speaks as it.
        None => anything(),
        Some(Owner::Host) => BTreeSet::new(),
        Some(Owner::Workload(interface)) => interface.once.clone(),
    };
    let (policy, number, passes) = deciding(machine)?;
    let surplus = passes.beyond(resolved(policy, &labels(once)))?;
    Some(format!("generation {number} (policy {policy}) passes {surplus} by what is known of somebody else"))
}

/// All is let through that is known of the workloads, and nothing else.
pub fn at_rest(machine: &Machine) -> Option<String> {
    let now = |address| match owner(machine, address) {
        Some(Owner::Workload(interface)) => interface.labels.clone(),
        _ => BTreeSet::new(),
    };
    let (policy, number, passes) = deciding(machine)?;
    let expected = resolved(policy, &labels(now));
    let surplus = passes.beyond(expected).map(|surplus| format!("{surplus} passes, and should not"));
    let missing = || expected.beyond(passes).map(|missing| format!("{missing} does not pass, and should"));
    surplus.or_else(missing).map(|what| format!("generation {number} (policy {policy}): {what}"))
}

fn deciding(machine: &Machine) -> Option<(usize, u64, Passes)> {
    let record = machine.deciding()?;
    let policy = by_digest(&record.digest).filter(|policy| POOL[*policy].policy.has_members())?;
    Some((policy, record.number, machine.banks[record.bank as usize]?))
}

enum Owner<'m> {
    Host,
    Workload(&'m Interface),
}

fn owner(machine: &Machine, address: Owned) -> Option<Owner<'_>> {
    let owner = super::owner(machine, &address)?;
    if owner.endpoint == EndpointId::HOST {
        return Some(Owner::Host);
    }
    let link = machine.links.get(&owner.ifindex)?;
    let is_there = machine.is_alive(owner.ifindex, link)
        && machine.endpoints.get(&owner.ifindex).is_some_and(|record| record.id == owner.endpoint);
    is_there.then(|| Owner::Workload(&machine.host.interfaces[&owner.ifindex]))
}
