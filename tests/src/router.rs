//! A router's announcement, as a daemon like radvd makes it (RFC 4861 §4.2).

use std::io;
use std::mem::size_of_val;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::netns::NetNs;

/// RFC 4861 §6.1.2: no router has forwarded it.
static HOP_LIMIT: libc::c_int = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Tells everybody on an interface of `netns` to form addresses in `prefix`/64.
#[track_caller]
pub fn advertise(netns: &NetNs, interface: &str, prefix: Ipv6Addr) {
    let sent = netns.enter(|| send(interface, prefix));
    sent.unwrap_or_else(|error| panic!("failed to advertise {prefix} on {interface}: {error}"));
}

fn send(interface: &str, prefix: Ipv6Addr) -> io::Result<()> {
    let ifindex = if_nametoindex(interface)?;
    let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)?;
    // SAFETY: the option's value is a live integer of the size that is given.
    let outcome = unsafe {
        libc::setsockopt(
            raw.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MULTICAST_HOPS,
            (&raw const HOP_LIMIT).cast(),
            size_of_val(&HOP_LIMIT) as libc::socklen_t,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // Not UDP, but its `sendto` is all that a raw socket needs.
    let raw = UdpSocket::from(raw);
    raw.send_to(&advertisement(prefix), SocketAddrV6::new(ALL_NODES, 0, 0, ifindex)).map(drop)
}

/// The kernel fills in the checksum.
fn advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    const ROUTER_LIFETIME: [u8; 2] = 1800_u16.to_be_bytes();
    const HOUR: [u8; 4] = 3600_u32.to_be_bytes();
    const ON_LINK_AND_AUTONOMOUS: u8 = 0xc0;
    let header = [134, 0, 0, 0, 64, 0, ROUTER_LIFETIME[0], ROUTER_LIFETIME[1], 0, 0, 0, 0, 0, 0, 0, 0];
    let option = [3, 4, 64, ON_LINK_AND_AUTONOMOUS];
    [&header[..], &option, &HOUR, &HOUR, &[0; 4], &prefix.octets()].concat()
}
