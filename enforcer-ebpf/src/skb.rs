//! A frame in front of a tc program: the kernel's socket buffer.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_redir_neigh},
    helpers::{
        bpf_check_mtu, bpf_csum_update, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer,
        bpf_skb_change_type, bpf_skb_pull_data,
    },
    programs::TcContext,
};

use crate::{
    config,
    packet::{Cursor, Ethernet, Frame, Header, Origin, wanted_header_bytes},
    parse,
};

/// `PACKET_HOST` of linux/if_packet.h.
const PACKET_HOST: u32 = 0;
/// `BPF_MTU_CHK_SEGS` and `BPF_MTU_CHK_RET_SUCCESS` of linux/bpf.h.
const PIECES: u64 = 1;
const FITS: i64 = 0;

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

    /// Whether the kernel took a VLAN tag out of the frame and keeps it beside it.
    #[inline(always)]
    pub fn has_accelerated_vlan(self) -> bool {
        // SAFETY: the kernel hands the program a valid context; so for every read below.
        unsafe { (*self.0).vlan_present != 0 }
    }

    /// Stamps the packet as having entered through a checked veth; other bits of the mark stay.
    #[inline(always)]
    pub fn set_stamp(self, stamp: u32) {
        // SAFETY: see above. Volatile, because LLVM would merge neighbouring stores to the context into
        // one wider than the verifier accepts.
        unsafe {
            let mark = (*self.0).mark & !config::mark_mask() | stamp;
            core::ptr::write_volatile(&raw mut (*self.0).mark, mark);
        }
    }

    /// MAC that the frame is for.
    #[inline(always)]
    pub fn destination(self) -> Option<[u8; 6]> {
        self.cursor().take::<Ethernet>().map(|ethernet| ethernet.dst)
    }

    /// Bytes of payload in each packet that the frame is to be cut into; 0 for one that is a packet.
    #[inline(always)]
    pub fn segment(self) -> u32 {
        // SAFETY: see above.
        unsafe { (*self.0).gso_size }
    }

    /// Whether each packet that the frame is to be cut into has no more than so many bytes, from the IP header on, which are
    /// all that an interface takes. Not, where that is another limit than the interface's own.
    #[inline(always)]
    pub fn pieces_fit(self, bytes: u32, ifindex: u32) -> bool {
        if !config::measures_pieces() {
            return false;
        }
        let mut limit = 0;
        // SAFETY: the helper reads and writes this number, and reads the buffer.
        let told = unsafe { bpf_check_mtu(self.0.cast(), ifindex, &raw mut limit, 0, PIECES) };
        told == FITS && limit == bytes
    }

    /// The first headers, to be written to; `None` when the packet ends before, or they lie where the program cannot read
    /// them. Nobody else has them: in front of a program that writes the kernel copies what it shares with others.
    ///
    /// The reference dies with the next call that may move packet data; nothing keeps one.
    #[inline(always)]
    pub fn front<'a, T: Header>(self) -> Option<&'a mut T> {
        // SAFETY: see above; the verifier knows these words as the packet's bounds.
        let (data, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        if data + size_of::<T>() > end {
            return None;
        }
        // SAFETY: it lies within the packet; see `Cursor::take`.
        Some(unsafe { &mut *(data as *mut T) })
    }

    /// Adds to the sum over what is behind the Ethernet header, where the interface has made one.
    #[inline(always)]
    pub fn add_to_sum(self, difference: u32) {
        // SAFETY: see above. It refuses where there is none.
        unsafe { bpf_csum_update(self.0, difference) };
    }

    /// Whether the frame was addressed to the interface that it came in by.
    #[inline(always)]
    pub fn is_for_us(self) -> bool {
        // SAFETY: see above.
        unsafe { (*self.0).pkt_type == PACKET_HOST }
    }

    /// Whoever it was addressed to, it is for who receives it.
    #[inline(always)]
    pub fn is_now_for_us(self) {
        if !self.is_for_us() {
            // SAFETY: see above. It refuses only kinds that do not exist.
            unsafe { bpf_skb_change_type(self.0, PACKET_HOST) };
        }
    }

    /// The buffer itself, for a station that is a function of its own.
    #[inline(always)]
    pub const fn context(self) -> *mut __sk_buff {
        self.0
    }

    /// Into the other end of a veth, as if it had come from there; what the hook returns.
    #[inline(always)]
    pub fn redirect_peer(self, ifindex: u32) -> i32 {
        // SAFETY: the helper notes where to, and no more.
        unsafe { bpf_redirect_peer(ifindex, 0) as i32 }
    }

    /// Out of an interface, as it is; what the hook returns.
    #[inline(always)]
    pub fn redirect(self, ifindex: u32) -> i32 {
        // SAFETY: the helper notes where to, and no more.
        unsafe { bpf_redirect(ifindex, 0) as i32 }
    }

    /// Out of an interface to a neighbour there, whose MAC the kernel finds or asks for; what the hook returns.
    #[inline(always)]
    pub fn redirect_neighbor(self, ifindex: u32, neighbor: &mut bpf_redir_neigh) -> i32 {
        // SAFETY: the helper copies the neighbour, notes where to, and no more.
        unsafe { bpf_redirect_neigh(ifindex, neighbor, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
    }

    /// A cursor at the Ethernet header, over what is readable without asking the kernel.
    #[inline(always)]
    pub fn cursor(self) -> Cursor {
        // SAFETY: see above; the verifier knows these words as the packet's bounds.
        unsafe { Cursor::new((*self.0).data as usize, (*self.0).data_end as usize) }
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn length(self) -> u32 {
        // SAFETY: see above.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn segments(self, headers: u32) -> u32 {
        let payload = self.segment();
        if payload == 0 {
            return 0;
        }
        // SAFETY: see above.
        match unsafe { (*self.0).gso_segs } {
            // Another kernel made it, or a program by a packet socket, and neither says how many (`virtio_net_hdr`).
            0 => self.length().saturating_sub(headers).div_ceil(payload),
            told => told,
        }
    }

    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: see above.
        unsafe { (*self.0).ifindex }
    }

    #[inline(always)]
    fn origin(self) -> Origin {
        // SAFETY: see above.
        unsafe {
            Origin { stamp: (*self.0).mark & config::mark_mask(), from_host: (*self.0).ingress_ifindex == 0 }
        }
    }

    #[inline(always)]
    fn parse(self) -> u8 {
        parse::read_all(|| parse::parse_skb(self.0), || parse::parse_skb_quote(self.0))
    }

    /// The kernel may have to copy, so this is for the second try.
    #[inline(always)]
    fn pull_headers(self) -> bool {
        let wanted = wanted_header_bytes(self.length());
        // SAFETY: see above; no pointer into the packet is used afterwards.
        self.cursor().readable() < wanted && unsafe { bpf_skb_pull_data(self.0, wanted) == 0 }
    }
}
