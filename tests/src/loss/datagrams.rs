//! Numbered datagrams that are sent back from where they arrive: both directions of one UDP conversation.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use super::outcome::Outcome;
use super::pace::{self, Answered, STRAGGLE, Sent, Stop, spawn_pinned};
use super::route::{PORT, Route};
use super::sequence::Sequence;
use crate::numbered::{PACKET_LEN, number_of, packet, receiving_socket};
use crate::traffic::unspecified_like;

/// A UDP conversation under way.
#[derive(Debug)]
pub struct Datagrams {
    sender: JoinHandle<Sent>,
    there: JoinHandle<Sequence>,
    back: JoinHandle<Sequence>,
}

impl Datagrams {
    /// Sends at `rate` datagrams a second until `stop`.
    pub fn start(route: &Route<'_>, rate: u32, stop: &Stop) -> io::Result<Self> {
        let (server, service) = route.to.netns().enter(|| receiving_socket(route.address, PORT))?;
        let client = route.from.netns().enter(|| connected_socket(service))?;
        let sending = client.try_clone()?;
        let answered = Answered::default();
        let answers = Answered::clone(&answered);
        let [stop_sending, stop_there, stop_back] = [(); 3].map(|()| Stop::clone(stop));
        // What the kernel refuses to send is lost.
        let send = move |number| drop(sending.send(&packet(number)));
        let echo = move |socket: &UdpSocket, number, from| drop(socket.send_to(&packet(number), from));
        let answer = move |_: &UdpSocket, number, _| answers.store(number + 1, Ordering::Relaxed);
        Ok(Self {
            sender: spawn_pinned(route.seat, move || pace::send(rate, &answered, &stop_sending, send)),
            there: spawn_pinned(route.seat, move || receive(&server, &stop_there, echo)),
            back: spawn_pinned(route.seat, move || receive(&client, &stop_back, answer)),
        })
    }

    /// Waits for the end, after `stop`.
    pub fn finish(self) -> Outcome {
        let sent = self.sender.join().expect("a sender panicked");
        let there = self.there.join().expect("a receiver panicked");
        let back = self.back.join().expect("a receiver panicked");
        Outcome::of_both_ends(sent, there, back)
    }
}

/// Notes what arrives, until it is over and nothing more comes.
fn receive(socket: &UdpSocket, stop: &Stop, mut then: impl FnMut(&UdpSocket, u64, SocketAddr)) -> Sequence {
    let (mut arrivals, mut quiet_since) = (Sequence::default(), Instant::now());
    let mut buffer = [0; PACKET_LEN + 1];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                quiet_since = Instant::now();
                if let Some(number) = number_of(&buffer[..length]) {
                    arrivals.note(number, quiet_since);
                    then(socket, number, from);
                }
            }
            // The time limit of one wait.
            Err(_) if !stop.load(Ordering::Acquire) => quiet_since = Instant::now(),
            Err(_) if quiet_since.elapsed() > STRAGGLE => return arrivals,
            Err(_) => {}
        }
    }
}

/// Opens a socket in the calling thread's namespace that only hears who it talks to.
fn connected_socket(to: SocketAddr) -> io::Result<UdpSocket> {
    let (socket, _) = receiving_socket(unspecified_like(to.ip()), 0)?;
    socket.connect(to)?;
    Ok(socket)
}
