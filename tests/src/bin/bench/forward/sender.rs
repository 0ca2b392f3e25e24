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

/// Frames of one system call.
const BATCH: usize = 64;

/// Of `linux/virtio_net.h`.
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
const VIRTIO_NET_HDR_GSO_UDP_L4: u8 = 5;
/// Where in a header of UDP its checksum is.
const UDP_CHECKSUM: usize = 6;

/// A packet socket of a namespace.
pub struct Sender {
    socket: OwnedFd,
    to: libc::sockaddr_ll,
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
            Ok(Self { socket, to })
        })
    }

    /// Packets will be of this length from now on.
    pub fn prepare(&mut self, length: Length) -> io::Result<()> {
        set(&self.socket, libc::PACKET_VNET_HDR, matches!(length, Length::Super { .. }).into())
    }

    /// Sends these frames, and says how long that took.
    pub fn send(&mut self, frames: &[&[u8]]) -> io::Result<Duration> {
        let start = Instant::now();
        frames.chunks(BATCH).try_for_each(|batch| self.send_batch(batch))?;
        Ok(start.elapsed())
    }

    fn send_batch(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        for (part, frame) in parts.iter_mut().zip(frames) {
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
        let count = frames.len() as u32;
        // SAFETY: the first `count` messages name live frames, which the kernel only reads.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        match sent {
            sent if sent == count as i32 => Ok(()),
            sent if sent < 0 => Err(io::Error::last_os_error()),
            sent => Err(io::Error::other(format!("the kernel took {sent} of {count} frames"))),
        }
    }
}

/// A frame as the socket wants it: of a super-packet, what a network card would do with it goes before.
pub fn told(length: Length, frame: Vec<u8>) -> Vec<u8> {
    let Length::Super { frame: segment, .. } = length else { return frame };
    let is_ipv4 = frame[12..14] == [0x08, 0x00];
    let udp = if is_ipv4 { 14 + 20 } else { 14 + 40 };
    let headers = udp + 8;
    // `virtio_net_hdr` of linux/virtio_net.h: a checksum is wanted, and segments of UDP.
    let flags_and_kind = [VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4];
    let numbers = [headers, segment - headers, udp, UDP_CHECKSUM].map(|number| (number as u16).to_ne_bytes());
    [&flags_and_kind[..], numbers.as_flattened(), &frame].concat()
}

fn set(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let (value, length) = ((&raw const value).cast(), size_of_val(&value) as libc::socklen_t);
    // SAFETY: the value is live and as long as is said.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
