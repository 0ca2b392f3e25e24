//! ICMP messages from a raw socket, true or not.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::netns::NetNs;

/// Sends a message of the address' family from a namespace; `rest` is the second half of its header.
#[track_caller]
pub fn send(netns: &NetNs, to: IpAddr, kind: u8, code: u8, rest: [u8; 4], data: &[u8]) {
    let sent = netns.enter(|| send_here(to, kind, code, rest, data));
    sent.unwrap_or_else(|error| panic!("failed to send ICMP {kind}/{code} to {to}: {error}"));
}

fn send_here(to: IpAddr, kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> io::Result<()> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    let mut message = [&[kind, code, 0, 0], &rest[..], data].concat();
    // Over IPv6 the kernel fills it in, as the sum covers addresses that it chooses.
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    // Not UDP, but its `sendto` is all that a raw socket needs.
    UdpSocket::from(raw).send_to(&message, SocketAddr::new(to, 0)).map(drop)
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(message: &[u8]) -> u16 {
    let words =
        message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
