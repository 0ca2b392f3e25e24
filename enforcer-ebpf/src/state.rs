//! Who initiated: conversations that a rule or the host opened, and whether a packet answers one.
//!
//! The table is an array of sets, [`enforcer_common::state`]. Entries are written without a lock; a reader
//! trusts one only while its check belongs to the key that it looks for.

use core::ptr;

use enforcer_common::{
    endpoint::EndpointId,
    flow::{FlowKey, icmp, protocol, tcp},
    state::{self, StateEntry, StateSet, WAYS},
};

use crate::{
    config,
    journey::{Journey, question},
    maps, packet,
    parse::{Packet, Place},
};

/// Remembers that the packet's source spoke, so that the destination may answer. `outside` says that the
/// endpoint at this hook is the one spoken to.
#[inline(always)]
pub fn open(journey: &Journey, outside: bool) {
    if !journey.looks_only && opens(&journey.packet.key) {
        let payer = state::payer(journey.endpoint.0, outside);
        state_open(payer, 0);
    }
}

/// The same for an endpoint that NAT has given the host's address.
#[inline(always)]
pub fn open_masked(journey: &Journey, sender: EndpointId) {
    if !journey.looks_only && opens(&journey.packet.key) {
        state_open(state::payer(sender.0, false), u32::from(StateEntry::MASKED));
    }
}

/// The same for the host, whose conversations are its own.
#[inline(always)]
pub fn open_for_host(journey: &Journey) {
    if !journey.looks_only && opens(&journey.packet.key) {
        state_open(EndpointId::HOST.0, 0);
    }
}

/// Whether the packet answers a conversation that is open.
#[inline(always)]
pub fn answers(journey: &Journey) -> bool {
    can_answer(&journey.packet) && state_answer(question::ANSWERED) != 0
}

/// The same, of a conversation that not the host itself opened, but somebody whom NAT gives its address.
#[inline(always)]
pub fn answers_another(journey: &Journey) -> bool {
    can_answer(&journey.packet) && state_answer(question::ANSWERED | NOT_OF_HOST) != 0
}

/// With a question: what the host pays for does not count.
const NOT_OF_HOST: u32 = 4;

/// Whether it can answer any.
#[inline(always)]
fn can_answer(packet: &Packet) -> bool {
    let later = packet.fragment.place.get() == Place::Later;
    (later || state::can_answer(packet.key.protocol, packet.tcp_flags)) && speaks_back(&packet.key)
}

/// Whether a packet says of its conversation only that it goes on. A fragment of TCP behind the first does not even say
/// that: it takes no reset back.
#[inline(always)]
pub fn only_goes_on(packet: &Packet) -> bool {
    const TELLING: u8 = tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK;
    packet.key.protocol != protocol::TCP || packet.tcp_flags & TELLING == tcp::ACK
}

/// How many turns connections with these ports took, in either direction; 0 for other protocols.
#[inline(always)]
pub fn turns(key: &FlowKey) -> u16 {
    if key.protocol != protocol::TCP {
        return 0;
    }
    // SAFETY: an array entry lives as long as the program.
    maps::TURNS.get_ptr(turn_slot(key)).map_or(0, |count| unsafe { ptr::read_volatile(count) as u16 })
}

/// Counts a packet behind which either side has to look at the conversation: a reset, and a SYN in an answered one. Behind
/// what it does there: who sees the count finds that done.
#[inline(always)]
fn note_turn(packet: &Packet, begins_anew: bool) {
    if packet.tcp_flags & tcp::RST == 0 && !begins_anew {
        return;
    }
    if let Some(count) = maps::TURNS.get_ptr_mut(turn_slot(&packet.key)) {
        // SAFETY: see `turns`.
        unsafe { maps::atomic_add(count, 1) }
    }
}

/// Cheap, and the same for both directions. Who chooses ports to meet somebody else's costs him a look.
#[inline(always)]
const fn turn_slot(key: &FlowKey) -> u32 {
    (key.src_port ^ key.dst_port) as u32 & (maps::TURN_SLOTS - 1)
}

/// Whether the conversation that a [`question`] is about is open.
#[inline(always)]
pub fn knows(question: u32) -> bool {
    state_find(question) != 0
}

/// What may begin something: of ICMP only a request that has a reply.
#[inline(always)]
const fn opens(key: &FlowKey) -> bool {
    key.has_ports()
        && match key.protocol {
            protocol::ICMP => key.icmp_type == icmp::ECHO,
            protocol::ICMPV6 => key.icmp_type == icmp::V6_ECHO,
            _ => true,
        }
}

/// What may answer something.
#[inline(always)]
const fn speaks_back(key: &FlowKey) -> bool {
    key.has_ports()
        && match key.protocol {
            protocol::ICMP | protocol::ICMPV6 => key.is_echo_reply(),
            _ => true,
        }
}

/// A station of its own. Where the conversation lies, plus 1; 0 when it is not open. Leaves the key's
/// digest in the journey.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn state_find(question: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let key = journey.key(question & question::ANSWERED_BY_QUOTE);
    let digest = state::digest(&key, seed());
    journey.digest = digest;
    let index = index_of(digest);
    let Some(set) = maps::STATE.get_ptr(index) else { return 0 };
    let now = packet::now();
    for way in 0..WAYS {
        // SAFETY: an array entry lives as long as the program; a torn read is told by the check.
        let entry = unsafe { &(*set).entries[way] };
        if entry.check == check_of(digest) && entry.key.equals(&key) && entry.is_open(now) {
            return index * WAYS as u32 + way as u32 + 1;
        }
    }
    0
}

/// A station of its own: refreshes the packet's conversation, or makes room for it, with these flags.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn state_open(payer: u32, flags: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let found = state_find(question::PACKET);
    let now = packet::now();
    if let Some(entry) = entry(found) {
        // SAFETY: see `state_find`; whole words, and the last writer wins.
        let begins_anew = unsafe {
            let before = (*entry).flags;
            if journey.packet.fragment.place.get() != Place::Later {
                (*entry).flags = StateEntry::asked(before, journey.packet.tcp_flags);
            }
            (*entry).last_seen = now;
            before & !(*entry).flags & StateEntry::ANSWERED != 0
        };
        note_turn(&journey.packet, begins_anew);
        return 1;
    }
    // Who answers opens nothing: else a conversation would outlive the rule that it was opened by.
    let digest = journey.digest;
    if can_answer(&journey.packet) && answer(journey, state_find(question::ANSWERED)) {
        return 1;
    }
    let index = index_of(digest);
    let way = state::victim(|way| state_score(index, way as u32, payer)) & (WAYS - 1);
    let Some(set) = maps::STATE.get_ptr_mut(index) else { return 0 };
    let flags = StateEntry::asked(flags as u8, journey.packet.tcp_flags);
    // SAFETY: see `state_find`; the check is cleared first and written last, so that nobody takes a
    // half-written entry for a whole one.
    unsafe {
        let entry = &raw mut (*set).entries[way];
        ptr::write_volatile(&raw mut (*entry).check, !check_of(digest));
        ptr::write_volatile(&raw mut (*entry).last_seen, now);
        (*entry).key = journey.packet.key;
        (*entry).payer = payer;
        (*entry).flags = flags;
        ptr::write_volatile(&raw mut (*entry).check, check_of(digest));
    }
    note_turn(&journey.packet, false);
    1
}

/// A station of its own: how dispensable an entry is for a newcomer, [`StateSet::score`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn state_score(index: u32, way: u32, newcomer: u32) -> u64 {
    let Some(set) = maps::STATE.get_ptr(index) else { return 0 };
    // SAFETY: see `state_find`.
    unsafe { StateSet::score(&*set, way as usize & (WAYS - 1), newcomer, packet::now()) }
}

/// A station of its own: refreshes the conversation that the packet answers; 0 when there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn state_answer(question: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let found = state_find(question);
    if question & NOT_OF_HOST != 0 {
        // SAFETY: see `state_find`.
        let of_host = entry(found).is_some_and(|entry| unsafe { (*entry).payer } == EndpointId::HOST.0);
        if of_host {
            return 0;
        }
    }
    answer(journey, found).into()
}

/// Refreshes the conversation that was found for an answer, if one was.
#[inline(always)]
fn answer(journey: &Journey, found: u32) -> bool {
    let Some(entry) = entry(found) else { return false };
    // SAFETY: see `state_find`; whole words, and the last writer wins.
    unsafe {
        if journey.packet.fragment.place.get() != Place::Later {
            (*entry).flags = StateEntry::answered((*entry).flags, journey.packet.tcp_flags);
        }
        // NAT forgets its own when its opener is silent, whoever answers.
        if (*entry).flags & StateEntry::MASKED == 0 {
            (*entry).last_seen = packet::now();
        }
    }
    note_turn(&journey.packet, false);
    true
}

/// The entry that [`state_find`] found.
#[inline(always)]
fn entry(found: u32) -> Option<*mut StateEntry> {
    let place = found.checked_sub(1)?;
    let set = maps::STATE.get_ptr_mut(place / WAYS as u32)?;
    // SAFETY: the way is masked to lie within the set.
    Some(unsafe { &raw mut (*set).entries[place as usize & (WAYS - 1)] })
}

#[inline(always)]
fn index_of(digest: u64) -> u32 {
    digest as u32 & (config::state_sets() - 1)
}

#[inline(always)]
const fn check_of(digest: u64) -> u32 {
    (digest >> 32) as u32
}

/// Chosen when the tables were made: who does not know it cannot choose keys that meet in one set.
#[inline(always)]
pub fn seed() -> u64 {
    // SAFETY: an array entry lives as long as the program, and is written before programs are attached.
    maps::SEED.get_ptr(0).map_or(0, |seed| unsafe { *seed })
}
