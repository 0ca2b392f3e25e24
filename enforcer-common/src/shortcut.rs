//! The shortcut from one workload's interface into another's: past bridge, routing, netfilter and queues of the host. To
//! the outside and back it leads past routing and netfilter.
//!
//! It may be taken only where nothing that it passes by could have made a difference. The daemon watches that, and
//! lets the datapath have a [`Lease`]; when nobody watches any more, everything goes by the host's stack again.

use bytemuck::{Pod, Zeroable};

use crate::map_layout;

/// What holds for the host as a whole (value of the `LEASE` table).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Lease {
    /// Until when shortcuts may be taken, in nanoseconds of `CLOCK_MONOTONIC`.
    pub until: u64,
    /// Kinds that may be taken, as in [`Shortcut::flags`].
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

map_layout!(Lease, 16);

/// What there is to know of an endpoint to take a shortcut from it or to it (value of the `SHORTCUTS` table, by
/// endpoint id). All zero: there is none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Shortcut {
    /// When the next frame of this endpoint goes by its bridge, in nanoseconds of `CLOCK_MONOTONIC`: a bridge that
    /// hears nothing of somebody forgets where he is, and floods what is for him. The datapath writes it.
    pub refresh: u64,
    /// Its host-side interface.
    pub ifindex: u32,
    /// Kinds that may be taken from and to it: [`Shortcut::ROUTED_V4`], [`Shortcut::ROUTED_V6`],
    /// [`Shortcut::BRIDGED`].
    pub flags: u32,
    /// The bridge that its interface is a port of; 0 for none.
    pub bridge: u32,
    /// Bytes of the largest packet, from the IP header on, that its interface takes.
    pub mtu: u32,
    /// MAC of the workload's own interface.
    pub mac: [u8; 6],
    /// Zero; what follows begins with a word.
    pub reserved: [u8; 2],
    /// MAC under which the workload knows the host.
    pub gateway: [u8; 6],
    /// Zero.
    pub padding: [u8; 2],
}

map_layout!(Shortcut, 40);

/// How a frame gets from one endpoint to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// As the host's stack likes.
    Stack,
    /// Straight, as a router would hand it on.
    Routed,
    /// Straight, as a bridge would.
    Bridged,
}

impl Shortcut {
    /// IPv4 packets, where the host routes.
    pub const ROUTED_V4: u32 = 1;
    /// IPv6 packets, where the host routes.
    pub const ROUTED_V6: u32 = 2;
    /// Frames within one bridge.
    pub const BRIDGED: u32 = 4;

    /// How often a frame of an endpoint goes by its bridge, in nanoseconds: rarely, since those behind it overtake it.
    /// Bridges forget after 300 seconds unless told otherwise.
    pub const REFRESH: u64 = 20_000_000_000;

    /// Seconds that a bridge has to remember at least; over others no shortcut is taken.
    pub const LEAST_AGEING: u64 = 60;

    /// The kind of what is routed.
    #[inline(always)]
    pub const fn routed(is_v4: bool) -> u32 {
        if is_v4 { Self::ROUTED_V4 } else { Self::ROUTED_V6 }
    }

    /// How a frame for `dst` (its MAC) with a packet of so many `bytes`, from the IP header on, gets from `self` to
    /// `to`. `kinds` are those that the host allows.
    #[inline(always)]
    pub fn way(&self, to: &Self, kinds: u32, dst: [u8; 6], is_v4: bool, bytes: u32) -> Way {
        let kinds = kinds & self.flags & to.flags;
        let routed = Self::routed(is_v4);
        let same_link = self.bridge != 0 && self.bridge == to.bridge;
        // By value: of what lies behind a reference to bytes the compiler knows no alignment.
        let (Self { gateway, .. }, Self { mac, .. }) = (*self, *to);
        // Back to where it came from the host would send a redirect, too.
        if bytes > to.mtu || self.ifindex == to.ifindex {
            Way::Stack
        } else if kinds & routed != 0 && dst == gateway && !same_link {
            Way::Routed
        } else if kinds & Self::BRIDGED != 0 && dst == mac && same_link {
            Way::Bridged
        } else {
            Way::Stack
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Shortcut = Shortcut {
        refresh: 0,
        ifindex: 7,
        flags: Shortcut::ROUTED_V4 | Shortcut::ROUTED_V6 | Shortcut::BRIDGED,
        bridge: 0,
        mtu: 1500,
        mac: [2, 0, 0, 0, 0, 7],
        gateway: [2, 0, 0, 0, 1, 7],
        reserved: [0; 2],
        padding: [0; 2],
    };
    const B: Shortcut = Shortcut { ifindex: 8, mac: [2, 0, 0, 0, 0, 8], gateway: [2, 0, 0, 0, 1, 8], ..A };
    const ALL: u32 = A.flags;

    fn on(bridge: u32, shortcut: Shortcut) -> Shortcut {
        Shortcut { bridge, ..shortcut }
    }

    #[test]
    fn a_router_is_left_out_only_by_what_was_sent_to_it() {
        assert_eq!(A.way(&B, ALL, A.gateway, true, 1500), Way::Routed);
        assert_eq!(A.way(&B, ALL, A.gateway, false, 1500), Way::Routed);
        assert_eq!(A.way(&B, ALL, B.gateway, true, 1500), Way::Stack, "not to the host");
        assert_eq!(A.way(&B, ALL, B.mac, true, 1500), Way::Stack, "no bridge leads there");
        assert_eq!(A.way(&B, ALL, A.gateway, true, 1501), Way::Stack, "too big");
        assert_eq!(A.way(&A, ALL, A.gateway, true, 60), Way::Stack, "to itself");
        assert_eq!(A.way(&Shortcut::default(), ALL, A.gateway, true, 60), Way::Stack, "nobody");
        assert_eq!(A.way(&B, Shortcut::ROUTED_V6, A.gateway, true, 60), Way::Stack, "the host minds");
        let only_v6 = Shortcut { flags: Shortcut::ROUTED_V6, ..B };
        assert_eq!(A.way(&only_v6, ALL, A.gateway, true, 60), Way::Stack, "the receiver's interface minds");
        assert_eq!(only_v6.way(&A, ALL, B.gateway, true, 60), Way::Stack, "the sender's interface minds");
        assert_eq!(only_v6.way(&A, ALL, B.gateway, false, 60), Way::Routed);
    }

    #[test]
    fn a_bridge_is_left_out_only_within_it() {
        let (a, b) = (on(3, A), on(3, B));
        assert_eq!(a.way(&b, ALL, b.mac, true, 1500), Way::Bridged);
        assert_eq!(a.way(&on(4, B), ALL, b.mac, true, 60), Way::Stack, "another bridge");
        assert_eq!(
            a.way(&on(4, B), ALL, a.gateway, true, 60),
            Way::Routed,
            "between bridges the host routes"
        );
        assert_eq!(a.way(&b, ALL, a.gateway, true, 60), Way::Stack, "a redirect is due");
        assert_eq!(a.way(&b, ALL, [255; 6], true, 60), Way::Stack, "to all");
        let both = Shortcut::ROUTED_V4 | Shortcut::ROUTED_V6;
        assert_eq!(a.way(&b, both, b.mac, true, 60), Way::Stack, "the host minds");
    }
}
