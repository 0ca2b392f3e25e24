//! What only some kernels have: what is used of it on this one, and what stands in for the rest.

use std::collections::BTreeMap;

use crate::datapath::{attach::Mechanism, probe};

/// Something that only some kernels have.
struct Feature {
    /// What it is for.
    name: &'static str,
    is_there: fn() -> bool,
    /// What is used where it is there.
    uses: &'static str,
    /// What is used elsewhere.
    instead: &'static str,
    /// What is lacking there, and the release or option that has it.
    lacks: &'static str,
}

const ALL: [Feature; 6] = [
    Feature {
        name: ATTACH,
        is_there: probe::tcx,
        uses: "tcx links",
        instead: "clsact filters",
        lacks: "tcx links (6.6)",
    },
    Feature {
        name: "clock",
        is_there: || probe::ticks().is_some(),
        uses: "ticks",
        instead: "exact",
        lacks: "a timer of high resolution",
    },
    Feature {
        name: "kernel types",
        is_there: probe::kernel_types,
        uses: "not needed",
        instead: "not needed",
        lacks: "BTF (CONFIG_DEBUG_INFO_BTF)",
    },
    Feature {
        name: "memory",
        is_there: probe::counted_memory,
        uses: "counted for the control group",
        instead: "locked, its limit lifted",
        lacks: "counting for control groups (5.11)",
    },
    Feature {
        name: "pieces",
        is_there: probe::measured_pieces,
        uses: "measured on the fast path",
        instead: "by the host's stack, but those of TCP",
        lacks: "a measure of what packets are cut into (5.12)",
    },
    Feature {
        name: "prefixes",
        is_there: probe::prefix_batches,
        uses: "written in batches",
        instead: "written one by one",
        lacks: "batches of prefixes (5.12)",
    },
];

const ATTACH: &str = "attach";

/// What is used, by name.
pub(super) fn in_use(attach: Mechanism) -> BTreeMap<String, String> {
    let uses = |feature: &Feature| match (feature.name, attach, (feature.is_there)()) {
        (ATTACH, Mechanism::Clsact, true) => "clsact filters, as the host file says",
        (_, _, true) => feature.uses,
        (_, _, false) => feature.instead,
    };
    ALL.iter().map(|feature| (feature.name.to_owned(), uses(feature).to_owned())).collect()
}

/// What this kernel lacks, by the same names.
pub(super) fn lacking() -> BTreeMap<String, String> {
    let missing = ALL.iter().filter(|feature| !(feature.is_there)());
    missing.map(|feature| (feature.name.to_owned(), feature.lacks.to_owned())).collect()
}
