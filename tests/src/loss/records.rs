//! Numbered records over one TCP connection that stays open, echoed by the other end.
//!
//! TCP hides loss behind a delay: that nothing was lost is told by the kernel's count of what it sent again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::pace::{self, Answered, STRAGGLE, Sent, Stop, spawn_pinned};
use super::route::Route;
use super::sequence::Sequence;
use crate::numbered::{PACKET_LEN, number_of, packet};
use crate::traffic::{ECHO_PORT, PATIENCE};

/// How long a connection that is to fail is waited for: the first SYN is not repeated before a second.
const ATTEMPT: Duration = Duration::from_millis(200);

/// A TCP connection under way, or attempts at one.
#[derive(Debug)]
pub struct Records {
    sender: JoinHandle<Sent>,
    back: JoinHandle<Sequence>,
}

impl Records {
    /// Connects, and sends at `rate` records a second until `stop`.
    pub fn start(route: &Route<'_>, rate: u32, stop: &Stop) -> io::Result<Self> {
        let echo = SocketAddr::new(route.address, ECHO_PORT);
        let stream = route.from.netns().enter(|| TcpStream::connect_timeout(&echo, PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut writer = stream.try_clone()?;
        let (stop_sending, stop_back) = (Stop::clone(stop), Stop::clone(stop));
        let answered = Answered::default();
        let answers = Answered::clone(&answered);
        // A broken connection shows in what comes back.
        let send = move |number| drop(writer.write_all(&packet(number)));
        Ok(Self {
            sender: spawn_pinned(route.seat, move || pace::send(rate, &answered, &stop_sending, send)),
            back: spawn_pinned(route.seat, move || read(stream, &answers, &stop_back)),
        })
    }

    /// Waits for the end, after `stop`.
    pub fn finish(self) -> Outcome {
        let sent = self.sender.join().expect("a sender panicked");
        Outcome::of_round_trips(sent, self.back.join().expect("a reader panicked"))
    }
}

/// Notes the records that come back, until it is over and nothing more comes.
fn read(mut stream: TcpStream, answered: &Answered, stop: &Stop) -> Sequence {
    let (mut arrivals, mut quiet_since) = (Sequence::default(), Instant::now());
    let (mut record, mut filled) = ([0; PACKET_LEN], 0);
    loop {
        match stream.read(&mut record[filled..]) {
            Ok(0) => return arrivals,
            Ok(length) => {
                quiet_since = Instant::now();
                filled += length;
                if filled == PACKET_LEN {
                    let Some(number) = number_of(&record) else { return arrivals };
                    arrivals.note(number, quiet_since);
                    answered.store(number + 1, Ordering::Relaxed);
                    filled = 0;
                }
            }
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return arrivals;
            }
            Err(_) if !stop.load(Ordering::Acquire) => quiet_since = Instant::now(),
            Err(_) if quiet_since.elapsed() > STRAGGLE => return arrivals,
            Err(_) => {}
        }
    }
}

/// Attempts at a connection, one after the other; what arrives is a connection that came about.
#[derive(Debug)]
pub struct Attempts(JoinHandle<(Sent, Sequence)>);

impl Attempts {
    /// Tries until `stop`.
    pub fn start(route: &Route<'_>, stop: &Stop) -> Self {
        let echo = SocketAddr::new(route.address, ECHO_PORT);
        let stop = Stop::clone(stop);
        let try_on = move || attempt(echo, &stop);
        // A thread is born in the namespace of the one that starts it.
        Self(route.from.netns().enter(|| spawn_pinned(route.seat, try_on)))
    }

    /// Waits for the end, after `stop`.
    pub fn finish(self) -> Outcome {
        let (sent, arrivals) = self.0.join().expect("an attempt panicked");
        Outcome::of_round_trips(sent, arrivals)
    }
}

/// Tries from the calling thread's namespace.
fn attempt(echo: SocketAddr, stop: &Stop) -> (Sent, Sequence) {
    let (mut sent, mut arrivals) = (Sent::default(), Sequence::default());
    while !stop.load(Ordering::Acquire) {
        let number = sent.note(1, Instant::now());
        if TcpStream::connect_timeout(&echo, ATTEMPT).is_ok() {
            arrivals.note(number, Instant::now());
        }
    }
    (sent, arrivals)
}
