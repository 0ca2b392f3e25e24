//! Where flows are kept: this CPU's part of tables of our own, [`enforcer_common::flow_table`], or tables of the kernel's
//! kind for all CPUs.

use core::ptr;

use aya_ebpf::{btf_maps::Array, helpers::bpf_get_smp_processor_id};
use enforcer_common::{
    flow::{FlowEntry, FlowKey, ShortId, tick},
    flow_table::{ANY, CHOICES, Digest, FlowSet, Key, Room, V4, V6, WAYS},
    forgotten::Forgotten,
};

mod moving;

use self::moving::flow_move;
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
    /// How many places of the key come before, where it was found.
    turn: Forgotten<u32>,
}

/// The entry of the packet's flow, whatever it says. Most lie in the first of their sets.
#[inline(always)]
pub fn find(journey: &mut Journey) -> Option<*mut FlowEntry> {
    let key = &journey.packet.key;
    if config::kernel_tables() {
        return maps::FLOWS.get_ptr_mut(key);
    }
    let found = if key.src.is_v4() {
        find_first(&maps::FLOWS4, key, &mut journey.rooms[room_of::<V4>()], &mut journey.place)
    } else {
        find_first(&maps::FLOWS6, key, &mut journey.rooms[room_of::<V6>()], &mut journey.place)
    };
    if found.is_some() && journey.place.turn.get() == 0 {
        return found;
    }
    if found.is_none() && flow_elsewhere() == 0 {
        return None;
    }
    if journey.place.turn.get() >= PLACES || journey.place.digest.may_move(tick(journey.now)) {
        flow_move();
    }
    placed(journey)
}

/// A packet of a recorded flow is about to be counted there: the room counts the flow, with its first one in a minute.
#[inline(always)]
pub fn meet(journey: &mut Journey, entry: *mut FlowEntry) {
    let now = tick(journey.now);
    if config::kernel_tables() || !begins_minute(entry, now) {
        return;
    }
    let [v4, v6, _] = &mut journey.rooms;
    let room = if journey.packet.key.src.is_v4() { v4 } else { v6 };
    room.count(now, config::flow_sets());
}

#[inline(always)]
fn begins_minute(entry: *mut FlowEntry, now: u32) -> bool {
    // SAFETY: see `search`.
    Room::begins_minute(unsafe { (*entry).last_seen }, now)
}

/// A station of its own, so that the verifier follows what comes behind once less: leaves in the journey where the
/// packet's flow is if that is in its second set, or where it was before; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_elsewhere() -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let (key, place, now) = (&journey.packet.key, &mut journey.place, tick(journey.now));
    let found = if key.src.is_v4() {
        find_elsewhere(&maps::FLOWS4, key, &journey.rooms[room_of::<V4>()], place, now)
    } else {
        find_elsewhere(&maps::FLOWS6, key, &journey.rooms[room_of::<V6>()], place, now)
    };
    u32::from(found.is_some())
}

/// What was denied to the packet's flow at an interface: its entry, whatever it says. [`find`] was asked first.
#[inline(always)]
pub fn find_denied(journey: &mut Journey, ifindex: u32) -> Option<*mut FlowEntry> {
    if config::kernel_tables() {
        journey.denied_key = denied_key(&journey.packet.key, ifindex);
        let key = &journey.denied_key;
        return maps::DENIED.get_ptr_mut(key);
    }
    if flow_denied(ifindex) != 0 { placed_denied(journey) } else { None }
}

/// A station of its own, for the same reason: leaves in the journey where that is; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_denied(ifindex: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    journey.denied_key = denied_key(&journey.packet.key, ifindex);
    let Journey { denied_key, place, rooms, .. } = journey;
    let room = &mut rooms[room_of::<ANY>()];
    furnish::<ANY>(room);
    place.digest = place.digest.at(ifindex);
    u32::from(find_in(&maps::DENIED_SETS, denied_key, room, place).is_some())
}

/// Denials are kept apart by interface: who spoofs a flow must not touch its owner's record.
#[inline(always)]
pub const fn denied_key(key: &FlowKey, ifindex: u32) -> FlowKey {
    FlowKey { ifindex, ..*key }
}

/// The entry where it was found in a table of ours, or [`flow_move`] has put it, or [`flow_place`] made it.
#[inline(always)]
pub fn placed(journey: &Journey) -> Option<*mut FlowEntry> {
    let place = &journey.place;
    if journey.packet.key.src.is_v4() {
        entry_at(maps::FLOWS4.get_ptr_mut(place.set.get())?, place)
    } else {
        entry_at(maps::FLOWS6.get_ptr_mut(place.set.get())?, place)
    }
}

/// The entry where [`flow_denied`] has found it, or [`flow_place_denied`] has made it.
#[inline(always)]
pub fn placed_denied(journey: &Journey) -> Option<*mut FlowEntry> {
    let place = &journey.place;
    entry_at(maps::DENIED_SETS.get_ptr_mut(place.set.get())?, place)
}

/// A station of its own: leaves in the journey where the packet's flow is. Where it is not, a blank entry takes the
/// place that is given up most gladly.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_place() -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let newcomer = Newcomer::of(journey);
    let Journey { packet, place, rooms, .. } = journey;
    if packet.key.src.is_v4() {
        place_in(&maps::FLOWS4, &packet.key, &mut rooms[room_of::<V4>()], place, newcomer);
    } else {
        place_in(&maps::FLOWS6, &packet.key, &mut rooms[room_of::<V6>()], place, newcomer);
    }
    0
}

/// The same of what is denied to it at an interface. Nowhere, where that is not to be remembered.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_place_denied(ifindex: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let key = &journey.packet.key;
    journey.place.digest = if key.src.is_v4() {
        digest::<V4>(key, &mut journey.rooms[room_of::<V4>()])
    } else {
        digest::<V6>(key, &mut journey.rooms[room_of::<V6>()])
    };
    if flow_denied(ifindex) != 0 {
        return 0;
    }
    journey.place.set.set(NOWHERE);
    if flow::has_room(journey) {
        let newcomer = Newcomer::of(journey);
        let Journey { denied_key, place, rooms, .. } = journey;
        make_in(&maps::DENIED_SETS, denied_key, &mut rooms[room_of::<ANY>()], place, newcomer);
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
    place.digest = digest::<WORDS>(key, room);
    search(table, key, place, room.set_of(place.digest, 0), 0)
}

/// In its second set, or where it was when the room had another size.
#[inline(always)]
fn find_elsewhere<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    room: &Room,
    place: &mut Place,
    now: u32,
) -> Option<*mut FlowEntry> {
    let found = search(table, key, place, room.set_of(place.digest, 1), WAYS as u32);
    if found.is_some() || !room.has_changed(now) {
        return found;
    }
    let former = |choice| room.former_set_of(place.digest, choice);
    [former(0), former(1)].into_iter().find_map(|set| search(table, key, place, set, PLACES))
}

/// In one of its sets.
#[inline(always)]
fn find_in<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    room: &Room,
    place: &mut Place,
) -> Option<*mut FlowEntry> {
    (0..CHOICES).find_map(|choice| search(table, key, place, room.set_of(place.digest, choice), 0))
}

#[inline(always)]
fn digest<const WORDS: usize>(key: &FlowKey, room: &mut Room) -> Digest {
    furnish::<WORDS>(room);
    Digest::of::<WORDS>(key, &room.secret)
}

/// Looks for a key in a set that it may lie in, behind so many other places.
#[inline(always)]
fn search<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    place: &mut Place,
    number: u32,
    before: u32,
) -> Option<*mut FlowEntry> {
    // Both sets have their ways in another order.
    let choice = (before as usize / WAYS) % CHOICES;
    let set = table.get_ptr_mut(number)?;
    for (turn, way) in place.digest.ways(choice).enumerate() {
        // SAFETY: an array entry lives as long as the program, and a way is masked to lie within it; no other CPU
        // writes there, and none but this program on this one.
        if unsafe { (*set).0[way].key.is_of(key) } {
            place.set.set(number);
            place.way.set(way as u32);
            place.turn.set(before + turn as u32);
            return entry_at(set, place);
        }
    }
    None
}

/// Who asks for a place, when, and under which facts.
#[derive(Clone, Copy)]
struct Newcomer {
    src: ShortId,
    now: u32,
    facts: u32,
}

impl Newcomer {
    #[inline(always)]
    fn of(journey: &Journey) -> Self {
        Self {
            src: ShortId::new(journey.judgement.src),
            now: tick(journey.now),
            facts: journey.control.facts as u32,
        }
    }
}

/// Places that a key has.
const PLACES: u32 = (WAYS * CHOICES) as u32;

/// No set: a CPU that was added later has none, and another's are not its to write to.
const NOWHERE: u32 = u32::MAX;

#[inline(always)]
fn place_in<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    room: &mut Room,
    place: &mut Place,
    newcomer: Newcomer,
) {
    place.digest = digest::<WORDS>(key, room);
    match find_in(table, key, room, place) {
        Some(entry) if begins_minute(entry, newcomer.now) => room.count(newcomer.now, sets_of::<WORDS>()),
        Some(_) => {}
        None => drop(make_in(table, key, room, place, newcomer)),
    }
}

/// Makes a blank entry where there is none of the key.
#[inline(always)]
fn make_in<const WORDS: usize>(
    table: &Table<WORDS>,
    key: &FlowKey,
    room: &mut Room,
    place: &mut Place,
    newcomer: Newcomer,
) -> Option<()> {
    // Of what is denied all of its part is used.
    if WORDS != ANY {
        room.count(newcomer.now, sets_of::<WORDS>());
    }
    place.set.set(NOWHERE);
    place.rank.set(0);
    for choice in 0..CHOICES {
        let number = room.set_of(place.digest, choice);
        let set = table.get_ptr_mut(number)?;
        for (turn, way) in place.digest.ways(choice).enumerate() {
            // SAFETY: see `search`.
            let slot = unsafe { &(*set).0[way] };
            let silence = slot.entry.silence(newcomer.now);
            // What is denied is often tried once, and by who tries all.
            let mine = WORDS == ANY && slot.entry.src_endpoint == newcomer.src;
            let rank = room.rank(silence, (turn + choice * WAYS) as u32, mine);
            if rank >= place.rank.get() {
                place.set.set(number);
                place.way.set(way as u32);
                place.rank.set(rank);
            }
        }
    }
    room.pushed_out(place.rank.get());
    let set = table.get_ptr_mut(place.set.get())?;
    // SAFETY: see `search`. A reader in user space tells by the verdict that the slot is another flow's now.
    unsafe {
        let slot = &raw mut (*set).0[place.way.get() as usize % WAYS];
        flow::wipe(&raw mut (*slot).entry, newcomer.now, newcomer.facts);
        ptr::write_volatile(&raw mut (*slot).key, Key::new(key));
    }
    Some(())
}

#[inline(always)]
fn entry_at<const WORDS: usize>(set: *mut FlowSet<WORDS>, place: &Place) -> Option<*mut FlowEntry> {
    // SAFETY: see `search`.
    Some(unsafe { &raw mut (*set).0[place.way.get() as usize % WAYS].entry })
}

/// Which of the journey's rooms is a table's.
const fn room_of<const WORDS: usize>() -> usize {
    match WORDS {
        V4 => 0,
        V6 => 1,
        _ => 2,
    }
}

/// How many sets of a table are this CPU's.
#[inline(always)]
fn sets_of<const WORDS: usize>() -> u32 {
    if WORDS == ANY { config::denied_sets() } else { config::flow_sets() }
}

/// Of the first packet of this CPU: what it uses of its part.
#[inline(always)]
fn furnish<const WORDS: usize>(room: &mut Room) {
    if room.mask != 0 {
        return;
    }
    // SAFETY: the helper takes nothing and touches nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let furnished = if WORDS == ANY { Room::whole } else { Room::new };
    *room = furnished(cpu, sets_of::<WORDS>(), state::seed());
}
