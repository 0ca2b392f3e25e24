//! Packet + tables → verdict, reason, packet out and counters, through `BPF_PROG_TEST_RUN`: nothing is
//! attached, no traffic flows.

mod accounting;
mod audits;
mod budget;
mod connections;
mod conversations;
mod cost;
mod dhcp;
mod differential;
mod edits;
mod errors;
mod flood;
mod flow_tables;
mod fragments;
mod generations;
mod host;
mod host_asks;
mod link_local;
mod masked;
mod modes;
mod neighbor;
mod outside;
mod parse;
mod protocols;
mod quotes;
mod seeded;
mod shortcuts;
mod spoofing;
mod uplink;
mod verdict;

use enforcer_tests::{
    cost::NETWORKS,
    packet::{BLUE_A, BLUE_B, DB, Family, HOST, Packet, Party, from},
    prog_run::Lab,
};
use rstest::fixture;

/// Two networks over several subnets.
const TENANTS: &str = NETWORKS;

/// *blue* may ask *db*, and not the other way around.
const DIRECTION: &str = r#"
[[rule]]
name = "db"
from = ["blue"]
to = ["db"]
allow = ["tcp/5432", "udp/53", "sctp/3868", "ping"]
"#;

/// A connection attempt between two parties.
fn between(family: Family, src: Party, dst: Party) -> Packet {
    from(src.on(family)).to(dst.on(family)).tcp(5432)
}

/// A host with two endpoints of *blue* (`a` and `b`) and one of *db*; nothing decides yet.
fn without_policy() -> Lab {
    populated(Lab::new())
}

/// The same, however the lab was made.
fn populated(mut lab: Lab) -> Lab {
    lab.endpoint("a").owns([BLUE_A]);
    lab.endpoint("b").owns([BLUE_B]);
    lab.endpoint("db").owns([DB]);
    lab.host_owns([HOST]);
    lab
}

/// The same, with networks and a rule.
#[fixture]
fn ruled() -> Lab {
    let mut lab = without_policy();
    lab.apply(&format!("{TENANTS}{DIRECTION}"));
    lab
}

/// The same, with the networks of its endpoints.
#[fixture]
fn lab() -> Lab {
    let mut lab = without_policy();
    lab.apply(TENANTS);
    lab
}
