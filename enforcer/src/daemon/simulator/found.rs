//! Lives that went wrong once, as short as they became: what is mended stays mended.

use std::{path::Path, rc::Rc, time::Duration};

use super::{
    disk::FakeDisk,
    faults::{
        Fault::{DieAfter, DieBefore, Refuse},
        Faults,
    },
    host::CONFIG,
    kernel::FakeKernel,
    live,
    pool::POOL,
    trace::{
        self,
        Step::{self, *},
    },
};
use crate::{
    config::Config,
    daemon::{
        disk::Disk,
        policies::{Policies, compile},
        store::{Saved, Store},
    },
};

/// What was to go wrong did, and all is well.
#[track_caller]
fn is_well(steps: &[Step]) {
    let faults = struck(steps);
    let is_faultless = steps.iter().all(|step| !matches!(step, Fault(_)));
    assert!(is_faultless || faults > 0, "no operation of {steps:?} went wrong");
}

/// The same whichever operation it is that goes wrong: their number changes with the daemon.
#[track_caller]
fn is_well_wherever<const STEPS: usize>(steps: impl Fn(u8) -> [Step; STEPS]) {
    let faults: u32 = (0..9).map(|operation| struck(&steps(operation))).sum();
    assert!(faults > 0, "no operation of {:?} and its like went wrong", steps(0));
}

/// All is well; how many operations went wrong.
#[track_caller]
fn struck(steps: &[Step]) -> u32 {
    live(steps).unwrap_or_else(|violation| panic!("{violation}")).faults
}

#[test]
fn what_awaited_confirmation_does_not_outlive_a_boot() {
    is_well(&[Apply { policy: 2, confirm: Some(47) }, Reboot { is_undone: true }]);
}

#[test]
fn a_policy_that_could_not_be_restored_is_tried_again() {
    let refused = Fault(Refuse { from: 1, count: 2, errno: 12 });
    is_well(&[Apply { policy: 2, confirm: None }, refused, Reboot { is_undone: true }]);
}

#[test]
fn what_was_never_restored_is_nothing_to_fall_back_to() {
    let refused = Fault(Refuse { from: 0, count: 3, errno: 19 });
    is_well(&[
        Apply { policy: 4, confirm: None },
        refused,
        Reboot { is_undone: true },
        Apply { policy: 4, confirm: Some(23) },
    ]);
}

#[test]
fn the_ids_of_what_was_rolled_back_are_nobody_elses_after_a_restart() {
    is_well(&[
        Apply { policy: 1, confirm: Some(51) },
        Rollback { named: false, is_alone: false },
        Restart,
        Apply { policy: 2, confirm: Some(26) },
    ]);
}

#[test]
fn what_awaits_confirmation_outlives_a_daemon_that_died_over_the_next() {
    is_well(&[
        Apply { policy: 2, confirm: Some(16) },
        Fault(DieAfter(3)),
        Apply { policy: 1, confirm: Some(5) },
        Confirm { is_alone: false },
    ]);
}

#[test]
fn what_ended_leaves_nothing_on_the_disk_though_the_daemon_died() {
    is_well(&[
        Apply { policy: 4, confirm: Some(24) },
        Wait { seconds: 36 },
        Fault(DieBefore(0)),
        Apply { policy: 2, confirm: None },
    ]);
}

#[test]
fn links_of_what_has_no_record_any_more_are_taken_off() {
    is_well(&[
        Add { ifindex: 3, name: 0, mask: 6, routed: true },
        Overrun,
        Rename { ifindex: 3, name: 6 },
        Fault(DieAfter(1)),
        Restart,
    ]);
}

#[test]
fn an_index_used_again_inherits_nothing_though_nobody_heard() {
    is_well(&[
        Add { ifindex: 4, name: 3, mask: 48, routed: false },
        Look,
        Remove { ifindex: 4 },
        Add { ifindex: 4, name: 1, mask: 3, routed: true },
    ]);
}

#[test]
fn an_index_and_a_name_used_again_inherit_nothing() {
    is_well(&[
        Add { ifindex: 1, name: 2, mask: 34, routed: false },
        Look,
        Remove { ifindex: 1 },
        Add { ifindex: 1, name: 2, mask: 8, routed: false },
        Damage { ifindex: 1, what: trace::Damage::Record },
    ]);
}

#[test]
fn a_guard_that_could_not_be_taken_off_is_taken_off_later() {
    is_well(&[
        Add { ifindex: 1, name: 5, mask: 20, routed: true },
        Look,
        Rename { ifindex: 1, name: 0 },
        Fault(Refuse { from: 0, count: 3, errno: 1 }),
        Overrun,
    ]);
}

#[test]
fn the_record_of_an_uplink_that_is_gone_goes_though_refused_once() {
    is_well_wherever(|from| {
        [
            Add { ifindex: 4, name: 4, mask: 6, routed: false },
            Restart,
            Remove { ifindex: 4 },
            Fault(Refuse { from, count: 2, errno: 19 }),
            Restart,
        ]
    });
}

#[test]
fn what_could_not_be_confirmed_does_not_stand_in_for_a_policy_after_a_boot() {
    for count in 1..3 {
        is_well_wherever(|from| {
            [
                Apply { policy: 5, confirm: Some(55) },
                Fault(Refuse { from, count, errno: 19 }),
                Confirm { is_alone: false },
                Reboot { is_undone: true },
            ]
        });
    }
}

#[test]
fn what_was_judged_on_trial_does_not_stand_after_it() {
    for next in [0, 5] {
        is_well(&[
            Apply { policy: 1, confirm: None },
            Apply { policy: 2, confirm: Some(10) },
            Rollback { named: false, is_alone: false },
            Apply { policy: next, confirm: None },
        ]);
    }
}

#[test]
fn an_edit_of_who_is_known_by_labels_may_be_about_everybody() {
    is_well(&[
        Apply { policy: 1, confirm: None },
        Apply { policy: 2, confirm: None },
        Apply { policy: 6, confirm: None },
    ]);
}

#[test]
fn what_the_kernel_refuses_to_restore_is_not_kept_again_and_again() {
    let config = Config::parse(Path::new("enforcer.toml"), CONFIG).unwrap();
    let faults = Rc::<Faults>::default();
    let mut disk = FakeDisk::new(faults.clone());
    let saved = Saved { number: 1, policy: POOL[1].policy.clone(), ..Saved::default() };
    let mut store = Store::on(disk.clone());
    store.draft_beside(&saved, || ()).unwrap();
    store.promote(1).and_then(|()| store.conclude(1, None)).unwrap();
    disk.write("policy.json", b"damaged").unwrap();
    let mut kernel = FakeKernel { machine: Rc::default(), faults: faults.clone() };
    let mut policies = Policies::open(&kernel, Store::on(disk.clone())).unwrap();
    // The first of them are the disk's.
    for from in 0..6 {
        faults.begin(Some(Refuse { from, count: 1, errno: libc::ENOMEM }));
        policies.restore(&mut kernel, &config);
        faults.begin(None);
        if kernel.machine.borrow().deciding().is_some() {
            break;
        }
        let mut names = disk.names();
        names.retain(|name| name != "ids.json");
        assert_eq!(names, ["generations/1.json", "policy.json"], "operation {from} was refused");
    }
    assert!(faults.struck() > 0, "nothing was refused");
    policies.restore(&mut kernel, &config);
    assert!(kernel.machine.borrow().deciding().is_some());
}

#[test]
fn a_confirmation_that_came_too_late_does_not_hold() {
    let mut faults = [[0; 9]; 9];
    for died in 0..9 {
        for again in 0..9 {
            faults[usize::from(died)][usize::from(again)] = struck(&[
                Apply { policy: 1, confirm: None },
                Apply { policy: 2, confirm: Some(10) },
                Fault(DieAfter(died)),
                Absence { seconds: 20 },
                Confirm { is_alone: false },
                Fault(DieAfter(again)),
                Restart,
                Restart,
            ]);
        }
    }
    assert!(faults.as_flattened().contains(&2), "it never died twice: {faults:?}");
}

#[test]
fn a_confirmation_that_came_too_late_leaves_nothing_where_nothing_was() {
    let config = Config::parse(Path::new("enforcer.toml"), CONFIG).unwrap();
    let mut deaths = 0;
    for died in 0..9 {
        let faults = Rc::<Faults>::default();
        let disk = FakeDisk::new(faults.clone());
        let mut kernel = FakeKernel { machine: Rc::default(), faults: faults.clone() };
        let next = |kernel: &FakeKernel| Policies::open(kernel, Store::on(disk.clone())).unwrap();
        let mut policies = next(&kernel);
        policies.restore(&mut kernel, &config);
        let prepared = compile(POOL[1].policy.clone(), policies.ids()).unwrap();
        let number =
            policies.apply(&mut kernel, prepared, Some(Duration::from_secs(10))).unwrap().deciding.number;
        // A confirmation comes as far as the disk.
        Store::on(disk.clone()).promote(number).unwrap();
        kernel.machine.borrow_mut().now += 20_000_000_000;
        faults.begin(Some(DieAfter(died)));
        drop(next(&kernel).expire(&mut kernel));
        deaths += faults.struck();
        faults.begin(None);
        faults.revive();
        for _ in 0..2 {
            next(&kernel).restore(&mut kernel, &config);
        }
        assert!(kernel.machine.borrow().deciding().is_none(), "it died after operation {died}");
        let names: Vec<String> = disk.names().into_iter().filter(|name| name != "ids.json").collect();
        assert!(names.is_empty(), "it died after operation {died}, and left {names:?}");
    }
    assert!(deaths > 0, "it never died");
}
