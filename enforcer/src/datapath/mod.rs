//! The datapath from outside: loading it, attaching it, filling its tables and reading them back.
//!
//! [`load`] → [`attach`] brings the programs to the veths, [`guard`] the early one to whatever wants it, [`gate`]
//! holds back whom they have not reached yet; [`bank`] builds and publishes a policy,
//! [`facts`] writes who owns what; [`flows`] and [`counters`] read. Everything is pinned (see [`pins`]),
//! so all of it outlives the process and can be opened again without a daemon.

pub mod attach;
pub mod bank;
pub mod bpf;
mod contents;
mod conversations;
pub mod counters;
pub mod events;
pub mod facts;
pub mod filters;
mod flow_table;
pub mod flows;
pub mod gate;
mod grace;
pub mod guard;
pub mod holds;
mod install;
pub mod load;
pub mod memory;
pub mod migrate;
pub mod nft;
pub mod pins;
mod prefixes;
pub mod probe;
pub mod shortcuts;
pub mod sizes;
pub mod tables;
