//! Where allowed flows are kept: this CPU's part of tables of our own, [`enforcer_common::flow_table`], or one table of
//! the kernel's kind for all CPUs.

use core::ptr;

use aya_ebpf::{btf_maps::Array, helpers::bpf_get_smp_processor_id};
use enforcer_common::{
    flow::{FlowEntry, FlowKey, tick},
    flow_table::{FlowSet, Key, Room, V4, WAYS, digest},
    forgotten::Forgotten,
};

use crate::{config, flow, journey::Journey, maps, state};

/// A table of ours; the loader sets its size.
type Table<const WORDS: usize> = Array<FlowSet<WORDS>, 1, { maps::MMAPABLE }>;

/// Where a packet's flow is, or goes.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Place {
    /// The set.
    set: u32,
    /// In the set. What comes from here the verifier follows once and not for each way.
    way: Forgotten<u32>,
}

/// The entry of the packet's flow, whatever it says.
#[inline(always)]
pub fn find(journey: &mut Journey) -> Option<*mut FlowEntry> {
    let key = &journey.packet.key;
    if config::kernel_tables() {
        maps::FLOWS.get_ptr_mut(key)
    } else if key.src.is_v4() {
        find_in(&maps::FLOWS4, key, &mut journey.rooms[0], &mut journey.place)
    } else {
        find_in(&maps::FLOWS6, key, &mut journey.rooms[1], &mut journey.place)
    }
}

/// The entry where [`flow_place`] has found it, or made it, in a table of ours.
#[inline(always)]
pub fn placed(journey: &Journey) -> Option<*mut FlowEntry> {
    let place = &journey.place;
    if journey.packet.key.src.is_v4() {
        entry_at(maps::FLOWS4.get_ptr_mut(place.set)?, place)
    } else {
        entry_at(maps::FLOWS6.get_ptr_mut(place.set)?, place)
    }
}

/// A station of its own: leaves in the journey where the packet's flow is. Where it is not, a blank entry takes the
/// place of the one that was silent for longest.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_place() -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    if journey.packet.key.src.is_v4() {
        make_in(&maps::FLOWS4, journey);
    } else {
        make_in(&maps::FLOWS6, journey);
    }
    0
}

#[inline(always)]
fn find_in<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    room: &mut Room,
    place: &mut Place,
) -> Option<*mut FlowEntry> {
    furnish(room);
    let digest = digest::<WORDS>(key, room.seed);
    let set = table.get_ptr_mut(room.set_of(digest))?;
    for way in ways(digest) {
        // SAFETY: an array entry lives as long as the program, and a way is masked to lie within it; no other CPU
        // writes there, and none but this program on this one.
        if unsafe { (*set).0[way].key.is_of(key) } {
            place.way.set(way as u32);
            return entry_at(set, place);
        }
    }
    None
}

#[inline(always)]
fn make_in<const WORDS: usize>(table: &Table<WORDS>, journey: &mut Journey) -> Option<()> {
    let (key, room) = (&journey.packet.key, &mut journey.rooms[usize::from(WORDS != V4)]);
    furnish(room);
    let digest = digest::<WORDS>(key, room.seed);
    let (now, facts) = (tick(journey.now), journey.control.facts as u32);
    let place = &mut journey.place;
    place.set = room.set_of(digest);
    let set = table.get_ptr_mut(place.set)?;
    let mut longest = 0;
    place.way.set(ways(digest).next().unwrap_or(0) as u32);
    for way in ways(digest) {
        // SAFETY: see `find_in`.
        let slot = unsafe { &(*set).0[way] };
        if slot.key.is_of(key) {
            place.way.set(way as u32);
            return Some(());
        }
        let silence = slot.entry.silence(now);
        if silence > longest {
            longest = silence;
            place.way.set(way as u32);
        }
    }
    room.pushed_out(longest, config::flow_sets());
    // SAFETY: see `find_in`. A reader in user space tells by the verdict that the slot is another flow's now.
    unsafe {
        let slot = &raw mut (*set).0[place.way.get() as usize % WAYS];
        flow::wipe(&raw mut (*slot).entry, now, facts);
        ptr::write_volatile(&raw mut (*slot).key, Key::new(key));
    }
    Some(())
}

#[inline(always)]
fn entry_at<const WORDS: usize>(set: *mut FlowSet<WORDS>, place: &Place) -> Option<*mut FlowEntry> {
    // SAFETY: see `find_in`.
    Some(unsafe { &raw mut (*set).0[place.way.get() as usize % WAYS].entry })
}

/// All ways, from where the key goes if it may choose: most are found at once.
#[inline(always)]
fn ways(digest: u64) -> impl Iterator<Item = usize> {
    let first = (digest >> 32) as usize;
    (0..WAYS).map(move |turn| first.wrapping_add(turn) % WAYS)
}

/// Of the first packet of this CPU: what it uses of its part.
#[inline(always)]
fn furnish(room: &mut Room) {
    if room.mask == 0 {
        // SAFETY: the helper takes nothing and touches nothing.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        *room = Room::new(cpu, config::flow_sets(), state::seed());
    }
}
