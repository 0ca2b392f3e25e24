//! A flow moves to a place where it is looked for sooner, and takes its record along.

use core::ptr;

use enforcer_common::{
    flow::{FlowEntry, tick},
    flow_table::{CHOICES, Key, Room, Slot, WAYS},
};

use super::{PLACES, Place, Table};
use crate::{flow, journey::Journey, maps};

/// A station of its own: gives the packet's flow the first place before its own that is free, if there is one.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_move() -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let (place, [v4, v6, _]) = (&mut journey.place, &journey.rooms);
    let (now, facts) = (tick(journey.now), journey.control.facts as u32);
    let moved = if journey.packet.key.src.is_v4() {
        move_within(&maps::FLOWS4, v4, place, now, facts)
    } else {
        move_within(&maps::FLOWS6, v6, place, now, facts)
    };
    u32::from(moved.is_some())
}

/// See [`flow_move`].
#[inline(always)]
fn move_within<const WORDS: usize>(
    table: &Table<WORDS>,
    room: &Room,
    place: &mut Place,
    now: u32,
    facts: u32,
) -> Option<()> {
    let set = table.get_ptr_mut(place.set.get())?;
    // SAFETY: see `search`.
    let from = unsafe { &raw mut (*set).0[place.way.get() as usize % WAYS] };
    // SAFETY: see `search`.
    if unsafe { (*from).entry.verdict } == 0 {
        return None;
    }
    // Soon nobody looks where it is.
    let is_homeless = place.turn.get() >= PLACES;
    for choice in 0..CHOICES {
        let number = room.set_of(place.digest, choice);
        let set = table.get_ptr_mut(number)?;
        for (turn, way) in place.digest.ways(choice).enumerate() {
            let turn = (turn + choice * WAYS) as u32;
            if turn >= place.turn.get() {
                return None;
            }
            // SAFETY: see `search`.
            let to = unsafe { &raw mut (*set).0[way] };
            if is_free(to, room, number) || (is_homeless && is_forgotten(to, now)) {
                move_slot(from, to, now, facts);
                place.set.set(number);
                place.way.set(way as u32);
                place.turn.set(turn);
                return Some(());
            }
        }
    }
    None
}

/// Whether nobody looks for anything in a place of this set.
#[inline(always)]
fn is_free<const WORDS: usize>(slot: *const Slot<WORDS>, room: &Room, set: u32) -> bool {
    // SAFETY: see `search`.
    let slot = unsafe { &*slot };
    slot.entry.verdict == 0 || room.has_lost(set, slot.key.digest(&room.secret))
}

/// Whether a newcomer would get a place before all that are in use.
#[inline(always)]
fn is_forgotten<const WORDS: usize>(slot: *const Slot<WORDS>, now: u32) -> bool {
    // SAFETY: see `search`.
    !Room::is_in_use(unsafe { (*slot).entry.silence(now) })
}

/// A reader in user space may find the flow in both places or, where it comes by in between, in none; never half of it.
#[inline(always)]
fn move_slot<const WORDS: usize>(from: *mut Slot<WORDS>, to: *mut Slot<WORDS>, now: u32, facts: u32) {
    // SAFETY: see `search`; both are places of this CPU. Who reads the new key reads its own entry, and tells by the verdict
    // whether that is whole.
    unsafe {
        let Slot { key, entry } = *from;
        ptr::write_volatile(&raw mut (*to).entry.verdict, 0);
        ptr::write_volatile(&raw mut (*to).entry, FlowEntry { verdict: 0, ..entry });
        ptr::write_volatile(&raw mut (*to).key, key);
        ptr::write_volatile(&raw mut (*to).entry.verdict, entry.verdict);
        flow::wipe(&raw mut (*from).entry, now, facts);
        // Nobody finds what it said.
        ptr::write_volatile(&raw mut (*from).key, Key::NOBODYS);
    }
}
