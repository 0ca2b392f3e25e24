//! Flow records as the datapath keeps them: the user half of [`enforcer_common::flow_table`], read in place.

use std::{
    collections::HashMap,
    io,
    sync::atomic::{Ordering, fence},
};

use aya::maps::MapData;
use enforcer_common::{
    flow::{FlowEntry, FlowKey},
    flow_table::{DeniedSet, FlowSet, FlowSet4, FlowSet6, Key, Slot},
    verdict::Verdict,
};

use super::bpf::Mapped;

/// The `FLOWS4`, `FLOWS6` and `DENIED_SETS` tables. They are mapped only while they are read: their pages count as the
/// reader's.
pub(super) struct FlowTable {
    pub(super) v4: MapData,
    pub(super) v6: MapData,
    pub(super) denied: MapData,
}

/// Directions of flows by their keys.
pub(super) type Directions = HashMap<FlowKey, FlowEntry>;

impl FlowTable {
    /// Adds what all processors know of each allowed direction.
    pub(super) fn add_to(&self, directions: &mut Directions) -> io::Result<()> {
        let v4: Mapped<FlowSet4> = mapped(&self.v4)?;
        read(&v4, |key, entry| add(directions, key.flow_key(), entry));
        let v6: Mapped<FlowSet6> = mapped(&self.v6)?;
        read(&v6, |key, entry| add(directions, key.flow_key(), entry));
        Ok(())
    }

    /// The same of denied ones.
    pub(super) fn add_denied_to(&self, directions: &mut Directions) -> io::Result<()> {
        let denied: Mapped<DeniedSet> = mapped(&self.denied)?;
        read(&denied, |key, entry| add(directions, key.flow_key(), entry));
        Ok(())
    }
}

fn mapped<const WORDS: usize>(map: &MapData) -> io::Result<Mapped<FlowSet<WORDS>>> {
    let entries = map.info().map_err(io::Error::other)?.max_entries();
    Mapped::new(map.fd(), entries as usize, false)
}

fn read<const WORDS: usize>(table: &Mapped<FlowSet<WORDS>>, mut each: impl FnMut(Key<WORDS>, FlowEntry)) {
    for set in table.entries() {
        // SAFETY: the mapping is live, and a set is an array of slots.
        let slots = unsafe { &raw const (*set).0 }.cast::<Slot<WORDS>>();
        for way in 0..enforcer_common::flow_table::WAYS {
            // SAFETY: see above.
            if let Some((key, entry)) = unsafe { read_slot(slots.add(way)) } {
                each(key, entry);
            }
        }
    }
}

/// What a slot holds; `None` for nothing, or while the datapath gives it to another flow.
///
/// # Safety
/// `slot` points into a live mapping.
unsafe fn read_slot<const WORDS: usize>(slot: *const Slot<WORDS>) -> Option<(Key<WORDS>, FlowEntry)> {
    // SAFETY: the caller's promise; volatile, because the datapath writes meanwhile.
    unsafe {
        let verdict = (&raw const (*slot).entry.verdict).read_volatile();
        if verdict == 0 {
            return None;
        }
        fence(Ordering::Acquire);
        let key = (&raw const (*slot).key).read_volatile();
        let entry = (&raw const (*slot).entry).read_volatile();
        fence(Ordering::Acquire);
        let same = (&raw const (*slot).entry.verdict).read_volatile() == verdict
            && entry.verdict == verdict
            && (&raw const (*slot).key).read_volatile() == key;
        same.then_some((key, entry))
    }
}

/// Several processors may have carried packets of one direction: the judgement of the latest is told, within one tick
/// that under the later policy and facts. What is not admitted counts packets of one verdict.
fn add(directions: &mut Directions, key: FlowKey, entry: FlowEntry) {
    // It holds a judgement for a receiver whose sender's packets are counted elsewhere.
    if entry.packets == 0 {
        return;
    }
    let known = directions.entry(key).or_insert(FlowEntry { packets: 0, bytes: 0, ..entry });
    // They wrap.
    let order = |mine: u32, other: u32| (mine.wrapping_sub(other) as i32).cmp(&0);
    let is_later = order(entry.last_seen, known.last_seen)
        .then(order(entry.generation, known.generation))
        .then(order(entry.facts, known.facts))
        .is_ge();
    let is_first = order(entry.first_seen, known.first_seen).is_lt();
    let latest = if is_later { entry } else { *known };
    if entry.verdict != known.verdict && !Verdict::is_admitted_code(latest.verdict) {
        *known = latest;
        return;
    }
    *known = FlowEntry {
        packets: known.packets + entry.packets,
        bytes: known.bytes + entry.bytes,
        first_seen: if is_first { entry.first_seen } else { known.first_seen },
        ..latest
    };
}

#[cfg(test)]
mod tests {
    use enforcer_common::verdict::DropReason;

    use super::*;

    #[test]
    fn what_processors_counted_of_a_direction_is_one() {
        let mut directions = Directions::new();
        let seen = |first_seen, last_seen, packets, generation| FlowEntry {
            packets,
            bytes: packets * 100,
            first_seen,
            last_seen,
            generation,
            verdict: 1,
            ..FlowEntry::default()
        };
        let key = FlowKey::default();
        // Ticks wrap: the first is older than the second.
        add(&mut directions, key, seen(u32::MAX - 5, 7, 3, 2));
        add(&mut directions, key, seen(1, 9, 4, 3));
        add(&mut directions, key, seen(2, 3, 0, 9));
        assert_eq!(directions[&key], seen(u32::MAX - 5, 9, 7, 3));
        add(&mut directions, key, seen(u32::MAX - 9, 8, 1, 1));
        assert_eq!(directions[&key], seen(u32::MAX - 9, 9, 8, 3));
        // Within one tick the later policy judged last, whichever is read first.
        add(&mut directions, key, seen(8, 9, 1, 2));
        assert_eq!(directions[&key], seen(u32::MAX - 9, 9, 9, 3));
        add(&mut directions, key, seen(8, 9, 1, 4));
        assert_eq!(directions[&key], seen(u32::MAX - 9, 9, 10, 4));
    }

    #[test]
    fn what_a_mode_let_go_on_is_not_counted_with_what_was_dropped() {
        let mut directions = Directions::new();
        let reason = Verdict::Drop(DropReason::DefaultDeny).code();
        let seen =
            |last_seen, packets, verdict| FlowEntry { packets, last_seen, verdict, ..FlowEntry::default() };
        let key = FlowKey { ifindex: 7, ..FlowKey::default() };
        let dropped = seen(5, 3, reason);
        add(&mut directions, key, dropped);
        add(&mut directions, key, seen(4, 2, reason));
        assert_eq!(directions[&key].packets, 5);
        let relaxed = Verdict::relaxed_code(reason);
        add(&mut directions, key, seen(3, 9, relaxed));
        assert_eq!((directions[&key].packets, directions[&key].verdict), (5, reason));
        add(&mut directions, key, seen(6, 1, relaxed));
        assert_eq!((directions[&key].packets, directions[&key].verdict), (1, relaxed));
    }
}
