//! The packet as the hook hands it over. The only file that touches packet memory.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_skb_pull_data},
    programs::TcContext,
};
use enforcer_common::limits::MAX_HEADER_BYTES;

use crate::config;

/// The kernel's socket buffer, seen through the tc context.
#[derive(Clone, Copy)]
pub struct Skb(*mut __sk_buff);

impl Skb {
    #[inline(always)]
    pub const fn new(ctx: &TcContext) -> Self {
        Self(ctx.skb.skb)
    }

    /// The same buffer, inside a station that is a function of its own.
    #[inline(always)]
    pub const fn from_context(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// What a station that is a function of its own is given.
    #[inline(always)]
    pub const fn context(self) -> *mut __sk_buff {
        self.0
    }

    /// Bytes from the Ethernet header on.
    #[inline(always)]
    pub fn length(self) -> u32 {
        // SAFETY: the kernel hands the program a valid context; so for every read below.
        unsafe { (*self.0).len }
    }

    /// The interface whose hook runs.
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: see `length`.
        unsafe { (*self.0).ifindex }
    }

    /// Whether the host itself sent the packet: only then did it enter through no interface.
    #[inline(always)]
    pub fn is_locally_generated(self) -> bool {
        // SAFETY: see `length`.
        unsafe { (*self.0).ingress_ifindex == 0 }
    }

    /// Whether the kernel took a VLAN tag out of the frame and keeps it beside it.
    #[inline(always)]
    pub fn has_accelerated_vlan(self) -> bool {
        // SAFETY: see `length`.
        unsafe { (*self.0).vlan_present != 0 }
    }

    /// The stamp that the packet carries; 0 for none.
    #[inline(always)]
    pub fn stamp(self) -> u32 {
        // SAFETY: see `length`.
        unsafe { (*self.0).mark & config::mark_mask() }
    }

    /// Stamps the packet as having entered through a checked veth; other bits of the mark stay.
    #[inline(always)]
    pub fn set_stamp(self, stamp: u32) {
        // SAFETY: see `length`. Volatile, because LLVM would merge neighbouring stores to the context
        // into one wider than the verifier accepts.
        unsafe {
            let mark = (*self.0).mark & !config::mark_mask() | stamp;
            core::ptr::write_volatile(&raw mut (*self.0).mark, mark);
        }
    }

    /// A cursor at the Ethernet header, over what is readable without asking the kernel.
    #[inline(always)]
    pub fn cursor(self) -> Cursor {
        // SAFETY: see `length`; the verifier knows these words as the packet's bounds.
        unsafe { Cursor { data: (*self.0).data as usize, end: (*self.0).data_end as usize, offset: 0 } }
    }

    /// Whether headers may lie where the program cannot read them yet.
    #[inline(always)]
    pub fn hides_headers(self) -> bool {
        let cursor = self.cursor();
        cursor.end < cursor.data + self.wanted_header_bytes() as usize
    }

    /// Makes the headers readable; earlier cursors die.
    #[inline(always)]
    pub fn pull_headers(self) -> Result<(), ()> {
        // SAFETY: the context is valid, and no pointer into the packet is used afterwards.
        match unsafe { bpf_skb_pull_data(self.0, self.wanted_header_bytes()) } {
            0 => Ok(()),
            _ => Err(()),
        }
    }

    #[inline(always)]
    fn wanted_header_bytes(self) -> u32 {
        let length = self.length();
        if length < MAX_HEADER_BYTES { length } else { MAX_HEADER_BYTES }
    }
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
    /// The header at the cursor, which moves behind it; `None` when the packet ends before.
    ///
    /// The reference dies with the next call that may move packet data; nothing keeps one.
    #[inline(always)]
    pub fn take<'a, T: Header>(&mut self) -> Option<&'a T> {
        let at = self.data + self.offset as usize;
        if at + size_of::<T>() > self.end {
            return None;
        }
        self.offset += size_of::<T>() as u32;
        // SAFETY: `at .. at + size` lies within the packet, and `Header` types are plain bytes of
        // alignment 2 at most, which the kernel guarantees (NET_IP_ALIGN keeps offsets even).
        Some(unsafe { &*(at as *const T) })
    }

    /// Moves on without reading; `None` beyond what any header may lie at.
    #[inline(always)]
    pub fn skip(&mut self, bytes: u32) -> Option<()> {
        self.offset += bytes;
        (self.offset <= MAX_HEADER_BYTES).then_some(())
    }
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
        #[allow(dead_code, reason = "a header is laid out whole")]
        pub struct $name { $(pub $field: $type,)* }
        // SAFETY: integers and byte arrays only.
        unsafe impl Header for $name {}
    };
}

header! { /// IEEE 802.3.
Ethernet { dst: [u8; 6], src: [u8; 6], ethertype: u16, } }
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
header! { /// RFC 4861 §4.3: behind the ICMPv6 header of a solicitation or advertisement.
NeighborTarget { address: [u32; 4], } }

/// Nanoseconds of `CLOCK_MONOTONIC`, at the kernel's tick resolution where it can.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: both helpers only read the clock.
    unsafe { if config::has_coarse_clock() { bpf_ktime_get_coarse_ns() } else { bpf_ktime_get_ns() } }
}
