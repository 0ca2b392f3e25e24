//! A steady stream of numbered packets: what got lost, doubled or out of order on the way.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::loss::spawn_pinned;
use crate::netns::NetNs;
use crate::traffic::unspecified_like;
use crate::wait;

/// What makes a packet one of ours.
const MAGIC: [u8; 8] = *b"numbered";
/// Length of a packet's payload: the magic and the number.
pub(crate) const PACKET_LEN: usize = 16;
/// Room for packets while the receiver does not get the processor: seconds at ten thousand packets a second.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Who waits for a packet looks up so often whether it is over.
const LOOK_UP: Duration = Duration::from_millis(20);
/// How long packets may still be under way after the last one was sent.
const STRAGGLE: Duration = Duration::from_millis(300);
/// A sender that is late by more than this goes on from now: a burst to catch up could overrun the kernel's
/// backlog queue, and count as loss.
const LATENESS: Duration = Duration::from_millis(5);

/// A stream that is being described; [`start`](Self::start) sends it.
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is sent before `start`"]
pub struct Numbered<'n> {
    from: &'n NetNs,
    to: &'n NetNs,
    address: IpAddr,
    port: u16,
    rate: u32,
}

impl<'n> Numbered<'n> {
    /// From one namespace to an address in another, at a thousand packets a second, to some free port.
    pub fn new(from: &'n impl AsRef<NetNs>, to: &'n impl AsRef<NetNs>, address: IpAddr) -> Self {
        Self { from: from.as_ref(), to: to.as_ref(), address, port: 0, rate: 1000 }
    }

    /// At another number of packets a second.
    pub fn rate(mut self, packets_per_second: u32) -> Self {
        self.rate = packets_per_second;
        self
    }

    /// To a certain UDP port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sends for a while.
    #[track_caller]
    pub fn run_for(self, duration: Duration) -> Report {
        let stream = self.start();
        sleep(duration);
        stream.finish()
    }

    /// Starts to send, in the background.
    #[track_caller]
    pub fn start(self) -> Stream {
        let (rx, to) =
            self.to.enter(|| receiving_socket(self.address, self.port)).expect("no receiving socket");
        let tx = self.from.enter(|| UdpSocket::bind((unspecified_like(self.address), 0)));
        let tx = tx.expect("no sending socket");
        let shared = Arc::new(Shared::default());
        let (sending, receiving) = (Arc::clone(&shared), Arc::clone(&shared));
        Stream {
            // One that moves to another processor may overtake itself there.
            sender: Some(spawn_pinned(self.port.into(), move || sending.send(&tx, to, self.rate))),
            receiver: Some(thread::spawn(move || receiving.receive(&rx))),
            shared,
        }
    }
}

/// A stream under way. It stops when dropped.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<Vec<(Instant, u64)>>>,
}

impl Stream {
    /// How many packets are sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Stops the sender, waits for what is still under way, and reports.
    #[track_caller]
    pub fn finish(mut self) -> Report {
        let arrivals = self.stop().expect("only `finish` and the destructor stop a stream");
        Report::new(self.sent(), &arrivals)
    }

    /// Ends both threads; `None` when they are ended already.
    fn stop(&mut self) -> Option<Vec<(Instant, u64)>> {
        self.shared.is_sent.store(true, Ordering::Release);
        self.sender.take()?.join().expect("the sender panicked");
        self.shared.is_over.store(true, Ordering::Release);
        self.receiver.take()?.join().ok()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What sender and receiver tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// Packets sent so far.
    sent: AtomicU64,
    /// Nothing more is to be sent.
    is_sent: AtomicBool,
    /// Nothing more has been sent.
    is_over: AtomicBool,
}

impl Shared {
    /// Sends numbered packets at an even pace until told to stop.
    fn send(&self, socket: &UdpSocket, to: SocketAddr, rate: u32) {
        let interval = Duration::from_secs(1) / rate;
        let mut due = Instant::now();
        while !self.is_sent.load(Ordering::Acquire) {
            let now = Instant::now();
            if due > now {
                sleep(due - now);
                continue;
            }
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            // A packet the kernel refuses to send is a lost one.
            socket.send_to(&packet(number), to).ok();
            due = (due + interval).max(now.checked_sub(LATENESS).unwrap_or(now));
        }
    }

    /// Notes the packets that arrive, until all are here or no more are to be expected.
    fn receive(&self, socket: &UdpSocket) -> Vec<(Instant, u64)> {
        let mut arrivals = Vec::new();
        let mut last = Instant::now();
        let mut buffer = [0; PACKET_LEN + 1];
        loop {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    last = Instant::now();
                    arrivals.extend(number_of(&buffer[..length]).map(|number| (last, number)));
                }
                Err(_) if self.is_over.load(Ordering::Acquire) && last.elapsed() > STRAGGLE => {
                    return arrivals;
                }
                // The time limit of one wait.
                Err(_) => {}
            }
        }
    }
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many packets were sent; they bear the numbers from 0.
    pub sent: u64,
    /// The numbers that arrived.
    pub received: BTreeSet<u64>,
    /// How many packets arrived again.
    pub duplicated: u64,
    /// How many packets arrived after one with a higher number.
    pub reordered: u64,
    /// The longest time between two arrivals.
    pub longest_silence: Duration,
    /// When the first packet arrived.
    pub first: Option<Instant>,
    /// When the last packet arrived.
    pub last: Option<Instant>,
}

impl Report {
    /// Judges packets by the time and order of their arrival.
    fn new(sent: u64, arrivals: &[(Instant, u64)]) -> Self {
        let mut received = BTreeSet::new();
        let (mut duplicated, mut reordered) = (0, 0);
        for (_, number) in arrivals {
            if received.last().is_some_and(|highest| number < highest) {
                reordered += 1;
            }
            if !received.insert(*number) {
                duplicated += 1;
            }
        }
        let silences = arrivals.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let longest_silence = silences.max().unwrap_or_default();
        let first = arrivals.first().map(|(moment, _)| *moment);
        let last = arrivals.last().map(|(moment, _)| *moment);
        Self { sent, received, duplicated, reordered, longest_silence, first, last }
    }

    /// The numbers that did not arrive; panics where none could be lost.
    #[track_caller]
    pub fn lost(&self) -> Vec<u64> {
        assert!(self.sent > 0, "no packet was sent, and so none could be lost");
        (0..self.sent).filter(|number| !self.received.contains(number)).collect()
    }
}

/// Opens a socket with plenty of room at an address of the calling thread's namespace.
pub(crate) fn receiving_socket(address: IpAddr, port: u16) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind((address, port))?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    socket.set_read_timeout(Some(wait::scaled(LOOK_UP)))?;
    let bound = socket.local_addr()?;
    Ok((socket, bound))
}

/// The payload with a number.
pub(crate) fn packet(number: u64) -> [u8; PACKET_LEN] {
    let mut payload = [0; PACKET_LEN];
    payload[..MAGIC.len()].copy_from_slice(&MAGIC);
    payload[MAGIC.len()..].copy_from_slice(&number.to_be_bytes());
    payload
}

/// The number in a payload; `None` for anybody else's packet.
pub(crate) fn number_of(payload: &[u8]) -> Option<u64> {
    let number = payload.strip_prefix(&MAGIC)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_its_packet() {
        assert_eq!(number_of(&packet(0x0102_0304_0506_0708)), Some(0x0102_0304_0506_0708));
        assert_eq!(number_of(b"numbered"), None);
        assert_eq!(number_of(b"anything else here"), None);
    }

    #[test]
    fn loss_doubling_and_disorder_are_told_apart() {
        let start = Instant::now();
        let at = |milliseconds, number| (start + Duration::from_millis(milliseconds), number);
        let report = Report::new(6, &[at(0, 0), at(1, 2), at(2, 1), at(12, 4), at(13, 4)]);
        assert_eq!(report.lost(), [3, 5]);
        assert_eq!((report.duplicated, report.reordered), (1, 1));
        assert_eq!(report.longest_silence, Duration::from_millis(10));
        assert_eq!((report.first, report.last), (Some(at(0, 0).0), Some(at(13, 0).0)));
    }
}
