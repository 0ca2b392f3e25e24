//! A frame in front of an XDP program, before the kernel has made a socket buffer of it.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};

use crate::{
    packet::{Cursor, Frame, Origin},
    parse,
};

/// The kernel's buffer, seen through the XDP context. All of it is linear: the program does not ask for
/// fragments, so the kernel refuses to attach it where frames may have some.
#[derive(Clone, Copy)]
pub struct XdpFrame(*mut xdp_md);

impl XdpFrame {
    #[inline(always)]
    pub const fn new(ctx: &XdpContext) -> Self {
        Self(ctx.ctx)
    }

    /// The same buffer, inside a station that is a function of its own.
    #[inline(always)]
    pub const fn from_context(context: *mut xdp_md) -> Self {
        Self(context)
    }

    /// A cursor at the Ethernet header.
    #[inline(always)]
    pub fn cursor(self) -> Cursor {
        // SAFETY: the kernel hands the program a valid context; so for every read below.
        unsafe { Cursor::new((*self.0).data as usize, (*self.0).data_end as usize) }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn length(self) -> u32 {
        // SAFETY: see `cursor`. The difference of two packet pointers is a number.
        unsafe { (*self.0).data_end.wrapping_sub((*self.0).data) }
    }

    #[inline(always)]
    fn segments(self, _headers: u32) -> u32 {
        0
    }

    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: see `cursor`.
        unsafe { (*self.0).ingress_ifindex }
    }

    /// Nobody has stamped it yet, and it entered through an interface.
    #[inline(always)]
    fn origin(self) -> Origin {
        Origin::default()
    }

    #[inline(always)]
    fn parse(self) -> u8 {
        parse::read_all(|| parse::parse_xdp(self.0), || parse::parse_xdp_quote(self.0))
    }

    #[inline(always)]
    fn pull_headers(self) -> bool {
        false
    }
}
