//! Sockets with an address that the namespace does not have.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt::IpFreebind,
    sockopt::IpTransparent,
};

/// A UDP socket bound to `address`, whoever's that is: what a malicious host process would do.
pub fn bind_foreign(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, IpTransparent, &true)?;
    setsockopt(&socket, IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // SAFETY: the descriptor is a UDP socket, owned by nobody else.
    Ok(unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) })
}
