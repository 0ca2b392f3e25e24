//! The laboratory: a container host, its workloads and their traffic, made of network namespaces.
//!
//! A test builds a [`Host`], hangs [`Workload`]s on it, starts a [`Daemon`] and asks who reaches whom:
//!
//! ```no_run
//! use enforcer_tests::{Daemon, Host, traffic};
//!
//! let host = Host::new("isolation");
//! let web = host.workload("web").at("10.1.0.5/24").routed();
//! let db = host.workload("db").at("10.9.0.5/24").bridged();
//! let daemon = Daemon::start(&host);
//! daemon.apply("version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\"]\n");
//! daemon.wait_ready(&[web.interface(), db.interface()]);
//! assert!(!traffic::tcp(&web, db.ipv4(), traffic::ECHO_PORT));
//! ```
//!
//! Below that, [`prog_run`] hands single [`packet`]s to the programs, with no traffic at all.
//!
//! Everything stands inside namespaces of its own, so the machine's own network stays untouched, and everything
//! goes away with the values that own it. What a killed process left behind, the next one sweeps.

pub mod beyond;
pub mod bridge;
pub mod bytecode;
pub mod capture;
mod carrier;
pub mod cgroup;
pub mod command;
pub mod connection;
pub mod cost;
pub mod daemon;
pub mod docker;
pub mod earlier;
pub mod echo;
pub mod fabric;
pub mod flood;
pub mod foreign;
pub mod hooks;
pub mod host;
pub mod icmp;
pub mod kernel;
pub mod leftovers;
pub mod live_frames;
pub mod loss;
pub mod mark;
pub mod matrix;
pub mod mounts;
pub mod netns;
pub mod numbered;
pub mod packet;
pub mod ping;
pub mod pktgen;
pub mod processor;
pub mod prog_run;
pub mod proxy;
pub mod router;
pub mod scratch;
pub mod snmp;
pub mod spoof;
pub mod tables;
pub mod tally;
pub mod tcx;
pub mod traffic;
pub mod wait;
pub mod workload;

pub use daemon::Daemon;
pub use host::Host;
pub use netns::NetNs;
pub use numbered::Numbered;
pub use workload::Workload;
