//! Who initiated, for the conversations that the host opens with a workload.

use enforcer_common::{
    flow::{FlowKey, icmp, protocol},
    host,
    state::StateEntry,
};

use crate::{maps, packet};

/// Remembers that the host spoke, so that the workload may answer.
#[inline(always)]
pub fn open(key: &FlowKey) {
    if !opens_conversation(key) {
        return;
    }
    let now = packet::now();
    match maps::STATE.get_ptr_mut(key) {
        // SAFETY: the kernel keeps the entry readable until this program ends.
        Some(entry) => unsafe { (*entry).last_seen = now },
        // Least recently used entries make room, so this fails only for want of memory; then the
        // answers stay closed.
        None => drop(maps::STATE.insert(key, StateEntry { last_seen: now, ..StateEntry::default() }, 0)),
    }
}

/// Whether `key` answers a conversation that the host opened and that is not over.
#[inline(always)]
pub fn answers(key: &FlowKey) -> bool {
    let now = packet::now();
    match maps::STATE.get_ptr_mut(key.reversed()) {
        // SAFETY: see `open`.
        Some(entry) => unsafe {
            let open = (*entry).is_open(now);
            if open {
                (*entry).last_seen = now;
            }
            open
        },
        None => false,
    }
}

/// Answers to what a workload may ask need no entry, nor do ICMP errors.
#[inline(always)]
fn opens_conversation(key: &FlowKey) -> bool {
    let speaks = match key.protocol {
        protocol::ICMP => key.icmp_type == icmp::ECHO,
        protocol::ICMPV6 => key.icmp_type == icmp::V6_ECHO,
        _ => true,
    };
    speaks && !host::allows(&key.reversed())
}
