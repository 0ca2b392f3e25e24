//! The host as an end: what workloads may ask of it, and what stays open from outside.

use enforcer_common::{
    host::{self, HostEnd},
    policy::Point,
};

use crate::{
    journey::{Journey, question},
    maps,
};

/// Whether the host's allow list admits the packet that a [`question`] is about.
#[inline(always)]
pub fn allows(question: u32) -> bool {
    host_lists(question, 0) != 0
}

/// Whether it is for a service that stays open, whoever asks.
#[inline(always)]
pub fn stays_open(question: u32) -> bool {
    host_lists(question, 1) != 0
}

/// Whether the host may open to workloads only what a rule allows.
#[inline(always)]
pub fn asks_by_rules() -> bool {
    maps::HOST.get(0).is_some_and(|end| end.flags & HostEnd::ASKS_BY_RULES != 0)
}

/// A station of its own, verified once for all who ask: whether one of the two lists holds the packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn host_lists(question: u32, failsafe: u32) -> u32 {
    let (Some(journey), Some(end)) = (Journey::current(), maps::HOST.get(0)) else { return 0 };
    let key = journey.key(question & question::ANSWERED_BY_QUOTE);
    let list = if failsafe & 1 != 0 { &end.failsafe } else { &end.allow };
    u32::from(key.has_ports() && host::lists(list, Point::of(&key)))
}
