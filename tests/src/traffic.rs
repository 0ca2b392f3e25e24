//! Real traffic: one question from a namespace to an address, answered or not.
//!
//! A question is asked once. Nothing is repeated but what the kernel's TCP repeats, so counters can be compared.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::netns::NetNs;
use crate::{ping, wait};

/// The port at which every workload says back what it hears.
pub const ECHO_PORT: u16 = 5432;

/// How long a question waits for an answer that may well not come, on a usual machine.
pub const PATIENCE: Duration = Duration::from_millis(600);
/// How long for one that is due: on a busy machine it may take its time, which costs nothing where it does not.
pub const DUE: Duration = Duration::from_secs(6);

/// The most questions under way at a time.
const AT_ONCE: usize = 64;

/// What a question is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A connection to a port, and a line there and back.
    Tcp(u16),
    /// A datagram to a port and one back.
    Udp(u16),
    /// An ICMP echo, of the address' family.
    Ping,
}

/// A question from a namespace to an address.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'n> {
    /// Where it is asked.
    pub from: &'n NetNs,
    /// Who is asked.
    pub to: IpAddr,
    /// How.
    pub protocol: Protocol,
}

impl Probe<'_> {
    /// Asks, and tells whether the answer came within `patience`, or longer on a slow machine.
    pub fn is_answered(&self, patience: Duration) -> bool {
        self.from.enter(|| self.is_answered_here(wait::scaled(patience)))
    }

    /// Asks from the calling thread, which must be in the right namespace. Whatever goes wrong is no answer.
    fn is_answered_here(&self, patience: Duration) -> bool {
        let question = question();
        match self.protocol {
            Protocol::Tcp(port) => Conversation::begin(SocketAddr::new(self.to, port), patience)
                .and_then(|mut conversation| conversation.ask(&question)),
            Protocol::Udp(port) => ask_by_datagram(SocketAddr::new(self.to, port), &question, patience),
            Protocol::Ping => ping::is_answered(self.to, question.as_bytes(), patience),
        }
        .unwrap_or(false)
    }
}

/// Whether a TCP connection comes about and carries a line there and back: it is expected to.
pub fn tcp(from: &impl AsRef<NetNs>, to: IpAddr, port: u16) -> bool {
    Probe { from: from.as_ref(), to, protocol: Protocol::Tcp(port) }.is_answered(DUE)
}

/// The same of one that is expected to fail, may do either, or is tried again.
pub fn tcp_soon(from: &impl AsRef<NetNs>, to: IpAddr, port: u16) -> bool {
    Probe { from: from.as_ref(), to, protocol: Protocol::Tcp(port) }.is_answered(PATIENCE)
}

/// Whether a datagram arrives and one comes back: it is expected to.
pub fn udp(from: &impl AsRef<NetNs>, to: IpAddr, port: u16) -> bool {
    Probe { from: from.as_ref(), to, protocol: Protocol::Udp(port) }.is_answered(DUE)
}

/// The same of one that is expected to fail, may do either, or is tried again.
pub fn udp_soon(from: &impl AsRef<NetNs>, to: IpAddr, port: u16) -> bool {
    Probe { from: from.as_ref(), to, protocol: Protocol::Udp(port) }.is_answered(PATIENCE)
}

/// Whether an echo request is replied to: it is expected to be.
pub fn ping(from: &impl AsRef<NetNs>, to: IpAddr) -> bool {
    Probe { from: from.as_ref(), to, protocol: Protocol::Ping }.is_answered(DUE)
}

/// The same of one that is expected to fail, may do either, or is tried again.
pub fn ping_soon(from: &impl AsRef<NetNs>, to: IpAddr) -> bool {
    Probe { from: from.as_ref(), to, protocol: Protocol::Ping }.is_answered(PATIENCE)
}

/// Asks many questions side by side; the answers are in the order of the questions. A slow machine is waited for longer.
pub fn ask_all(probes: &[Probe<'_>], patience: Duration) -> Vec<bool> {
    let patience = wait::scaled(patience);
    let next = AtomicUsize::new(0);
    let mut answers = vec![false; probes.len()];
    thread::scope(|scope| {
        let askers: Vec<_> = (0..AT_ONCE.min(probes.len()))
            .map(|_| scope.spawn(|| ask_from_list(probes, &next, patience)))
            .collect();
        for asker in askers {
            for (index, is_answered) in asker.join().expect("an asking thread panicked") {
                answers[index] = is_answered;
            }
        }
    });
    answers
}

/// One thread's share of [`ask_all`]: takes the next question until none is left.
fn ask_from_list(probes: &[Probe<'_>], next: &AtomicUsize, patience: Duration) -> Vec<(usize, bool)> {
    let mut answers = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(probe) = probes.get(index) else { return answers };
        probe.from.move_this_thread_here();
        answers.push((index, probe.is_answered_here(patience)));
    }
}

/// A TCP connection to an echo server that stays open, to see what becomes of it when the policy changes.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Connects; `None` when no connection comes about.
    pub fn open(from: &impl AsRef<NetNs>, to: IpAddr, port: u16) -> Option<Self> {
        from.as_ref().enter(|| Self::begin(SocketAddr::new(to, port), wait::scaled(DUE))).ok()
    }

    /// Whether a line still gets there and back: it is expected to.
    pub fn goes_on(&mut self) -> bool {
        self.is_answered(DUE)
    }

    /// Whether no line gets there and back any more.
    pub fn is_over(&mut self) -> bool {
        !self.is_answered(PATIENCE)
    }

    fn is_answered(&mut self, patience: Duration) -> bool {
        let patience = Some(wait::scaled(patience));
        let asked = self.stream.get_ref().set_read_timeout(patience).and_then(|()| self.ask(&question()));
        asked.unwrap_or(false)
    }

    /// Connects in the calling thread's namespace.
    fn begin(to: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a line and waits for it to come back. Answers to earlier lines, come late, are read over.
    fn ask(&mut self, question: &str) -> io::Result<bool> {
        self.stream.get_mut().write_all(question.as_bytes())?;
        let mut answer = String::new();
        while self.stream.read_line(&mut answer)? > 0 {
            if answer == question {
                return Ok(true);
            }
            answer.clear();
        }
        Ok(false)
    }
}

/// Sends a datagram from the calling thread's namespace and waits for it to come back.
fn ask_by_datagram(to: SocketAddr, question: &str, patience: Duration) -> io::Result<bool> {
    let socket = UdpSocket::bind((unspecified_like(to.ip()), 0))?;
    // Connected: only the one who was asked can answer.
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(question.as_bytes())?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    Ok(&answer[..length] == question.as_bytes())
}

/// Sends a datagram of so many bytes to the [`ECHO_PORT`], which nobody on the way may cut, as Linux has it unless told
/// otherwise. Waits until all of it comes back, or somebody tells of an error.
pub fn echo_of(from: &impl AsRef<NetNs>, to: IpAddr, bytes: usize) -> io::Result<()> {
    from.as_ref().enter(|| {
        let socket = UdpSocket::bind((unspecified_like(to), 0))?;
        socket.connect((to, ECHO_PORT))?;
        socket.set_read_timeout(Some(wait::scaled(DUE)))?;
        socket.send(&vec![0x5a; bytes])?;
        let length = socket.recv(&mut vec![0; bytes])?;
        if length == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    })
}

/// The wildcard address of the same family.
pub fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A line that no one else in this process says.
fn question() -> String {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    format!("question {} of {}\n", ASKED.fetch_add(1, Ordering::Relaxed), std::process::id())
}
