//! Very many workloads at once: their links, and routes to an address of both families. Nobody lives in them.

use std::fmt::Write as _;
use std::time::Duration;

use enforcer_tests::{Daemon, Host, NetNs, wait};

/// How long the daemon may take to know all workloads.
const PATIENCE: Duration = Duration::from_mins(2);

/// Hangs so many workloads on the host, and waits until all are ready; their other ends are in the namespace returned.
pub fn arrive(host: &Host, daemon: &Daemon, name: &str, count: usize) -> NetNs {
    let inside = NetNs::create(name);
    host.netns().ip(&links(&inside, count));
    wait::until("all workloads are ready", PATIENCE, || {
        (daemon.json(&["status"])["endpoints_ready"] == count).then_some(())
    });
    inside
}

/// The `ip` commands.
fn links(inside: &NetNs, count: usize) -> String {
    let inside = inside.name();
    (0..count).fold(String::new(), |mut batch, number| {
        let (high, low) = (number >> 8, number & 255);
        write!(
            batch,
            "link add veth-{number} type veth peer name inner-{number} netns {inside}\nlink set veth-{number} up\n\
             route add 10.50.{high}.{low}/32 dev veth-{number}\n\
             route add 2001:db8:50::{number:x}/128 dev veth-{number}\n"
        )
        .expect("a string");
        batch
    })
}
