//! What the programs cost the verifier and the kernel.

use enforcer::datapath::{
    load::{Options, PROGRAMS},
    sizes::{Sizes, TableKind},
};
use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_guest::figure::{Figure, Quantity};
use enforcer_tests::{
    kernel::{self, Feature},
    packet::{BLUE_A, BLUE_B, DB, Family::*},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, between};

/// Instructions that the verifier may walk per program; its own limit is a million.
const VERIFIED_INSTRUCTIONS: u32 = 90_000;

/// Bytes that tracing takes at least: one record is dozens of instructions of eight bytes.
const ONE_RECORD: u32 = 20 * 8;

/// Bytes of a program behind the verifier, dead code removed.
fn sizes(lab: &mut Lab) -> [u32; 4] {
    PROGRAMS.map(|name| lab.program(name).size_translated().expect("root may ask for it"))
}

#[rstest]
#[case::plain("", false, false, TableKind::Own)]
#[case::exact_clock(", exact clock", false, true, TableKind::Own)]
#[case::traced(", traced", true, false, TableKind::Own)]
#[case::traced_with_exact_clock(", traced, exact clock", true, true, TableKind::Own)]
#[case::kernel_tables(", tables = \"kernel\"", false, false, TableKind::Kernel)]
fn the_verifier_stays_within_its_budget(
    #[case] variant: &str,
    #[case] trace: bool,
    #[case] exact_clock: bool,
    #[case] tables: TableKind,
) {
    let sizes = Sizes { tables, ..Sizes::default() };
    let mut lab = Lab::loaded_with(&Options { trace, exact_clock, sizes, ..Options::default() });
    for name in PROGRAMS {
        let program = lab.program(name);
        let of =
            |quantity, value: u32| Figure { quantity, name: format!("{name}{variant}"), value: value.into() };
        of(Quantity::Translated, program.size_translated().expect("root may ask for it")).say();
        let Some(verified) = program.verified_instruction_count() else {
            kernel::leave_out(Feature::VerifiedCounts);
            continue;
        };
        of(Quantity::Verified, verified).say();
        assert!(verified <= VERIFIED_INSTRUCTIONS, "{name} costs {verified} instructions to verify");
    }
}

#[test]
fn tracing_costs_nothing_while_it_is_off() {
    let traced = sizes(&mut Lab::loaded_with(&Options { trace: true, ..Options::default() }));
    let plain = sizes(&mut Lab::with_tables(TableKind::Own));
    println!("translated bytes: {plain:?} without trace, {traced:?} with");
    for (plain, traced) in plain.into_iter().zip(traced) {
        assert!(plain + ONE_RECORD <= traced, "{plain} bytes without trace, {traced} with");
    }
}

#[test]
fn tracing_changes_no_verdict() {
    let mut lab = Lab::loaded_with(&Options { trace: true, ..Options::default() });
    lab.endpoint("a").owns([BLUE_A]);
    lab.apply(TENANTS);
    for family in [V4, V6] {
        for _ in 0..2 {
            lab.sent_by("a", between(family, BLUE_A, BLUE_B)).passes(SharedNetwork).is_stamped_as("a");
            lab.sent_by("a", between(family, BLUE_A, DB)).drops(DefaultDeny);
        }
    }
}
