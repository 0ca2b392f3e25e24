//! What the first fragment of a datagram tells the later ones: their ports. It is never a verdict; a later
//! fragment is judged as if it carried its datagram's transport header itself.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, map_layout};

/// How long a datagram may take to arrive, in nanoseconds: as long as a receiver waits (RFC 8200 §4.5).
pub const FRAGMENT_TIMEOUT: u64 = 60 * 1_000_000_000;

/// What the fragments of one datagram have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
pub struct FragmentKey {
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Identification, as it lies in the packet.
    pub id: u32,
    /// Protocol for IPv4, which is part of what identifies a datagram; 0 for IPv6.
    pub protocol: u32,
}

map_layout!(FragmentKey, 40);

/// What the first fragment said, kept only when it passed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct FragmentEntry {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub seen: u64,
    /// Source port, network byte order.
    pub src_port: u16,
    /// Destination port, network byte order.
    pub dst_port: u16,
    /// Bytes of the datagram, up to the end of the transport header, that no later fragment may touch.
    pub header_bytes: u16,
    /// The transport protocol.
    pub protocol: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

map_layout!(FragmentEntry, 24);
