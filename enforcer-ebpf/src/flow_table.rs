//! Where allowed flows are kept: this CPU's part of tables of our own, [`enforcer_common::flow_table`], or one table of
//! the kernel's kind for all CPUs.

use core::ptr;

use aya_ebpf::{btf_maps::Array, helpers::bpf_get_smp_processor_id};
use enforcer_common::{
    flow::{FlowEntry, FlowKey, tick},
    flow_table::{CHOICES, Digest, FlowSet, Key, Room, V4, WAYS},
    forgotten::Forgotten,
};

use crate::{config, flow, journey::Journey, maps, state};

/// A table of ours; the loader sets its size.
type Table<const WORDS: usize> = Array<FlowSet<WORDS>, 1, { maps::MMAPABLE }>;

/// Where a packet's flow is, or goes. What comes from here the verifier follows once and not for each way.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Place {
    /// Of the key that was last looked for.
    digest: Digest,
    /// The set.
    set: Forgotten<u32>,
    /// In the set.
    way: Forgotten<u32>,
    /// [`Room::rank`], while one is looked for.
    rank: Forgotten<u32>,
    reserved: u32,
}

/// The entry of the packet's flow, whatever it says. Most lie in the first of their sets.
#[inline(always)]
pub fn find(journey: &mut Journey) -> Option<*mut FlowEntry> {
    let key = &journey.packet.key;
    if config::kernel_tables() {
        return maps::FLOWS.get_ptr_mut(key);
    }
    let found = if key.src.is_v4() {
        find_first(&maps::FLOWS4, key, &mut journey.rooms[0], &mut journey.place)
    } else {
        find_first(&maps::FLOWS6, key, &mut journey.rooms[1], &mut journey.place)
    };
    if found.is_none() && flow_elsewhere() != 0 { placed(journey) } else { found }
}

/// A station of its own, so that the verifier follows what comes behind once less: leaves in the journey where the
/// packet's flow is if that is in its second set; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_elsewhere() -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let (key, place) = (&journey.packet.key, &mut journey.place);
    let found = if key.src.is_v4() {
        search(&maps::FLOWS4, key, &journey.rooms[0], place, 1)
    } else {
        search(&maps::FLOWS6, key, &journey.rooms[1], place, 1)
    };
    u32::from(found.is_some())
}

/// The entry where [`flow_elsewhere`] has found it, or [`flow_place`] has made it, in a table of ours.
#[inline(always)]
pub fn placed(journey: &Journey) -> Option<*mut FlowEntry> {
    let place = &journey.place;
    if journey.packet.key.src.is_v4() {
        entry_at(maps::FLOWS4.get_ptr_mut(place.set.get())?, place)
    } else {
        entry_at(maps::FLOWS6.get_ptr_mut(place.set.get())?, place)
    }
}

/// A station of its own: leaves in the journey where the packet's flow is. Where it is not, a blank entry takes the
/// place that is given up most gladly.
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
fn find_first<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    room: &mut Room,
    place: &mut Place,
) -> Option<*mut FlowEntry> {
    furnish(room);
    room.packets = room.packets.wrapping_add(1);
    place.digest = Digest::of::<WORDS>(key, room.seed);
    search(table, key, room, place, 0)
}

/// Looks for a key in one of the sets that it may lie in.
#[inline(always)]
fn search<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    room: &Room,
    place: &mut Place,
    choice: usize,
) -> Option<*mut FlowEntry> {
    let number = room.set_of(place.digest, choice);
    let set = table.get_ptr_mut(number)?;
    for way in place.digest.ways(choice) {
        // SAFETY: an array entry lives as long as the program, and a way is masked to lie within it; no other CPU
        // writes there, and none but this program on this one.
        if unsafe { (*set).0[way].key.is_of(key) } {
            place.set.set(number);
            place.way.set(way as u32);
            return entry_at(set, place);
        }
    }
    None
}

#[inline(always)]
fn make_in<const WORDS: usize>(table: &Table<WORDS>, journey: &mut Journey) -> Option<()> {
    let (key, room) = (&journey.packet.key, &mut journey.rooms[usize::from(WORDS != V4)]);
    let place = &mut journey.place;
    // No set: a CPU that was added later has none, and another's are not its to write to.
    place.set.set(u32::MAX);
    furnish(room);
    place.digest = Digest::of::<WORDS>(key, room.seed);
    if (0..CHOICES).any(|choice| search(table, key, room, place, choice).is_some()) {
        return Some(());
    }
    let (now, facts) = (tick(journey.now), journey.control.facts as u32);
    place.rank.set(0);
    for choice in 0..CHOICES {
        let number = room.set_of(place.digest, choice);
        let set = table.get_ptr_mut(number)?;
        for (turn, way) in place.digest.ways(choice).enumerate() {
            // SAFETY: see `search`.
            let silence = unsafe { (*set).0[way].entry.silence(now) };
            let rank = room.rank(silence, (turn + choice * WAYS) as u32);
            if rank >= place.rank.get() {
                place.set.set(number);
                place.way.set(way as u32);
                place.rank.set(rank);
            }
        }
    }
    room.pushed_out(place.rank.get(), config::flow_sets());
    let set = table.get_ptr_mut(place.set.get())?;
    // SAFETY: see `search`. A reader in user space tells by the verdict that the slot is another flow's now.
    unsafe {
        let slot = &raw mut (*set).0[place.way.get() as usize % WAYS];
        flow::wipe(&raw mut (*slot).entry, now, facts);
        ptr::write_volatile(&raw mut (*slot).key, Key::new(key));
    }
    Some(())
}

#[inline(always)]
fn entry_at<const WORDS: usize>(set: *mut FlowSet<WORDS>, place: &Place) -> Option<*mut FlowEntry> {
    // SAFETY: see `search`.
    Some(unsafe { &raw mut (*set).0[place.way.get() as usize % WAYS].entry })
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
