//! `--keep`: the demo stays as it is, for a look around by hand.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use enforcer_tests::matrix::Asker;
use enforcer_tests::{Daemon, Host, Workload};

use crate::interrupt::is_called_off;

/// Says how to get in and returns when somebody presses Enter or Ctrl-C.
pub fn stay(hosts: &[&Host], inside: &[Asker<'_>], daemons: &[&Daemon]) {
    println!("\nEverything stays up. In another root shell:");
    for (host, daemon) in hosts.iter().zip(daemons) {
        println!();
        for (name, value) in daemon.environment() {
            println!("  export {name}={}", value.display());
        }
        println!("  nsenter --net={} {} status", host.netns().path().display(), daemon.binary().display());
    }
    println!("\nA shell in a workload:\n");
    for (name, netns) in inside {
        println!("  nsenter --net={} bash    # {name}", netns.path().display());
    }
    println!("\nEnter or Ctrl-C ends the demo and removes all of it.");
    wait_for_enter();
}

/// The insides of workloads.
pub fn insides(workloads: &[Workload]) -> Vec<Asker<'_>> {
    workloads.iter().map(|workload| (workload.name(), workload.netns())).collect()
}

/// Returns at a line on the standard input or a signal. The input's end alone is neither.
fn wait_for_enter() {
    let (pressed, enter) = mpsc::channel();
    thread::spawn(move || {
        let length = io::stdin().read_line(&mut String::new());
        if length.is_ok_and(|length| length > 0) {
            // Nobody listens any more after Ctrl-C.
            pressed.send(()).ok();
        } else {
            // Keep the channel open: a closed one would read as Enter.
            thread::park();
        }
    });
    while !is_called_off() && enter.recv_timeout(Duration::from_millis(100)).is_err() {}
}
