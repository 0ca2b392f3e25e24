//! Somebody who edits the policy at an even pace, beside who sends.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use enforcer::cli::client::Client;
use enforcer_tests::cost::NETWORKS;
use enforcer_tests::{Daemon, processor};

use crate::update::order;

/// From one edit's beginning to the next one's.
const PACE: Duration = Duration::from_millis(100);
/// The same.
pub const EDITS_PER_SECOND: f64 = 10.0;

/// What is edited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    Nothing,
    /// A prefix of a network whose packets are not measured.
    Prefix,
    /// A rule from such a network.
    Rule,
}

impl Edited {
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Prefix, Self::Rule];

    /// What tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no edits",
            Self::Prefix => "a prefix of another network, ten times a second",
            Self::Rule => "a rule between others, ten times a second",
        }
    }

    /// Another one than with the number before.
    fn policy(self, number: usize) -> String {
        let host = if self == Self::Prefix { 1 + number % 250 } else { 0 };
        let network = format!("[network.edited]\nprefixes = [\"192.0.2.0/24\", \"198.51.100.{host}/32\"]\n");
        let rule = "[[rule]]\nname = \"edited\"\nfrom = [\"edited\"]\nto = [\"db\"]\n";
        match self {
            Self::Nothing | Self::Prefix => format!("{NETWORKS}{network}"),
            Self::Rule => {
                let port = 1 + number % 60_000;
                format!("{NETWORKS}{network}{rule}allow = [\"udp/{port}\"]\n")
            }
        }
    }
}

/// Edits until told to end.
pub struct Editor {
    end: Sender<()>,
    thread: JoinHandle<usize>,
    begun: Instant,
}

impl Editor {
    /// One whose first edit has this number.
    pub fn start(daemon: &Daemon, edited: Edited, first: usize) -> Self {
        let client = Client::new(daemon.socket());
        let (end, ended) = channel();
        let thread = thread::spawn(move || edit(&client, edited, first, &ended));
        Self { end, thread, begun: Instant::now() }
    }

    /// How many edits there were, and how many in a second.
    pub fn finish(self) -> (usize, f64) {
        let took = self.begun.elapsed();
        self.end.send(()).expect("it edits");
        let edits = self.thread.join().expect("it told why");
        (edits, edits as f64 / took.as_secs_f64())
    }
}

/// Returns how many edits were made.
fn edit(client: &Client, edited: Edited, first: usize, ended: &Receiver<()>) -> usize {
    processor::stay_on(processor::OTHERS);
    let (begun, mut count) = (Instant::now(), 0);
    loop {
        order::give(client, edited.policy(first + count));
        count += 1;
        let pause = (PACE * count as u32).saturating_sub(begun.elapsed());
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return count;
        }
    }
}
