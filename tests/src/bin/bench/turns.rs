//! Hosts that take turns, each in a thread of its own: a thread is in one network namespace, and a host is one.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use enforcer_tests::prog_run::Stream;

use crate::rounds;

/// Parts of a turn; the slowest quarter of them does not count.
const PARTS: u32 = 20;

/// One turn of a host; returns what a packet took, in nanoseconds.
pub type Turn<T = f64> = Box<dyn FnMut() -> T>;

/// A host in its thread.
pub struct Standing<W, B, T = f64> {
    /// Which it is.
    pub what: W,
    /// What its making told.
    pub built: B,
    /// What a packet took, by round.
    pub times: Vec<T>,
    go: SyncSender<()>,
    took: Receiver<T>,
    thread: JoinHandle<()>,
}

impl<W, B: Send + 'static, T: Send + 'static> Standing<W, B, T> {
    /// Makes one, in its thread, and waits for it.
    pub fn stand(what: W, make: impl FnOnce() -> (Turn<T>, B) + Send + 'static) -> Self {
        let (go, turns) = sync_channel(1);
        let (tell, took) = sync_channel(1);
        let (ready, told_built) = sync_channel(1);
        let thread = thread::spawn(move || {
            let (mut turn, built) = make();
            ready.send(built).expect("somebody waits");
            while turns.recv().is_ok() {
                tell.send(turn()).expect("somebody waits");
            }
        });
        Self { what, built: told_built.recv().expect("the host stands"), times: Vec::new(), go, took, thread }
    }

    /// Its tables are not there any more when the next are measured.
    pub fn leave(self) {
        drop(self.go);
        self.thread.join().expect("it ends well");
    }

    fn take(&mut self) {
        self.go.send(()).expect("it waits");
        self.times.push(self.took.recv().expect("it answers"));
    }
}

/// So many rounds.
pub fn take<W, B: Send + 'static, T: Send + 'static>(hosts: &mut [Standing<W, B, T>], rounds: usize) {
    for round in 0..rounds {
        for at in rounds::order(round, hosts.len()) {
            hosts[at].take();
        }
    }
}

/// What one of the next `packets` of a stream takes, without what interrupts took; nanoseconds.
pub fn mean_of(stream: &Stream, packets: u32) -> f64 {
    let of_each = |_| stream.mean_duration(packets / PARTS);
    let mut times: Vec<Duration> = (0..PARTS).map(of_each).collect();
    times.sort_unstable();
    let kept = &times[..PARTS as usize * 3 / 4];
    kept.iter().sum::<Duration>().as_nanos() as f64 / kept.len() as f64
}
