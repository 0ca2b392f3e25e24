//! Which tests run in a virtual machine, and in which groups they are counted.

use std::path::Path;

use anyhow::{Result, ensure};
use enforcer_guest::{Fault, Plan, REHEARSE, Test};

use super::emulator::Clock;
use super::kernel::Series;
use super::programs::Programs;

/// Tests that are counted together.
pub struct Group {
    /// What the table calls it.
    pub name: &'static str,
    /// What the clock of its machine counts.
    clock: Clock,
    program: &'static str,
    /// What the names of its tests begin with.
    prefixes: &'static [&'static str],
    /// Of those, the ones that run unless all are asked for: names that contain one of these.
    short: &'static [&'static str],
    /// On these kernels, unless they are asked for.
    kernels: &'static [Series],
    environment: &'static [(&'static str, &'static str)],
    /// Seconds that each may take: several times what it takes under emulation on a slow machine.
    limit: u64,
}

const ALL: &[Series] = &Series::ALL;
/// What the kernel's own devices send is much the same on each; the first that CI runs shows it.
const WITH_DEVICES: &[Series] = &[Series::V5_10];
/// One of those that have both generators, which drive one path: the other that CI runs.
const WITH_GENERATORS: &[Series] = &[Series::V6_12];
/// What a packet takes is our own programs' doing, and told on one that can run all of them: each further machine would
/// take a minute.
const WITH_FIGURES: &[Series] = &[Series::V6_12];
/// One of those that have nothing better than filters, and one that has links of tcx; what is on a hook besides is the same
/// on all of them.
const WITH_FILTERS: &[Series] = &[Series::V5_10];
const WITH_LINKS: &[Series] = &[Series::V6_12];

/// Tests of tables of the kernel's kind are the same tests once more.
const KERNEL_TABLES: (&str, &str) = ("ENFORCER_TABLES", "kernel");
/// Packets of random policies, few enough for a machine that is emulated.
const CASES: (&str, &str) = ("ENFORCER_CASES", "3");

/// A test belongs to the first group that it fits in, and once more to the first one with tables of the kernel's kind.
pub const GROUPS: [Group; 12] = [
    Group {
        name: "verifier",
        clock: Clock::Time,
        program: "prog_run",
        prefixes: &["budget::"],
        short: &["case_1_plain", "case_4_traced_with_exact_clock", "case_5_kernel_tables"],
        kernels: ALL,
        environment: &[],
        limit: 240,
    },
    Group {
        name: "cost",
        clock: Clock::Instructions,
        program: "prog_run",
        prefixes: &["cost::"],
        short: &[""],
        kernels: WITH_FIGURES,
        environment: &[],
        limit: 240,
    },
    Group {
        name: "differential",
        clock: Clock::Time,
        program: "prog_run",
        prefixes: &["differential::"],
        short: &["agree_about_conversations", "agree_about_lone_frames"],
        kernels: ALL,
        environment: &[CASES],
        limit: 300,
    },
    Group {
        name: "prog_run",
        clock: Clock::Time,
        program: "prog_run",
        prefixes: &[""],
        short: &PACKETS,
        kernels: ALL,
        environment: &[],
        limit: 120,
    },
    Group {
        name: "loss",
        clock: Clock::Time,
        program: "netns",
        prefixes: &["loss::"],
        short: &[""],
        kernels: ALL,
        environment: &[],
        limit: 300,
    },
    Group {
        name: "devices",
        clock: Clock::Time,
        program: "netns",
        prefixes: &["devices::"],
        short: &[""],
        kernels: WITH_DEVICES,
        environment: &[],
        limit: 240,
    },
    Group {
        name: "generators",
        clock: Clock::Time,
        program: "netns",
        prefixes: &["generators::"],
        short: &[""],
        kernels: WITH_GENERATORS,
        environment: &[],
        limit: 240,
    },
    Group {
        name: "filters",
        clock: Clock::Time,
        program: "netns",
        prefixes: &FILTERS,
        short: &[""],
        kernels: WITH_FILTERS,
        environment: &[],
        limit: 240,
    },
    Group {
        name: "links",
        clock: Clock::Time,
        program: "netns",
        prefixes: &["neighbours::other_tcx_programs_keep_their_places_and_run_on"],
        short: &[""],
        kernels: WITH_LINKS,
        environment: &[],
        limit: 240,
    },
    Group {
        name: "netns",
        clock: Clock::Time,
        program: "netns",
        prefixes: &[""],
        short: &HOSTS,
        kernels: ALL,
        environment: &[],
        limit: 240,
    },
    Group {
        name: "twin",
        clock: Clock::Time,
        program: "prog_run",
        prefixes: &["conversations::", "differential::", "fragments::", "modes::", "spoofing::", "verdict::"],
        short: &TWIN,
        kernels: ALL,
        environment: &[KERNEL_TABLES, CASES],
        limit: 300,
    },
    Group {
        name: "twin loss",
        clock: Clock::Time,
        program: "netns",
        prefixes: &["loss::"],
        short: &[""],
        kernels: ALL,
        environment: &[KERNEL_TABLES],
        limit: 300,
    },
];

impl Group {
    fn has_kernel_tables(&self) -> bool {
        self.environment.contains(&KERNEL_TABLES)
    }
}

/// One test for each kind of decision, and for every program.
const PACKETS: [&str; 11] = [
    "verdict::members_of_different_networks_do_not::case_1_there::family_2_V6",
    "conversations::who_was_asked_may_answer::case_1_tcp::family_1_V4",
    "conversations::an_answer_of_tcp_acknowledges_or_resets::family_2_V6",
    "fragments::the_guard_hears_the_first_fragment_too::family_1_V4",
    "modes::each_packet_is_counted_once::family_1_V4",
    "outside::what_comes_in_has_the_next_frame_and_is_counted_where_it_ends::family_1_Family__V4",
    "outside::what_leaves_is_counted_has_a_hop_less_and_bears_its_stamp::family_2_Family__V6::hops_1_2",
    "shortcuts::a_router_counts_the_hop_and_writes_the_next_frame::family_1_Family__V4::hops_1_2",
    "spoofing::a_local_source_is_believed_only_with_its_own_stamp::family_2_V6",
    "spoofing::nobody_sends_with_an_address_of_somebody_else::case_3_the_host::family_1_V4",
    "uplink::nobody_outside_has_an_address_of_this_host::family_1_V4",
];

/// Of those, where the kind of tables could matter; and random ones.
const TWIN: [&str; 6] = [
    "agree_about_conversations",
    "verdict::members_of_different_networks_do_not::case_1_there::family_2_V6",
    "conversations::who_was_asked_may_answer::case_1_tcp::family_1_V4",
    "fragments::the_guard_hears_the_first_fragment_too::family_1_V4",
    "modes::each_packet_is_counted_once::family_1_V4",
    "spoofing::a_local_source_is_believed_only_with_its_own_stamp::family_2_V6",
];

/// One test for each way in which the daemon meets the kernel; the loss run kills and replaces it.
const HOSTS: [&str; 11] = [
    "gate::nobody_hears_a_newcomer_that_is_not_enforced::wiring_1_Wiring__Routed::fate_1_Fate__Idle",
    "guard::the_guard_of_a_veth_drops_what_its_endpoint_must_not_send",
    "hostile::each_frame_is_dropped_for_its_reason",
    "isolation::networks_span_subnets_and_double_members_reach_both",
    "outside::what_nothing_is_in_the_way_of_goes_straight::case_1_routed::family_1_Family__V4",
    "path_mtu::both_ends_learn_the_path_mtu_from_their_host",
    "shortcuts::pieces::super_packets_of_udp_go_straight_where_the_kernel_measures_them::layout_1_Layout__Routed::family_1_Family__V4",
    "shortcuts::what_nothing_is_in_the_way_of_goes_straight::case_1_routed::family_2_Family__V6",
    "shortcuts::what_nothing_is_in_the_way_of_goes_straight::case_2_bridged::family_1_Family__V4",
    "shortcuts::who_has_no_hop_left_is_told_by_the_host",
    "uplinks::nobody_outside_pretends_to_be_from_here",
];

/// Those about filters on a clsact qdisc.
const FILTERS: [&str; 5] = [
    "clsact::clsact_enforces_survives_and_is_cleaned",
    "clsact::no_filter_of_somebody_else_accepts_a_packet_past_ours",
    "clsact::replacing_filters_loses_no_packet_and_lets_none_through",
    "neighbours::filters_and_qdiscs_of_others_stay_as_they_are",
    "reconcile::filters_come_back",
];

/// Under emulation everything takes longer, and the tests wait for it.
const SLOW: (&str, &str) = ("ENFORCER_SLOWNESS", "6");

/// Which of the tests to run.
pub enum Choice<'a> {
    /// Those that show that everything works on the kernel.
    Short,
    /// All.
    All,
    /// Those of these groups, and those whose names contain one of these.
    Named(&'a [String]),
}

/// The plans for a kernel, one for each kind of machine; their modules are still missing. As many tests run at a time as
/// there are processors: while one polls for what it waits for, a second one on the same processor took four times as
/// long as alone.
pub fn plans(
    programs: &Programs,
    choice: &Choice<'_>,
    series: Series,
    processors: usize,
) -> Result<Vec<(Clock, Plan)>> {
    let mut tests: Vec<(&Group, Test)> = Vec::new();
    for program in ["prog_run", "netns"] {
        let path = programs.path(program)?;
        for name in programs.tests(program)? {
            let groups = groups_of(program, &name).filter(|group| chosen(group, &name, choice, series));
            tests.extend(groups.map(|group| (group, test(group, path, name.clone()))));
        }
    }
    ensure!(!tests.is_empty(), "no test has such a name");
    tests.sort_by_key(|(group, _)| GROUPS.iter().position(|other| other.name == group.name));
    let plan = |clock| {
        let parallel = if clock == Clock::Time { processors } else { 1 };
        let own = tests.iter().filter(|(group, _)| group.clock == clock);
        let tests: Vec<Test> = own.map(|(_, test)| test.clone()).collect();
        (!tests.is_empty()).then_some((clock, Plan { modules: Vec::new(), parallel, tests }))
    };
    Ok(Clock::ALL.into_iter().filter_map(plan).collect())
}

/// A plan with a fault in the place of a test.
pub fn rehearsal(programs: &Programs, fault: Fault) -> Result<Vec<(Clock, Plan)>> {
    let test = Test {
        group: REHEARSE.to_owned(),
        name: fault.name().to_owned(),
        program: programs.path("guest")?.to_owned(),
        arguments: vec![REHEARSE.to_owned(), fault.name().to_owned()],
        environment: Vec::new(),
        limit: 10,
    };
    Ok(vec![(Clock::Time, Plan { modules: Vec::new(), parallel: 1, tests: vec![test] })])
}

/// Parts of the names of tests that take this long under emulation: they fill a table to the brim, or a host, or start
/// the daemon again and again.
const LONG: [&str; 3] = [
    "a_table_that_is_full_is_told_and_heals",
    "a_thousand_workloads_that_came_and_went_leave_nothing",
    "interrupted::",
];
/// Seconds that each of them may take.
const LONG_LIMIT: u64 = 400;

fn test(group: &Group, program: &Path, name: String) -> Test {
    let environment = [SLOW].into_iter().chain(group.environment.iter().copied());
    Test {
        group: group.name.to_owned(),
        program: program.to_owned(),
        arguments: vec!["--exact".to_owned(), "--nocapture".to_owned(), name.clone()],
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        limit: if LONG.iter().any(|long| name.contains(long)) { LONG_LIMIT } else { group.limit },
        name,
    }
}

fn groups_of(program: &str, name: &str) -> impl Iterator<Item = &'static Group> {
    let fits = |group: &Group| {
        group.program == program && group.prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let first = |of_kernel| GROUPS.iter().find(|group| group.has_kernel_tables() == of_kernel && fits(group));
    [first(false), first(true)].into_iter().flatten()
}

fn chosen(group: &Group, name: &str, choice: &Choice<'_>, series: Series) -> bool {
    match choice {
        Choice::All => true,
        Choice::Short => {
            group.kernels.contains(&series) && group.short.iter().any(|part| name.contains(part))
        }
        Choice::Named(filters) => {
            filters.iter().any(|filter| group.name == filter.as_str() || name.contains(filter.as_str()))
        }
    }
}
