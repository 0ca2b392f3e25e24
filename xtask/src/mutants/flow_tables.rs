//! Mistakes in how flows keep their places, and their records.

use crate::mutant::Mutant;

const DATAPATH: &str = "enforcer-ebpf/src/flow_table.rs";
const MOVING: &str = "enforcer-ebpf/src/flow_table/moving.rs";
const ROOM: &str = "enforcer-common/src/flow_table/room.rs";

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "flow-left-where-it-was",
        file: DATAPATH,
        text: "    if found.is_some() || !room.has_changed(now) {",
        replacement: "    if found.is_some() || now != 0 || !room.has_changed(now) {",
        breaks: "a table that grows leaves the records of its flows behind",
    },
    Mutant {
        name: "flow-moved-without-its-counts",
        file: MOVING,
        text: "FlowEntry { verdict: 0, ..entry });",
        replacement: "FlowEntry { verdict: 0, packets: 0, ..entry });",
        breaks: "a flow that moves is told as if it had just begun",
    },
    Mutant {
        name: "room-stays-large",
        file: ROOM,
        text: "if self.mask >= FIRST_SETS && flows < self.places() / SPARSE {",
        replacement: "if self.mask >= FIRST_SETS && flows < self.places() / self.places() {",
        breaks: "few flows lie far apart for good once there were many",
    },
];
