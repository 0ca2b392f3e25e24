//! A Docker engine on a host of the lab: its own socket, data, containers and image, and no registry.
//!
//! ```no_run
//! use enforcer_tests::docker::Engine;
//! use enforcer_tests::{Daemon, Host, traffic};
//!
//! let host = Host::new("docker");
//! let engine = Engine::start(&host, &["--userland-proxy=false"]);
//! engine.network("front", "10.61.0.0/24", &[]);
//! let web = engine.container("web").on("front").label("enforcer.network=blue").publish("8080:5432").run();
//! let daemon = Daemon::start_with(&host, &engine.host_file());
//! daemon.wait_ready(&[&web.interface()]);
//! assert!(traffic::ping(&web, "10.61.0.1".parse().unwrap()));
//! ```
//!
//! The engine runs in the host's network namespace, so bridges, veths and rules of netfilter are there. What it mounts
//! is seen by nobody else. Whatever happens to the test, all of it ends: processes are found by the host's
//! namespace and by their control group, which bears the name of the test's process.

mod client;
mod container;
mod engine;
mod image;

pub use client::Client;
pub use container::{Container, NewContainer};
pub use engine::Engine;
