//! The packet as the hook hands it over, whatever the hook: a [`Frame`], and a [`Cursor`] over its bytes.
//! Only this file and the two kinds of frame, [`crate::skb`] and [`crate::xdp`], touch packet memory.

use core::arch::asm;

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use enforcer_common::limits::MAX_HEADER_BYTES;

use crate::config;

/// A frame in front of a hook.
pub trait Frame: Copy {
    /// Bytes from the Ethernet header on.
    fn length(self) -> u32;
    /// Packets that it will be cut into, each behind so many bytes of headers; 0 for one that is a packet.
    fn segments(self, headers: u32) -> u32;
    /// The interface whose hook runs.
    fn ifindex(self) -> u32;
    /// Where it came from, as far as the kernel knows.
    fn origin(self) -> Origin;
    /// Reads the headers into the journey, [`crate::parse`]; 0 or the number of a drop reason.
    fn parse(self) -> u8;
    /// Makes headers readable that lie where the program cannot read them yet; false when there are none
    /// or it failed. Earlier cursors die.
    fn pull_headers(self) -> bool;
}

/// Where a frame came from.
#[derive(Clone, Copy, Default)]
pub struct Origin {
    /// The stamp of the endpoint through whose veth it entered; 0 for none.
    pub stamp: u32,
    /// Whether the host itself sent it: only then did it enter through no interface.
    pub from_host: bool,
}

/// Bytes of an Ethernet header.
pub const ETHERNET: u32 = size_of::<Ethernet>() as u32;

/// Bytes that hold every header the parser may want.
#[inline(always)]
pub const fn wanted_header_bytes(length: u32) -> u32 {
    if length < MAX_HEADER_BYTES { length } else { MAX_HEADER_BYTES }
}

/// A bounds-checked position in packet memory.
///
/// It is kept as an offset with one bound for all paths, and not as a pointer: that is what lets the
/// verifier see that two paths through the parser have met.
#[derive(Clone, Copy)]
pub struct Cursor {
    data: usize,
    end: usize,
    offset: u32,
}

impl Cursor {
    /// Over the memory from `data` up to `end`, at its beginning; the verifier must know these two as the
    /// packet's bounds.
    #[inline(always)]
    pub const fn new(data: usize, end: usize) -> Self {
        Self { data, end, offset: 0 }
    }

    /// Bytes that the program can read, from the Ethernet header on.
    #[inline(always)]
    pub const fn readable(&self) -> u32 {
        self.end.wrapping_sub(self.data) as u32
    }

    /// How far it has come.
    #[inline(always)]
    pub const fn offset(&self) -> u32 {
        self.offset
    }

    /// The header at the cursor, which moves behind it; `None` when the packet ends before.
    ///
    /// The reference dies with the next call that may move packet data; nothing keeps one.
    #[inline(always)]
    pub fn take<'a, T: Header>(&mut self) -> Option<&'a T> {
        let at = self.data + bounded(self.offset);
        if at + size_of::<T>() > self.end {
            return None;
        }
        self.offset += size_of::<T>() as u32;
        // SAFETY: `at .. at + size` lies within the packet, and `Header` types are plain bytes of
        // alignment 2 at most, which the kernel guarantees (NET_IP_ALIGN keeps offsets even).
        Some(unsafe { &*(at as *const T) })
    }

    /// Goes to an offset; `None` beyond what any header may lie at.
    #[inline(always)]
    pub fn seek(&mut self, offset: u32) -> Option<()> {
        self.offset = offset;
        (offset <= MAX_HEADER_BYTES).then_some(())
    }

    /// Moves on without reading; `None` beyond what any header may lie at.
    #[inline(always)]
    pub fn skip(&mut self, bytes: u32) -> Option<()> {
        self.offset += bytes;
        (self.offset <= MAX_HEADER_BYTES).then_some(())
    }
}

/// Above every offset: a header begins at [`MAX_HEADER_BYTES`] at most, and others may follow it.
const OFFSET_BITS: u32 = 2 * MAX_HEADER_BYTES - 1;

/// An offset, with its bound where every verifier sees it. Kernels before 6.8 forget the bounds of what was kept on
/// the stack or compared in another register, and then refuse the pointer that it becomes part of. The compiler
/// would see that nothing is masked away, and leave the mask out.
#[inline(always)]
fn bounded(offset: u32) -> usize {
    let mut offset = offset as usize;
    // SAFETY: one instruction on one register.
    unsafe {
        asm!("{0} &= {1}", inout(reg) offset, const OFFSET_BITS, options(pure, nomem, nostack, preserves_flags));
    }
    offset
}

/// A protocol header: any bytes are valid.
///
/// # Safety
/// `repr(C, packed(2))` (2-byte loads; a packed(1) field would cost a load per byte), no padding, no
/// invalid values.
pub unsafe trait Header {}

macro_rules! header {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C, packed(2))]
        #[derive(Clone, Copy)]
        #[allow(dead_code, reason = "a header is laid out whole")]
        pub struct $name { $(pub $field: $type,)* }
        // SAFETY: integers and byte arrays only.
        unsafe impl Header for $name {}
    };
}

header! { /// IEEE 802.3.
Ethernet { dst: [u8; 6], src: [u8; 6], ethertype: u16, } }
header! { /// RFC 791, up to the addresses.
Ipv4Front { version_ihl: u8, tos: u8, total_length: u16, id: u16, fragment: u16, ttl: u8, protocol: u8,
            checksum: u16, } }
header! { /// RFC 8200, up to the addresses.
Ipv6Front { version_class_label: u32, payload_length: u16, next_header: u8, hop_limit: u8, } }
header! { /// RFC 826, for IPv4 over Ethernet.
Arp { hardware: u16, protocol: u16, hardware_len: u8, protocol_len: u8, operation: u16,
      sender_mac: [u8; 6], sender: [u16; 2], target_mac: [u8; 6], target: [u16; 2], } }
header! { /// RFC 791.
Ipv4 { version_ihl: u8, tos: u8, total_length: u16, id: u16, fragment: u16, ttl: u8, protocol: u8,
       checksum: u16, src: u32, dst: u32, } }
header! { /// RFC 8200.
Ipv6 { version_class_label: u32, payload_length: u16, next_header: u8, hop_limit: u8,
       src: [u32; 4], dst: [u32; 4], } }
header! { /// RFC 8200 §4.3: the first eight bytes of any extension header.
Extension { next_header: u8, length: u8, data: [u8; 6], } }
header! { /// RFC 9293.
Tcp { src: u16, dst: u16, sequence: u32, acknowledgement: u32, data_offset: u8, flags: u8,
      window: u16, checksum: u16, urgent: u16, } }
header! { /// The first eight bytes of UDP (RFC 768) and SCTP (RFC 9260).
Ports { src: u16, dst: u16, rest: u32, } }
header! { /// RFC 792, RFC 4443.
Icmp { kind: u8, code: u8, checksum: u16, id: u16, sequence: u16, } }
header! { /// RFC 2131 §2, up to the client's hardware address; behind the UDP header.
Dhcp { op: u8, htype: u8, hlen: u8, hops: u8, xid: u32, secs: u16, flags: u16, ciaddr: u32, yiaddr: u32,
       siaddr: u32, giaddr: u32, chaddr: [u8; 6], } }
header! { /// RFC 4861 §4.3: behind the ICMPv6 header of a solicitation or advertisement.
NeighborTarget { address: [u32; 4], } }

/// A header right behind that of Ethernet.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub struct Framed<T> {
    pub ethernet: Ethernet,
    pub inner: T,
}

// SAFETY: two headers, and no padding between them.
unsafe impl<T: Header> Header for Framed<T> {}

/// Nanoseconds of `CLOCK_MONOTONIC`; where the kernel's ticks keep pace with it as of the latest but one of them, because
/// no function has to be called to know how many there were.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: both helpers only read a clock; the verifier makes a load of the first.
    unsafe {
        match config::tick() {
            0 => bpf_ktime_get_ns(),
            tick => bpf_jiffies64().wrapping_mul(tick).wrapping_add(config::ticks_from()),
        }
    }
}
