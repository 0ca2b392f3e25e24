//! Where flows are kept: a part for each CPU, which grows where they are allowed, or a table of the kernel's kind for all.

use std::time::{Duration, Instant};

use enforcer::datapath::{
    load::Options,
    sizes::{Sizes, TableKind},
};
use enforcer_common::{
    event::Hook,
    limits::DENIED_PER_SECOND,
    mode::Mode,
    verdict::{
        DropReason::{DefaultDeny, DhcpServer},
        PassReason::*,
    },
};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, Family, Family::*, OUTSIDER, Party, from},
    processor::{roam, stay_on},
    prog_run::{Lab, rooms::in_one_minute},
    wait,
};
use rstest::rstest;

use crate::{DIRECTION, TENANTS, between, lab, populated};

/// Flows that do not fit into what a CPU uses of its part at first.
const MANY: u16 = 1_500;
/// Those that fit anywhere.
const FEW: u16 = 100;
/// Longer than it takes until each was met in a tick in which it may move.
const PATIENCE: Duration = Duration::from_secs(10);
/// Those that do not fit in any case.
const MOST: u32 = 2_048;

/// A host with tables of our own, whatever the others have: only they have room that changes.
fn with_room(policy: &str) -> Lab {
    let mut lab = populated(Lab::with_tables(TableKind::Own));
    lab.apply(policy);
    lab
}

/// Who sends on one CPU is delivered on another: nothing is counted twice, and nothing that one CPU keeps for receivers
/// is taken for a sender's.
#[rstest]
fn one_flow_on_two_processors_is_one_flow(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    let processors = roam();
    for round in 0..4 {
        stay_on(processors[round % 2]);
        lab.sent_by("a", &packet).passes(SharedNetwork).is_stamped_as("a");
        stay_on(processors[(round + 1) % 2]);
        lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    }
    let flow = lab.flow(&packet);
    assert_eq!((flow.packets_fwd, flow.bytes_fwd), (4, 4 * packet.bytes().len() as u64));
    assert_eq!((flow.endpoint_src.as_deref(), flow.endpoint_dst.as_deref()), (Some("a"), Some("b")));
}

/// What is denied has a record on each processor, and counts as one.
#[rstest]
fn what_is_denied_on_two_processors_is_one_flow(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, DB);
    let processors = roam();
    for round in 0..5 {
        stay_on(processors[round % 2]);
        lab.sent_by("a", &packet).drops(DefaultDeny);
        lab.delivered_to("db", &packet).stamped_by("a").drops(DefaultDeny);
    }
    let denied: Vec<_> = lab.flows().into_iter().map(|flow| (flow.packets_fwd, flow.bytes_fwd)).collect();
    assert_eq!(denied, [(5, 5 * packet.bytes().len() as u64); 2], "at either interface");
}

/// Who receives is not asked what a sender is: whether it may give addresses away.
#[rstest]
fn what_a_receiver_keeps_says_nothing_to_a_sender(mut lab: Lab) {
    let offer = from(BLUE_A.v4).to(BLUE_B.v4).udp(68).from_port(67);
    for _ in 0..2 {
        lab.delivered_to("b", &offer).stamped_by("a").passes_counted_before();
        lab.sent_by("a", &offer).drops(DhcpServer);
    }
}

/// A rule opens a conversation wherever the next packet is met.
#[rstest]
fn conversations_open_on_every_processor(
    #[from(crate::ruled)] mut lab: Lab,
    #[values(V4, V6)] family: Family,
) {
    let question = between(family, BLUE_A, DB);
    let [first, second] = roam();
    stay_on(first);
    lab.sent_by("a", &question).passes(AllowedByRule);
    stay_on(second);
    lab.delivered_to("db", &question).stamped_by("a").passes_counted_before();
    lab.silence(Duration::from_hours(1));
    lab.sent_by("db", question.answer()).drops(DefaultDeny);
    lab.sent_by("a", &question).passes(AllowedByRule);
    lab.sent_by("db", question.answer()).passes(Reply);
}

/// The first place that a CPU has for flows is too small; nothing of what was counted there is lost.
#[rstest]
fn more_flows_than_there_was_room_for_are_all_counted(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let flow = |port: u16| from(BLUE_A.on(family)).to(BLUE_B.on(family)).udp(53).from_port(port);
    for _ in 0..3 {
        for port in 1..=MANY {
            lab.sent_by("a", flow(port)).passes(SharedNetwork);
        }
    }
    let flows = lab.flows();
    let counted: u64 = flows.iter().map(|flow| flow.packets_fwd).sum();
    let known = flows.len();
    // A flow that was pushed out before there was room for it has lost a count.
    let seed = lab.seed_of_places();
    assert!(known > usize::from(MANY) * 9 / 10, "{known} of {MANY} flows are known, seed {seed:#x}");
    assert!(counted > u64::from(MANY) * 2, "{counted} packets of {MANY} flows, three each, seed {seed:#x}");
}

/// What many flows needed few do not, a minute later: they lie close together again, and lose hardly a count.
#[rstest]
fn few_flows_move_together_again(#[values(V4, V6)] family: Family) {
    let Rooms { at_first, grown, minutes, counted, seed } =
        in_one_minute(Duration::from_secs(8), || few_after_many(family));
    assert!(grown > at_first, "{MANY} flows do not fit into {at_first} sets, seed {seed:#x}");
    // They are still many in the first minute.
    assert_eq!(minutes, [grown, grown, grown / 2, at_first], "of {grown} sets, seed {seed:#x}");
    // A table that grows twice before a flow is met again has lost its record, which may go now.
    assert!(
        counted > 3 * u64::from(FEW) * 9 / 10,
        "{counted} packets of {FEW} flows, three each, seed {seed:#x}"
    );
}

/// Sets in use with few flows, with many, and in the minutes behind that; and how many packets of the few were counted in
/// the last three.
struct Rooms {
    at_first: u32,
    grown: u32,
    minutes: [u32; 4],
    counted: u64,
    seed: u64,
}

fn few_after_many(family: Family) -> Rooms {
    let mut lab = with_room(TENANTS);
    let send = |lab: &mut Lab, flows: u16| {
        for port in 1..=flows {
            let packet = from(BLUE_A.on(family)).to(BLUE_B.on(family)).udp(53).from_port(port);
            lab.sent_by("a", packet).passes(SharedNetwork);
        }
        lab.sets_in_use()
    };
    let counted = |lab: &mut Lab| -> u64 {
        let few = lab.flows().into_iter().filter(|flow| flow.src_port <= FEW);
        few.map(|flow| flow.packets_fwd).sum()
    };
    // Each minute shows with its first packet what the one before needed.
    let in_a_minute = |lab: &mut Lab, flows| {
        lab.pass_a_minute();
        send(lab, flows)
    };
    let at_first = send(&mut lab, FEW);
    let [.., grown] = [MANY; 3].map(|flows| send(&mut lab, flows));
    let still = in_a_minute(&mut lab, MANY);
    let before = counted(&mut lab);
    let [next, then, last] = [FEW; 3].map(|flows| in_a_minute(&mut lab, flows));
    let counted = counted(&mut lab).saturating_sub(before);
    Rooms { at_first, grown, minutes: [still, next, then, last], counted, seed: lab.seed_of_places() }
}

/// Where a table has grown much that lies in the way is never looked for again: its places go to those who had to go on.
#[rstest]
fn flows_move_to_where_they_are_looked_for_first(#[values(V4, V6)] family: Family) {
    let mut lab = with_room(TENANTS);
    let flow = |port: u16| from(BLUE_A.on(family)).to(BLUE_B.on(family)).udp(53).from_port(port);
    lab.sent_by("a", flow(1)).passes(SharedNetwork);
    let stream = lab.stream(Hook::FromEndpoint, "a", (1..=MANY).map(flow));
    // The table grows, in too little time for all to move.
    stream.mean_duration(3 * u32::from(MANY));
    let (mut seen, seed) = (lab.places(family), lab.seed_of_places());
    assert!(
        seen[1] > 0,
        "at their first place, elsewhere, lost: {seen:?}: nobody has to move, seed {seed:#x}"
    );
    let moved = wait::within(PATIENCE, || {
        stream.mean_duration(u32::from(MANY));
        seen = lab.places(family);
        let [first, elsewhere, _] = seen;
        (first > 3 * elsewhere).then_some(())
    });
    assert!(
        moved.is_some(),
        "at their first place, elsewhere, lost: {seen:?}: most are to move, seed {seed:#x}"
    );
}

/// Whenever the room changes flows are found where they were, judged as before, and take their records along.
#[rstest]
fn flows_take_their_records_along(#[values(V4, V6)] family: Family) {
    let (mut lab, places, rounds) = in_one_minute(Duration::from_secs(8), || in_other_rooms(family));
    let seed = lab.seed_of_places();
    for (sets, [first, elsewhere, lost]) in SETS.into_iter().zip(places) {
        assert_eq!(
            (first + elsewhere, lost),
            (FEW.into(), 0),
            "records in {sets} sets, and those left behind, seed {seed:#x}"
        );
    }
    let flows = lab.flows();
    assert_eq!(flows.len(), usize::from(FEW));
    for flow in flows {
        assert_eq!(flow.packets_fwd, rounds, "{flow:?}, seed {seed:#x}");
    }
}

/// Rooms of a table, one after the other.
const SETS: [u32; 6] = [512, 1_024, 512, 256, 1_024, 256];

/// A lab where few flows were in all of [`SETS`], the places of their records in each, and how often each was sent.
fn in_other_rooms(family: Family) -> (Lab, [[usize; 3]; 6], u64) {
    /// Longer than it takes until each was met in a tick in which it may move.
    const ROUNDS: u64 = 40;
    let mut lab = with_room(TENANTS);
    let mut rounds = 0;
    let mut send = |lab: &mut Lab| {
        for port in 1..=FEW {
            let packet = from(BLUE_A.on(family)).to(BLUE_B.on(family)).udp(53).from_port(port);
            lab.sent_by("a", packet).passes(SharedNetwork);
        }
        rounds += 1;
    };
    send(&mut lab);
    let places = SETS.map(|sets| {
        lab.use_sets(sets);
        (0..ROUNDS).for_each(|_| send(&mut lab));
        lab.places(family)
    });
    (lab, places, rounds)
}

/// What is not counted in a record takes no room: an answer behind its conversation's end is denied, packet by packet.
#[rstest]
fn who_is_not_counted_makes_no_room(#[values(V4, V6)] family: Family) {
    let mut lab = with_room(&format!("{TENANTS}{DIRECTION}"));
    let question = between(family, BLUE_A, DB);
    lab.sent_by("a", &question).passes(AllowedByRule);
    lab.sent_by("db", question.answer()).passes(Reply);
    let before = lab.sets_in_use();
    lab.silence(Duration::from_hours(3));
    for _ in 0..MANY {
        lab.sent_by("db", question.answer()).drops(DefaultDeny);
    }
    assert_eq!(lab.sets_in_use(), before);
}

/// Who tries one port after the other is counted, and takes little of the room that all have for what they are denied. What
/// a mode lets go on is all remembered: a policy is to be made of it.
#[rstest]
#[case::enforced(Mode::Enforce)]
#[case::observed(Mode::Observe)]
fn a_scan_is_counted_and_hardly_recorded(mut lab: Lab, #[case] mode: Mode, #[values(V4, V6)] family: Family) {
    lab.host_mode(mode);
    let begun = Instant::now();
    for port in 1..=MANY {
        let run = lab.sent_by("a", from(BLUE_A.on(family)).to(DB.on(family)).udp(port));
        if mode == Mode::Observe {
            run.would_drop(DefaultDeny)
        } else {
            run.drops(DefaultDeny)
        };
    }
    let seconds = begun.elapsed().as_secs() as u32 + 2;
    assert_eq!(
        lab.counters_of("a").sent_dropped.packets + lab.counters_of("a").sent.packets,
        u64::from(MANY)
    );
    let recorded = lab.flows().len() as u32;
    if mode == Mode::Observe {
        assert_eq!(recorded, u32::from(MANY));
    } else {
        let bounds = DENIED_PER_SECOND..=DENIED_PER_SECOND * seconds;
        assert!(
            bounds.contains(&recorded),
            "{recorded} of {MANY} denied flows recorded, which took {seconds} s"
        );
    }
}

/// Who is denied everywhere takes a place of another's only where he has none himself.
#[rstest]
fn who_tries_all_pushes_out_himself(#[values(V4, V6)] family: Family) {
    let sizes = Sizes { flows: MOST, denied: MOST, networks: 1_024, rules: 1_024, ..Sizes::default() };
    let mut lab = populated(Lab::loaded_with(&Options { sizes, ..Options::default() }));
    lab.apply(TENANTS);
    // So that a scan is recorded as fast as it comes.
    lab.host_mode(Mode::Observe);
    let mut send = |src: &str, address: Party, port: u16| {
        let packet = from(address.on(family)).to(OUTSIDER.on(family)).udp(53).from_port(port);
        lab.sent_by(src, packet).would_drop(DefaultDeny);
    };
    for port in 1..=FEW {
        send("b", BLUE_B, port);
    }
    for port in 1..=MOST as u16 {
        send("a", BLUE_A, port);
    }
    let (known, seed) = (lab.flows(), lab.seed_of_places());
    let left = known.iter().filter(|flow| flow.endpoint_src.as_deref() == Some("b")).count();
    // One key in 256 has both of its sets in one, and that may be full of b's: one table in a hundred.
    assert!(
        left > usize::from(FEW) * 9 / 10,
        "{left} flows of b, {FEW} were; of all {} are known, seed {seed:#x}",
        known.len()
    );
}

#[rstest]
fn the_kernels_tables_do_the_same(#[values(V4, V6)] family: Family) {
    let mut lab = populated(Lab::with_tables(TableKind::Kernel));
    lab.apply(TENANTS);
    let (allowed, denied) = (between(family, BLUE_A, BLUE_B), between(family, BLUE_A, DB));
    let processors = roam();
    for round in 0..3 {
        stay_on(processors[round % 2]);
        lab.sent_by("a", &allowed).passes(SharedNetwork).is_stamped_as("a");
        lab.delivered_to("b", &allowed).stamped_by("a").passes_counted_before();
        lab.sent_by("a", &denied).drops(DefaultDeny);
    }
    for (packet, verdict) in [(&allowed, "pass"), (&denied, "drop")] {
        let flow = lab.flow(packet);
        assert_eq!((flow.verdict.as_str(), flow.packets_fwd), (verdict, 3));
    }
}
