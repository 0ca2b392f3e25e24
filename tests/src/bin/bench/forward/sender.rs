//! The generator: whole frames through a packet socket, past the queueing discipline, 64 with one system call. All that
//! the frames cause happens on the sender's processor, before the call returns.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use enforcer_tests::NetNs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::mix::Length;
use super::template::Template;

/// Frames of one system call, and super-packets: together they are less than half of what the processor's own cache holds.
const BATCH: usize = 64;
const SUPER_BATCH: usize = 8;

/// A packet socket of a namespace.
pub struct Sender {
    socket: OwnedFd,
    to: libc::sockaddr_ll,
    /// Those of one system call.
    frames: Vec<Vec<u8>>,
}

impl Sender {
    /// One that sends out of an interface of a namespace.
    pub fn open(netns: &NetNs, interface: &str) -> io::Result<Self> {
        netns.enter(|| {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            set(&socket, libc::PACKET_QDISC_BYPASS, 1)?;
            // SAFETY: all of `sockaddr_ll` is plain numbers, for which zero is a value.
            let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
            to.sll_family = libc::AF_PACKET as libc::sa_family_t;
            to.sll_ifindex = if_nametoindex(interface)? as i32;
            Ok(Self { socket, to, frames: Vec::new() })
        })
    }

    /// Packets will be of this length from now on.
    pub fn prepare(&mut self, length: Length) -> io::Result<()> {
        self.frames.clear();
        set(&self.socket, libc::PACKET_VNET_HDR, matches!(length, Length::Super { .. }).into())
    }

    /// Sends a frame of each of these flows, and says how long that took.
    pub fn send(&mut self, template: &Template, flows: &[u32]) -> io::Result<Duration> {
        if self.frames.is_empty() {
            let batch = if template.is_super() { SUPER_BATCH } else { BATCH };
            self.frames = vec![template.first().to_vec(); batch];
        }
        let start = Instant::now();
        flows.chunks(self.frames.len()).try_for_each(|batch| {
            for (flow, frame) in batch.iter().zip(&mut self.frames) {
                template.write(*flow, frame);
            }
            self.send_batch(batch.len())
        })?;
        Ok(start.elapsed())
    }

    fn send_batch(&mut self, count: usize) -> io::Result<()> {
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        for (part, frame) in parts.iter_mut().zip(&self.frames) {
            *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        }
        let to = &raw mut self.to;
        let mut messages = parts.each_mut().map(|part| {
            // SAFETY: all of `mmsghdr` is plain numbers and pointers, for which zero is a value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = to.cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        let count = count as u32;
        // SAFETY: the first `count` messages name live frames, which the kernel only reads.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        match sent {
            sent if sent == count as i32 => Ok(()),
            sent if sent < 0 => Err(io::Error::last_os_error()),
            sent => Err(io::Error::other(format!("the kernel took {sent} of {count} frames"))),
        }
    }
}

fn set(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let (value, length) = ((&raw const value).cast(), size_of_val(&value) as libc::socklen_t);
    // SAFETY: the value is live and as long as is said.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
