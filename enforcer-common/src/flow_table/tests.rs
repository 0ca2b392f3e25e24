use super::{
    key::MOVES,
    room::{FIRST_SETS, IN_USE, IN_USE_RANK},
    *,
};
use crate::{
    address::Address,
    flow::{FlowKey, protocol},
    state::mix,
};

fn key(src: Address, dst: Address) -> FlowKey {
    let (src_port, dst_port) = (4000_u16.to_be(), 53_u16.to_be());
    FlowKey { src, dst, src_port, dst_port, protocol: protocol::UDP, flags: 1, ..FlowKey::default() }
}

#[test]
fn keys_come_back_whole() {
    let v4 = key(Address::from_v4(0x0100_000a), Address::from_v4(0x0200_000a));
    assert_eq!(Key::<V4>::new(&v4).flow_key(), v4);
    assert_eq!(Key::<V6>::new(&v4).flow_key(), v4);
    let v6 = key(Address([1, 2, 3, 4]), Address([5, 6, 7, 8]));
    assert_eq!(Key::<V6>::new(&v6).flow_key(), v6);
    for denied in [v4, v6].map(|key| FlowKey { ifindex: 0x8000_0007, ..key }) {
        let kept = Key::<ANY>::new(&denied);
        assert_eq!(kept.flow_key(), denied);
        assert!(kept.is_of(&denied) && !kept.is_of(&FlowKey { ifindex: 7, ..denied }));
    }
}

#[test]
fn every_part_of_a_key_changes_its_digest() {
    let base = key(Address::from_v4(1), Address::from_v4(2));
    let others = [
        key(Address::from_v4(2), Address::from_v4(1)),
        base.reversed(),
        FlowKey { protocol: protocol::TCP, ..base },
        FlowKey { flags: 0, ..base },
        FlowKey { icmp_type: 8, ..base },
        FlowKey { icmp_code: 1, ..base },
    ];
    let secret = Secret::of(7);
    let digests = |key: &FlowKey| (Digest::of::<V4>(key, &secret), Digest::of::<V6>(key, &secret));
    let (v4, v6) = digests(&base);
    for other in others {
        assert!(v4 != digests(&other).0 && v6 != digests(&other).1, "{other:?}");
        assert!(!Key::<V4>::new(&base).is_of(&other) && !Key::<V6>::new(&base).is_of(&other), "{other:?}");
    }
    assert!(Key::<V4>::new(&base).is_of(&base) && Key::<V6>::new(&base).is_of(&base));
    assert_ne!(v4, Digest::of::<V4>(&base, &Secret::of(8)));
    assert!(v4 != v4.at(7) && v4.at(7) != v4.at(8), "an interface each");
    let of_kept = (Key::<V4>::new(&base).digest(&secret), Key::<V6>::new(&base).digest(&secret));
    assert_eq!(of_kept, (v4, v6), "the same of what is kept");
}

/// How unevenly a table of that many sets is filled by flows that differ in one thing: 1 as if they were drawn.
fn unevenness(digest: impl Fn(u32) -> Digest, choice: usize) -> f64 {
    const SETS: u32 = 4_096;
    const EACH: u32 = 16;
    let room = Room { mask: SETS - 1, ..Room::new(0, SETS, 7) };
    let mut sets = vec![0_u32; SETS as usize];
    for flow in 0..SETS * EACH {
        sets[room.set_of(digest(flow), choice) as usize] += 1;
    }
    let apart: f64 = sets.iter().map(|flows| f64::from(flows.abs_diff(EACH)).powi(2)).sum();
    apart / f64::from(SETS * EACH)
}

/// One of the flows that differ in nothing else.
fn differing_in(what: &str, number: u32) -> FlowKey {
    let v4 = |number: u32| Address::from_v4(number.to_be());
    match what {
        "source" => key(v4(number), v4(9)),
        "destination" => key(v4(9), v4(number)),
        "port" => FlowKey { src_port: (number as u16).to_be(), ..key(v4(8), v4(9)) },
        _ => key(Address([0x20, number.to_be(), 0, 8]), Address([0x20, 0, 0, 9])),
    }
}

#[test]
fn keys_that_are_alike_lie_apart() {
    let secret = Secret::of(7);
    let each =
        ["source", "destination", "port", "prefix"].into_iter().flat_map(|what| [(what, 0), (what, 1)]);
    for (what, choice) in each {
        let flow = |number| differing_in(what, number);
        let v6 = |number| Digest::of::<V6>(&flow(number), &secret);
        let mut all = vec![unevenness(v6, choice), unevenness(|number| v6(number).at(7), choice)];
        if flow(1).src.is_v4() {
            all.push(unevenness(|number| Digest::of::<V4>(&flow(number), &secret), choice));
        }
        // The deviation is √(2 / sets), 0.02.
        assert!(all.iter().all(|unevenness| *unevenness < 1.15), "{what}, choice {choice}: {all:.2?}");
    }
}

#[test]
fn a_key_has_eight_places() {
    let room = Room::new(0, FIRST_SETS, 7);
    let digest = Digest(0x9000_0005_0000_0103);
    assert_eq!([0, 1].map(|choice| room.set_of(digest, choice)), [3, 5], "the halves of the digest");
    let ways = [0, 1].map(|choice| digest.ways(choice).collect::<Vec<_>>());
    assert_eq!(ways, [[1, 0, 3, 2], [2, 3, 0, 1]], "pairs of neighbours");
}

#[test]
fn nobody_looks_where_a_key_lay_before() {
    let digest = Digest(0x0000_0005_0000_0103);
    let lost = |former, mask, set| Room { mask, former, ..Room::new(0, 1, 7) }.has_lost(set, digest);
    assert_eq!([3, 5, 0x103].map(|set| lost(0xff, 0xff, set)), [false, false, true]);
    assert_eq!([3, 5, 0x103].map(|set| lost(0x1ff, 0x1ff, set)), [true, false, false]);
    assert_eq!([3, 5, 0x103].map(|set| lost(0xff, 0x1ff, set)), [false; 3], "for a while");
    let ticks = (0..4 * MOVES).filter(|tick| digest.may_move(*tick)).count();
    assert_eq!(ticks, 4, "in one tick of {MOVES}");
}

#[test]
fn what_is_not_in_use_is_given_up_first() {
    let room = Room::new(0, FIRST_SETS, 7);
    let blank = [0, 7].map(|turn| room.rank(u32::MAX, turn, true));
    let forgotten = [(u32::MAX - 1, 0), (IN_USE + 1, 1), (u32::MAX - 1, 7)];
    let forgotten = forgotten.map(|(silence, turn)| room.rank(silence, turn, false));
    let in_use = |mine| [(IN_USE, 3), (1, 0), (0, 5)].map(|(silence, turn)| room.rank(silence, turn, mine));
    let (mine, in_use) = (in_use(true), in_use(false));
    let ranks = [&blank[..], &forgotten, &mine, &in_use].concat();
    assert!(ranks.is_sorted_by(|one, next| one > next), "{ranks:?}");
    assert!(forgotten[2] > IN_USE_RANK && mine[0] <= IN_USE_RANK, "{ranks:?}");
    let of_one_tick = |room: Room| (0..PLACES).max_by_key(|turn| room.rank(9, *turn, false));
    let after = (0..PLACES).map(|pushed| of_one_tick(Room { pushed, ..room }));
    let after: std::collections::BTreeSet<_> = after.collect();
    assert_eq!(after.len(), PLACES as usize, "each in its turn");
}

/// What a CPU does with the packets of flows; how many of the last round it did not know.
fn unknown(flows: u64, sets: u32) -> usize {
    let mut room = Room { mask: sets - 1, ..Room::new(0, sets, 7) };
    let mut table = vec![[(u64::MAX, 0_u32); WAYS]; sets as usize];
    let mut unknown = 0;
    for packet in 0..20 * flows {
        let (flow, now) = (packet % flows, (packet / flows) as u32);
        let digest = Digest(mix(mix(flow)));
        let places = || (0..CHOICES).flat_map(|choice| digest.ways(choice).map(move |way| (choice, way)));
        let at = |(choice, way)| (room.set_of(digest, choice) as usize, way);
        if packet % flows == 0 {
            unknown = 0;
        }
        if let Some((set, way)) = places().map(at).find(|(set, way)| table[*set][*way].0 == flow) {
            table[set][way].1 = now;
            continue;
        }
        unknown += 1;
        let rank = |(turn, place)| {
            let (set, way) = at(place);
            let (kept, seen) = table[set][way];
            room.rank(if kept == u64::MAX { u32::MAX } else { now - seen }, turn, false)
        };
        let (_, place) = (0..).zip(places()).max_by_key(|place| rank(*place)).expect("there are places");
        let (set, way) = at(place);
        let rank = rank((0..).zip(places()).find(|(_, other)| *other == place).expect("one of them"));
        table[set][way] = (flow, now);
        room.pushed_out(rank);
    }
    unknown
}

#[test]
fn flows_that_push_each_other_out_come_to_lie_apart() {
    let sets = 1024;
    for (percent, tolerated) in [(50, 0), (80, 30), (90, 100)] {
        let flows = u64::from(sets) * WAYS as u64 * percent / 100;
        let unknown = unknown(flows, sets);
        assert!(unknown <= tolerated, "{unknown} of {flows} flows are not known, {percent} % full");
    }
}

#[test]
fn a_room_grows_when_half_of_it_is_used() {
    let sets = 4 * FIRST_SETS;
    let mut room = Room::new(3, sets, 7);
    assert_eq!((room.first, room.mask, room.secret), (12 * FIRST_SETS, FIRST_SETS - 1, Secret::of(7)));
    let half = FIRST_SETS * WAYS as u32 / 2;
    let mut used_with = |flows: u32| {
        (0..flows).for_each(|_| room.count(9 << Room::MINUTE, sets));
        assert!(room.set_of(Digest(u64::MAX), 0) < 16 * FIRST_SETS);
        (room.mask + 1) / FIRST_SETS
    };
    assert_eq!([half, 1, half - 1, 1].map(&mut used_with), [1, 2, 2, 4]);
    assert_eq!(used_with(2 * sets * WAYS as u32), 4, "that is all there is");
    assert_eq!((room.former, room.changed), (2 * FIRST_SETS - 1, 9));
    assert_eq!(Room::new(0, 2, 7).mask, 1, "there are fewer than it would use");
}

/// Meets so many flows in each of these minutes; how many sets are in use behind each first one.
fn minutes(room: &mut Room, flows: u32, minutes: core::ops::Range<u32>) -> Vec<u32> {
    let mut sets = Vec::new();
    for minute in minutes {
        let now = minute << Room::MINUTE;
        for flow in 0..flows {
            room.count(now + flow, room.mask + 1);
            if flow == 0 {
                sets.push(room.mask + 1);
            }
        }
    }
    sets
}

#[test]
fn what_few_flows_do_not_need_is_given_up_by_halves() {
    let places = FIRST_SETS * WAYS as u32;
    let mut room = Room { mask: 8 * FIRST_SETS - 1, minute: 8, flows: places, ..Room::new(0, places, 7) };
    let sets = |halves: [u32; 4]| halves.map(|of| of * FIRST_SETS);
    assert_eq!(minutes(&mut room, places, 9..13), sets([8, 8, 8, 8]), "an eighth of the places are used");
    assert_eq!(minutes(&mut room, places - 1, 13..17), sets([8, 4, 4, 4]), "a quarter of what is left");
    assert_eq!(minutes(&mut room, 1, 17..21), sets([4, 2, 1, 1]), "as at first");
    let mut room = Room { mask: 4 * FIRST_SETS - 1, minute: 8, ..Room::new(0, places, 7) };
    let mut former = |minute: u32| {
        room.count(minute << Room::MINUTE, u32::MAX);
        [room.former, room.mask].map(|mask| (mask + 1) / FIRST_SETS)
    };
    assert_eq!(
        [9, 10, 11, 12].map(&mut former),
        [[4, 2], [2, 1], [2, 1], [1, 1]],
        "looked for there for a minute more"
    );
    let small = &mut Room { minute: 8, ..Room::new(0, 1, 7) };
    assert_eq!(minutes(small, 1, 9..12), [1, 1, 1], "and no fewer");
    let whole = &mut Room { minute: u32::MAX >> Room::MINUTE, mask: 1_023, ..Room::new(0, places, 7) };
    assert!(Room::begins_minute(u32::MAX, 0) && !Room::begins_minute(0, 1));
    whole.count(0, u32::MAX);
    assert_eq!((whole.minute, whole.mask), (0, 511), "where ticks begin anew");
}

#[test]
fn processors_share_what_there_is() {
    assert_eq!(sets_per_cpu(262_144, 2), 32_768);
    assert_eq!(sets_per_cpu(1, 64), 1);
    assert_eq!(sets_per_cpu(100_000, 3), 16_384, "rounded up");
}
