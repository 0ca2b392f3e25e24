//! What only a malicious program sends: with an address that its namespace does not have, or any frame at all.

use std::io;
use std::mem::size_of_val;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use crate::netns::NetNs;

/// A UDP socket bound to `address`, whoever's that is: what a malicious host process would do.
pub fn bind_foreign(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::IpTransparent, &true)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // SAFETY: the descriptor is a UDP socket, owned by nobody else.
    Ok(unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) })
}

/// Sends a whole frame from an interface of a namespace, whatever it claims. No kernel
/// looks at it before the host does.
#[track_caller]
pub fn send_frame(netns: &NetNs, interface: &str, frame: &[u8]) {
    Injector::open(netns, interface).send(frame);
}

/// An interface of a namespace that any frame can be sent from. Opening and closing one takes milliseconds.
#[derive(Debug)]
pub struct Injector {
    raw: OwnedFd,
    ifindex: libc::c_int,
}

impl Injector {
    /// Opens it.
    #[track_caller]
    pub fn open(netns: &NetNs, interface: &str) -> Self {
        let opened = netns.enter(|| {
            let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            Ok::<_, nix::Error>(Self { raw, ifindex: if_nametoindex(interface)? as libc::c_int })
        });
        opened.unwrap_or_else(|error| panic!("failed to open {interface} for frames: {error}"))
    }

    /// Sends a whole frame, with a mark of the sender's own kernel.
    #[track_caller]
    pub fn send_marked(&self, frame: &[u8], mark: u32) {
        setsockopt(&self.raw, sockopt::Mark, &mark).expect("root may mark");
        self.send(frame);
    }

    /// Sends a whole frame.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: all of `sockaddr_ll` is plain numbers, for which zero is a value.
        let mut link: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        link.sll_family = libc::AF_PACKET as libc::sa_family_t;
        link.sll_ifindex = self.ifindex;
        let (address, length) = ((&raw const link).cast(), size_of_val(&link) as libc::socklen_t);
        // SAFETY: frame and address are live and as long as is said.
        let sent = unsafe {
            libc::sendto(self.raw.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, length)
        };
        assert!(sent >= 0, "failed to send a frame: {}", io::Error::last_os_error());
    }
}
