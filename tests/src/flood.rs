//! A workload that floods from its very first moment: it waits for its interface, brings it up itself, and
//! sends.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::netns::NetNs;

/// Frames on their way, over and over; ends when the value goes.
#[derive(Debug)]
pub struct Flood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the flood and its thread share.
#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    is_over: AtomicBool,
}

impl Flood {
    /// Floods from the interface `name` of a namespace, which need not exist yet, as fast as the kernel takes it.
    #[track_caller]
    pub fn start(netns: &NetNs, name: &str, frames: Vec<Vec<u8>>) -> Self {
        Self::paced(netns, name, frames, None)
    }

    /// The same, with a pause behind every frame.
    #[track_caller]
    pub fn paced(netns: &NetNs, name: &str, frames: Vec<Vec<u8>>, pause: Option<Duration>) -> Self {
        let sockets = netns.enter(Sockets::open).expect("failed to open sockets for a flood");
        let shared = Arc::new(Shared::default());
        let (of_thread, name) = (Arc::clone(&shared), name.to_owned());
        let thread = thread::spawn(move || flood(&sockets, &name, &frames, pause, &of_thread));
        Self { shared, thread: Some(thread) }
    }

    /// Ends it; returns how many frames the kernel took in all.
    pub fn finish(mut self) -> u64 {
        self.end();
        self.sent()
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // A panic in it has been printed already.
        self.thread.take().map(JoinHandle::join);
    }

    /// Frames that the kernel took so far, also those that it lost for want of a carrier.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
    }
}

fn flood(sockets: &Sockets, name: &str, frames: &[Vec<u8>], pause: Option<Duration>, shared: &Shared) {
    let is_over = || shared.is_over.load(Ordering::Relaxed);
    let mut found = None;
    while found.is_none() && !is_over() {
        // Until the interface is there, both fail.
        found = sockets.bring_up(name).and_then(|()| sockets.index(name)).ok();
    }
    for frame in frames.iter().cycle() {
        if is_over() {
            return;
        }
        if let Some(index) = found
            && sockets.send(index, frame)
        {
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(pause) = pause {
            thread::sleep(pause);
        }
    }
}

/// Sockets stay in the namespace in which they were opened.
struct Sockets {
    raw: OwnedFd,
    /// Any socket serves to ask for interfaces.
    any: UdpSocket,
}

impl Sockets {
    fn open() -> io::Result<Self> {
        let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { raw, any: UdpSocket::bind("0.0.0.0:0")? })
    }

    fn bring_up(&self, name: &str) -> io::Result<()> {
        let mut request = request_about(name);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        self.ask(libc::SIOCSIFFLAGS, &mut request)
    }

    fn index(&self, name: &str) -> io::Result<i32> {
        let mut request = request_about(name);
        self.ask(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: this command leaves an index there.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    fn ask(&self, command: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: both commands read and write the request, which outlives the call, and nothing else.
        let result = unsafe { libc::ioctl(self.any.as_raw_fd(), command, request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether the kernel took the frame.
    fn send(&self, index: i32, frame: &[u8]) -> bool {
        // SAFETY: all of `sockaddr_ll` is plain numbers, for which zero is a value.
        let mut link: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        link.sll_family = libc::AF_PACKET as libc::sa_family_t;
        link.sll_ifindex = index;
        let (address, length) = ((&raw const link).cast(), size_of_val(&link) as libc::socklen_t);
        // SAFETY: frame and address are live and as long as is said.
        let sent = unsafe {
            libc::sendto(self.raw.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, length)
        };
        sent >= 0
    }
}

fn request_about(name: &str) -> libc::ifreq {
    // SAFETY: all of `ifreq` is plain numbers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1));
    name.for_each(|(to, from)| *to = from as libc::c_char);
    request
}
