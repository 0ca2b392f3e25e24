//! Queueing disciplines, and programs of others on the interfaces of workloads.

use std::{collections::BTreeMap, io};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Barrier, Kinds};
use crate::{
    datapath::{
        attach::{FILTER_MINOR, Mechanism, UPLINK_FILTER_MINOR},
        bpf::{self, TcxHook},
    },
    netlink::{self, Scope, attributes, word},
};

/// `RTM_NEWQDISC`, `RTM_GETQDISC`, `RTM_NEWTFILTER`, `RTM_GETTFILTER`.
const NEW_QUEUE: u16 = 36;
const GET_QUEUE: u16 = 38;
const NEW_FILTER: u16 = 44;
const GET_FILTER: u16 = 46;

/// `struct tcmsg`: where the interface and the handle are in it.
const MESSAGE: usize = 20;
const INTERFACE: usize = 4;
const HANDLE: usize = 8;
const PARENT: usize = 12;

/// `TCA_KIND`
const KIND: u16 = 1;

/// The two hooks of a clsact qdisc, first that of what comes in, as parents of filters: `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_…)`.
const HOOKS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

/// An interface that packets come past, or would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wayside {
    /// Programs of ours on each hook, or at an interface that leads outside on the one where packets come in.
    pub ours: usize,
    /// It leads outside: what goes out there meets its queue and what else is there all the same.
    pub is_outside: bool,
}

/// What is on the way at each of these interfaces.
pub fn barriers(
    interfaces: &BTreeMap<u32, Wayside>,
    mechanism: Mechanism,
) -> io::Result<BTreeMap<u32, Vec<Barrier>>> {
    let queues = queues()?;
    let all = interfaces.iter().map(|(&ifindex, &wayside)| {
        let kinds = queues.get(&ifindex).map_or(&[][..], Vec::as_slice);
        let mut barriers: Vec<Barrier> =
            kinds.iter().filter_map(|kind| queue(kind, wayside, mechanism)).collect();
        match others(ifindex, wayside, mechanism) {
            Ok(false) => {}
            Ok(true) => barriers.push(Barrier::new(Kinds::ALL, "programs of others on its interface")),
            Err(error) => barriers.push(Barrier::unseen("its interface", &error)),
        }
        (ifindex, barriers)
    });
    Ok(all.collect())
}

/// Kinds of queueing disciplines by interface. An interface without any of its own is not told of.
fn queues() -> io::Result<BTreeMap<u32, Vec<String>>> {
    let mut queues: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    netlink::ask(NETLINK_ROUTE, GET_QUEUE, Scope::All, &[0; MESSAGE], |kind, payload| {
        if kind == NEW_QUEUE
            && let Some(ifindex) = read(payload, INTERFACE)
        {
            let mut attributes = attributes(payload.get(MESSAGE..).unwrap_or_default());
            let name = attributes.find(|(kind, _)| *kind == KIND).map(|(_, name)| word(name));
            queues.entry(ifindex).or_default().extend(name);
        }
    })?;
    Ok(queues)
}

fn queue(kind: &str, Wayside { ours, is_outside }: Wayside, mechanism: Mechanism) -> Option<Barrier> {
    match (kind, mechanism, ours) {
        // What hangs on ours is asked for.
        ("noqueue", ..) | ("clsact", Mechanism::Clsact, 1) => None,
        ("clsact" | "ingress", ..) => {
            Some(Barrier::new(Kinds::ALL, format!("filters of others ({kind}) on its interface")))
        }
        _ if is_outside => None,
        _ => Some(Barrier::new(Kinds::ALL, format!("the queue of its interface ({kind})"))),
    }
}

/// Whether programs of others run at an interface of ours.
fn others(ifindex: u32, wayside: Wayside, mechanism: Mechanism) -> io::Result<bool> {
    if mechanism == Mechanism::Clsact {
        return Ok(
            filters(ifindex, wayside)? > 0 || tcx(ifindex, Wayside { ours: 0, ..wayside }).unwrap_or(false)
        );
    }
    tcx(ifindex, wayside)
}

/// Whether more programs than ours are on a hook that is passed by. Kernels without tcx have none there.
fn tcx(ifindex: u32, Wayside { ours, is_outside }: Wayside) -> io::Result<bool> {
    let count = |hook| bpf::tcx_programs(ifindex, hook).map(|programs| programs.len());
    Ok(count(TcxHook::Ingress)? > ours || (!is_outside && count(TcxHook::Egress)? > ours))
}

/// Filters that are not ours, on hooks that are passed by.
fn filters(ifindex: u32, Wayside { is_outside, .. }: Wayside) -> io::Result<usize> {
    let mut found = 0;
    let ours = if is_outside { UPLINK_FILTER_MINOR } else { FILTER_MINOR };
    for hook in HOOKS.into_iter().take(if is_outside { 1 } else { HOOKS.len() }) {
        let mut question = [0; MESSAGE];
        question[INTERFACE..INTERFACE + 4].copy_from_slice(&ifindex.to_ne_bytes());
        question[PARENT..PARENT + 4].copy_from_slice(&hook.to_ne_bytes());
        netlink::ask(NETLINK_ROUTE, GET_FILTER, Scope::All, &question, |kind, payload| {
            let handle = read(payload, HANDLE).unwrap_or(0);
            // A kind of filters is told of once by itself, without a handle.
            found += usize::from(kind == NEW_FILTER && handle != 0 && handle as u16 != ours);
        })?;
    }
    Ok(found)
}

fn read(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_nothing_is_no_barrier() {
        let veth = Wayside { ours: 1, is_outside: false };
        assert_eq!(queue("noqueue", veth, Mechanism::Tcx), None);
        assert_eq!(queue("clsact", veth, Mechanism::Clsact), None);
        for (kind, mechanism) in
            [("clsact", Mechanism::Tcx), ("ingress", Mechanism::Clsact), ("tbf", Mechanism::Tcx)]
        {
            assert_eq!(queue(kind, veth, mechanism).unwrap().blocks, Kinds::ALL, "{kind}");
        }
        let uplink = Wayside { is_outside: true, ..veth };
        assert_eq!(queue("fq_codel", uplink, Mechanism::Tcx), None, "it is passed all the same");
        assert!(queue("ingress", uplink, Mechanism::Tcx).is_some());
    }
}
