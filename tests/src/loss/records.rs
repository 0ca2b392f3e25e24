//! Numbered records over one TCP connection that stays open, sent back from where they arrive.
//!
//! TCP hides loss behind a delay: what was lost is told by both ends' counts of the segments they sent and received.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::pace::{self, Answered, STRAGGLE, Sent, Stop, spawn_pinned};
use super::route::{PORT, Route};
use super::segments::Segments;
use super::sequence::Sequence;
use crate::numbered::{PACKET_LEN, number_of, packet};
use crate::traffic::{DUE, ECHO_PORT};
use crate::wait;

/// How long a connection that is to fail is waited for: the first SYN is not repeated before a second.
const ATTEMPT: Duration = Duration::from_millis(200);

/// Who waits for a record looks up so often whether it is over.
const LOOK_UP: Duration = Duration::from_millis(20);

/// A TCP connection under way.
#[derive(Debug)]
pub struct Records {
    client: TcpStream,
    server: TcpStream,
    /// Of both ends, before the first record.
    before: [Segments; 2],
    sender: JoinHandle<Sent>,
    there: JoinHandle<Sequence>,
    back: JoinHandle<Sequence>,
}

impl Records {
    /// Connects, and sends at `rate` records a second until `stop`.
    pub fn start(route: &Route<'_>, rate: u32, stop: &Stop) -> io::Result<Self> {
        let [client, server] = connect(route)?;
        // Both ends are connected, so nothing is under way.
        let before = [Segments::of(&client)?, Segments::of(&server)?];
        let (mut sending, mut answering) = (client.try_clone()?, server.try_clone()?);
        let (receiving, hearing) = (client.try_clone()?, server.try_clone()?);
        let [stop_sending, stop_there, stop_back] = [(); 3].map(|()| Stop::clone(stop));
        let answered = Answered::default();
        let answers = Answered::clone(&answered);
        // A broken connection shows in what arrives.
        let send = move |number| drop(sending.write_all(&packet(number)));
        let echo = move |number| drop(answering.write_all(&packet(number)));
        let answer = move |number| answers.store(number + 1, Ordering::Relaxed);
        Ok(Self {
            client,
            server,
            before,
            sender: spawn_pinned(route.seat, move || pace::send(rate, &answered, &stop_sending, send)),
            there: spawn_pinned(route.seat, move || receive(hearing, &stop_there, echo)),
            back: spawn_pinned(route.seat, move || receive(receiving, &stop_back, answer)),
        })
    }

    /// Waits for the end, after `stop`.
    pub fn finish(self) -> io::Result<Outcome> {
        let sent = self.sender.join().expect("a sender panicked");
        let there = self.there.join().expect("a receiver panicked");
        let back = self.back.join().expect("a receiver panicked");
        let [client, server] = [Segments::of(&self.client)?, Segments::of(&self.server)?];
        let (client, server) = (client.since(self.before[0]), server.since(self.before[1]));
        let lost = [client.lost_before(server), server.lost_before(client)];
        Ok(Outcome::of_both_ends(sent, there, back).with_segments_lost(lost))
    }
}

/// Opens the two ends of a connection.
fn connect(route: &Route<'_>) -> io::Result<[TcpStream; 2]> {
    let service = SocketAddr::new(route.address, PORT);
    let listener = route.to.netns().enter(|| TcpListener::bind(service))?;
    let client = route.from.netns().enter(|| TcpStream::connect_timeout(&service, wait::scaled(DUE)))?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(wait::scaled(LOOK_UP)))?;
    }
    Ok([client, server])
}

/// Notes the records that arrive, until it is over and nothing more comes.
fn receive(mut stream: TcpStream, stop: &Stop, mut then: impl FnMut(u64)) -> Sequence {
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
                    then(number);
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
