//! How much of its part of a flow table this processor uses.

use std::{slice, time::Duration};

use aya::maps::MapData;
use enforcer::datapath::bpf;
use enforcer_common::{
    flow::{FlowEntry, FlowKey, TICK},
    flow_table::{FlowSet, Key, Room, Secret, Slot, V4, V6, WAYS},
};
use nix::{
    sched::sched_getcpu,
    time::{ClockId, clock_gettime},
};

use super::Lab;
use crate::{packet::Family, wait};

/// The table that the programs keep it in: for each processor a value, of which only they know the layout.
const TABLE: &str = "JOURNEY";

/// A minute as the programs count them.
const MINUTE: Duration = Duration::from_nanos(1 << (Room::MINUTE + TICK));

/// What `work` returns, all of it done in one minute of those that the programs count: where one has ended meanwhile, it is
/// done again. It takes about `time` on a usual machine, and asserts nothing that another minute makes wrong.
#[track_caller]
pub fn in_one_minute<T>(time: Duration, mut work: impl FnMut() -> T) -> T {
    let now =
        || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock")).as_nanos();
    let minute = || now() / MINUTE.as_nanos();
    let time = wait::scaled(time).min(MINUTE / 2).as_nanos();
    wait::until("all was done in one minute", 5 * MINUTE, || {
        let left = MINUTE.as_nanos() - now() % MINUTE.as_nanos();
        if left < time {
            return None;
        }
        let (begun, done) = (minute(), work());
        (minute() == begun).then_some(done)
    })
}

impl Lab {
    /// Sets that the flows of the one family that was met here may lie in.
    pub fn sets_in_use(&mut self) -> u32 {
        let (table, secret) = (self.table(TABLE), self.secret());
        room_of_flows(&mut values(&table), secret).mask + 1
    }

    /// Of the records of a family's flows here how many are found where they are looked for first, how many elsewhere, and how
    /// many nobody looks for.
    pub fn places(&mut self, family: Family) -> [usize; 3] {
        let (table, secret) = (self.table(TABLE), self.secret());
        let room = *room_of_flows(&mut values(&table), secret);
        match family {
            Family::V4 => places::<V4>(&self.table("FLOWS4"), &room),
            Family::V6 => places::<V6>(&self.table("FLOWS6"), &room),
        }
    }

    /// Flows lie in so many sets from now on.
    pub fn use_sets(&mut self, sets: u32) {
        self.change_room(|room| (room.former, room.mask, room.changed) = (room.mask, sets - 1, room.minute));
    }

    /// A minute passes in which nobody sends.
    pub fn pass_a_minute(&mut self) {
        self.silence_flows(1 << Room::MINUTE);
        self.change_room(|room| {
            (room.minute, room.changed) = (room.minute - 1, room.changed.wrapping_sub(1));
        });
    }

    fn change_room(&mut self, change: impl FnOnce(&mut Room)) {
        let (table, secret) = (self.table(TABLE), self.secret());
        let mut values = values(&table);
        change(room_of_flows(&mut values, secret));
        bpf::write_entry(table.fd(), 0, &values).expect("nobody else writes there now");
    }

    /// What the places of flows are made of, another one in each lab: a test that is wrong about few places tells it.
    pub fn seed_of_places(&mut self) -> u64 {
        let mut seed = [0; 8];
        bpf::read_entry(self.table("SEED").fd(), 0, &mut seed).expect("the table is readable");
        u64::from_ne_bytes(seed)
    }

    fn secret(&mut self) -> Secret {
        Secret::of(self.seed_of_places())
    }
}

fn places<const WORDS: usize>(table: &MapData, room: &Room) -> [usize; 3] {
    let (mut first, mut elsewhere, mut lost) = (0, 0, 0);
    for number in room.first..=room.first + room.mask.max(room.former) {
        let mut set = FlowSet(
            [Slot::<WORDS> { key: Key::new(&FlowKey::default()), entry: FlowEntry::default() }; WAYS],
        );
        // SAFETY: a set is words without gaps, and any are one.
        let bytes = unsafe { slice::from_raw_parts_mut((&raw mut set).cast(), size_of_val(&set)) };
        bpf::read_entry(table.fd(), number, bytes).expect("the table is readable");
        for (way, slot) in set.0.iter().enumerate().filter(|(_, slot)| slot.entry.verdict != 0) {
            let digest = slot.key.digest(&room.secret);
            let count = if room.has_lost(number, digest) {
                &mut lost
            } else if room.set_of(digest, 0) == number && digest.ways(0).next() == Some(way) {
                &mut first
            } else {
                &mut elsewhere
            };
            *count += 1;
        }
    }
    [first, elsewhere, lost]
}

/// Of all processors.
fn values(table: &MapData) -> Vec<u8> {
    let each = table.info().expect("the kernel tells").value_size().next_multiple_of(8) as usize;
    let mut values = vec![0; each * aya::util::nr_cpus().expect("the kernel tells")];
    bpf::read_entry(table.fd(), 0, &mut values).expect("the table is readable");
    values
}

/// The first one with the secret: that of what is denied lies behind those of both families.
fn room_of_flows(values: &mut [u8], secret: Secret) -> &mut Room {
    let (each, cpu) = (values.len() / aya::util::nr_cpus().expect("the kernel tells"), sched_getcpu());
    let own = &mut values[each * cpu.expect("the kernel tells")..][..each];
    let secret: &[u8] = bytemuck::bytes_of(&secret);
    let found = own.windows(secret.len()).position(|bytes| bytes == secret);
    let until = found.expect("a flow was met here") + secret.len();
    bytemuck::from_bytes_mut(&mut own[until - size_of::<Room>()..until])
}
