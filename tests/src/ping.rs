//! One echo request and its reply, from a raw socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::icmp::checksum;

/// Length of an echo header: type, code, checksum, identifier, sequence number.
const HEADER_LEN: usize = 8;

/// The two families' numbers for the same messages.
struct Dialect {
    family: AddressFamily,
    protocol: SockProtocol,
    request: u8,
    reply: u8,
}

const ICMPV4: Dialect =
    Dialect { family: AddressFamily::Inet, protocol: SockProtocol::Icmp, request: 8, reply: 0 };
const ICMPV6: Dialect =
    Dialect { family: AddressFamily::Inet6, protocol: SockProtocol::IcmpV6, request: 128, reply: 129 };

/// Sends one echo request from the calling thread's namespace; tells whether `to` replies within `patience`.
///
/// `payload` tells this request from others under way.
pub(crate) fn is_answered(to: IpAddr, payload: &[u8], patience: Duration) -> io::Result<bool> {
    let dialect = if to.is_ipv4() { ICMPV4 } else { ICMPV6 };
    let raw = socket(dialect.family, SockType::Raw, SockFlag::SOCK_CLOEXEC, dialect.protocol)?;
    // Not UDP, but its `sendto`, `recvfrom` and time limit are all that a raw socket needs.
    let raw = UdpSocket::from(raw);
    let deadline = Instant::now() + patience;
    raw.send_to(&request(&dialect, payload), SocketAddr::new(to, 0))?;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        raw.set_read_timeout(Some(left))?;
        let (length, from) = raw.recv_from(&mut buffer)?;
        if from.ip() == to && is_reply(&dialect, message_in(&buffer[..length], to), payload) {
            return Ok(true);
        }
    }
}

/// An echo request. Over IPv6 the kernel itself fills in the checksum.
fn request(dialect: &Dialect, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER_LEN];
    message[0] = dialect.request;
    message.extend_from_slice(payload);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Whether a message is the reply to the request with this payload.
fn is_reply(dialect: &Dialect, message: &[u8], payload: &[u8]) -> bool {
    message.first() == Some(&dialect.reply) && message.get(HEADER_LEN..) == Some(payload)
}

/// The ICMP message in what a raw socket received: an IPv4 socket also hands out the IP header.
fn message_in(received: &[u8], from: IpAddr) -> &[u8] {
    let header_len = match received.first() {
        Some(first) if from.is_ipv4() => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    received.get(header_len..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_checked_message_is_zero() {
        for payload in [&b""[..], b"odd", b"even"] {
            assert_eq!(checksum(&request(&ICMPV4, payload)), 0);
        }
    }

    #[test]
    fn only_the_reply_to_the_request_counts() {
        let mut reply = request(&ICMPV4, b"one");
        assert!(!is_reply(&ICMPV4, &reply, b"one"), "a request is no reply");
        reply[0] = ICMPV4.reply;
        assert!(is_reply(&ICMPV4, &reply, b"one"));
        assert!(!is_reply(&ICMPV4, &reply, b"two"), "another's reply");
        assert!(!is_reply(&ICMPV4, &reply[..4], b"one"), "truncated");
    }
}
