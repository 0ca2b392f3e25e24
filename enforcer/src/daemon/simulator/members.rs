//! Lives in which addresses change hands between containers of which different things are known.

use std::rc::Rc;

use super::{
    disk::FakeDisk,
    faults::{
        Fault::{DieAfter, Refuse},
        Faults,
    },
    host::LABELS,
    kernel::FakeKernel,
    live,
    pool::POOL,
    trace::Step::{self, *},
    world::live_on_unsaved,
};
use crate::{
    daemon::{
        policies::{Policies, compile},
        store::Store,
    },
    policy::{Ids, Labels},
};

/// Policies in which the team is a network by its label.
const BY_LABEL: [usize; 2] = [6, 7];
/// 10.1.0.5.
const MASK: u8 = 1;

/// Nothing is ever known of the first interface, the second is the team's and has the address.
const BEGIN: [Step; 4] = [
    Add { ifindex: 1, name: 0, mask: 0, routed: true },
    Add { ifindex: 2, name: 1, mask: MASK, routed: true },
    Overrun,
    Containers,
];

/// The second is gone, and the first has its address; the daemon sees both at once.
const HANDED_ON: [Step; 4] =
    [Remove { ifindex: 2 }, Readdress { ifindex: 1, mask: MASK, routed: true }, Lose { place: 0 }, Look];

#[track_caller]
fn is_well(parts: &[&[Step]]) {
    let steps = parts.concat();
    if let Err(violation) = live(&steps) {
        panic!("{violation}\n{steps:?}");
    }
}

fn applies() -> impl Iterator<Item = [Step; 1]> {
    let all = BY_LABEL.into_iter().flat_map(|policy| [None, Some(30)].map(|confirm| (policy, confirm)));
    all.map(|(policy, confirm)| [Apply { policy, confirm }])
}

#[test]
fn an_address_that_changes_hands_loses_what_was_known_of_it() {
    for apply in applies() {
        is_well(&[&apply, &BEGIN, &HANDED_ON]);
        is_well(&[&apply, &BEGIN, &[Lose { place: 0 }], &HANDED_ON[..2], &[Look]]);
    }
}

#[test]
fn what_the_kernel_does_not_forget_is_not_handed_on() {
    for apply in applies() {
        for from in 0..8 {
            for count in 1..6 {
                let refused = [Fault(Refuse { from, count, errno: 12 })];
                let (changes, looks) = HANDED_ON.split_at(3);
                is_well(&[&apply, &BEGIN, changes, &refused, looks, &refused, looks]);
            }
        }
    }
}

#[test]
fn a_daemon_that_dies_in_between_leaves_nobody_as_somebody_else() {
    for apply in applies() {
        for at in 0..12 {
            let (changes, looks) = HANDED_ON.split_at(3);
            is_well(&[&apply, &BEGIN, changes, &[Fault(DieAfter(at))], looks]);
            is_well(&[&apply, &BEGIN, &[Fault(DieAfter(at)), Containers], changes, looks]);
        }
    }
}

#[test]
fn what_changes_while_no_daemon_runs_is_found_by_the_next() {
    for apply in applies() {
        is_well(&[&apply, &BEGIN, &HANDED_ON[..2], &[Restart, Look, Containers]]);
        is_well(&[&apply, &BEGIN, &[Restart], &HANDED_ON]);
    }
}

#[test]
fn the_id_of_a_namespace_that_is_gone_says_nothing_of_the_next() {
    // The fifth interface is one of which nothing is known, and it gets the second's id.
    let busy = [
        Add { ifindex: 3, name: 2, mask: 0, routed: true },
        Add { ifindex: 4, name: 3, mask: 0, routed: true },
    ];
    let replaced = [
        AskContainers,
        Remove { ifindex: 2 },
        Add { ifindex: 5, name: 1, mask: MASK, routed: true },
        Lose { place: 1 },
        Look,
        Deliver { place: 0 },
        Look,
        Look,
    ];
    for apply in applies() {
        is_well(&[&apply, &BEGIN, &busy, &[Overrun], &replaced]);
        // The look under way when they were asked for saw the one before.
        let overtaken = [LookAhead, AskContainers, Remove { ifindex: 2 }];
        let next = [Deliver { place: 1 }, Deliver { place: 0 }, Look, Look];
        is_well(&[&apply, &BEGIN, &busy, &[Overrun], &overtaken, &replaced[2..3], &next]);
    }
}

#[test]
fn what_is_refused_to_the_kernel_is_not_learned_of_it() {
    for apply in applies() {
        for from in 0..8 {
            let refused = [Fault(Refuse { from, count: 1, errno: 28 })];
            // The first has the address, and gives it to the second.
            let begin = [
                Add { ifindex: 1, name: 0, mask: MASK, routed: true },
                Add { ifindex: 2, name: 1, mask: 0, routed: true },
                Look,
                Containers,
            ];
            let change = [
                Readdress { ifindex: 1, mask: 0, routed: true },
                Readdress { ifindex: 2, mask: MASK, routed: true },
            ];
            is_well(&[&apply, &begin, &change, &refused, &[Look]]);
        }
    }
}

#[test]
fn a_trial_that_ends_leaves_its_fallback_with_todays_members() {
    let applies = [Apply { policy: 6, confirm: None }, Apply { policy: 7, confirm: Some(20) }];
    for end in [
        &[Wait { seconds: 25 }][..],
        &[Wait { seconds: 25 }, Tick],
        &[Rollback { named: false, is_alone: false }],
    ] {
        is_well(&[&applies, &BEGIN, &HANDED_ON, end, &[Look]]);
        is_well(&[&BEGIN, &applies, &HANDED_ON, end, &[Look]]);
        for at in 0..10 {
            is_well(&[&applies, &BEGIN, &HANDED_ON[..3], &[Fault(DieAfter(at)), Look], end]);
        }
    }
}

#[test]
fn what_nobody_knows_the_meaning_of_any_more_is_not_handed_on() {
    for apply in applies() {
        for told in [&[Containers][..], &[]] {
            let (before, after) = ([&apply[..], &BEGIN].concat(), [told, &HANDED_ON].concat());
            live_on_unsaved(&before, &after).unwrap();
        }
    }
}

/// An earlier daemon's, with nothing of it saved any more.
fn found(policy: usize) -> (Policies<FakeDisk>, FakeKernel) {
    let faults = Rc::<Faults>::default();
    let mut kernel = FakeKernel { machine: Rc::default(), faults: faults.clone() };
    let open =
        |kernel: &FakeKernel| Policies::open(kernel, Store::on(FakeDisk::new(faults.clone()))).unwrap();
    let prepared = compile(POOL[policy].policy.clone(), &Ids::default()).unwrap();
    open(&kernel).apply(&mut kernel, prepared, None).unwrap();
    (open(&kernel), kernel)
}

#[test]
fn a_policy_that_is_not_saved_keeps_nobody_waiting_if_labels_mean_nothing_to_it() {
    let mut labels = Labels::none();
    labels.add(LABELS[0], "10.1.0.5/32".parse().unwrap());
    let (mut without, mut kernel) = found(1);
    assert!(without.saved().is_none() && !without.depends_on_labels());
    assert!(!without.follow(&mut kernel, &labels).unwrap());
    let (mut with, mut kernel) = found(BY_LABEL[0]);
    assert!(with.saved().is_none() && with.depends_on_labels());
    let refused = with.follow(&mut kernel, &labels).unwrap_err().to_string();
    assert!(refused.contains("`enforcer apply`"), "{refused}");
}
