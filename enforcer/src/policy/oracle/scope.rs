//! Where an address is meaningful, and what no policy can allow.

use std::net::{IpAddr, Ipv4Addr};

use enforcer_common::verdict::DropReason;

/// Where an address is meaningful.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// May be a member of networks.
    Global,
    LinkLocal,
    /// Multicast, or broadcast to everybody.
    Many,
    Unspecified,
    /// Loopback and reserved: on no wire.
    Martian,
}

impl Scope {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            _ if address.is_unspecified() => Self::Unspecified,
            _ if address.is_loopback() => Self::Martian,
            _ if address.is_multicast() => Self::Many,
            IpAddr::V4(Ipv4Addr::BROADCAST) => Self::Many,
            IpAddr::V4(v4) if v4.is_link_local() => Self::LinkLocal,
            IpAddr::V4(v4) if matches!(v4.octets()[0], 0 | 240..) => Self::Martian,
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Self::LinkLocal,
            _ => Self::Global,
        }
    }
}

/// Nobody sends from an address of many, one sends without an address only to many, and to many only
/// the host speaks.
pub(super) fn forbidden(src: IpAddr, dst: IpAddr) -> Option<DropReason> {
    match (Scope::of(src), Scope::of(dst)) {
        (Scope::Many | Scope::Martian, _) | (_, Scope::Martian | Scope::Unspecified) => {
            Some(DropReason::Martian)
        }
        (_, Scope::Many) => Some(DropReason::Multicast),
        (Scope::Unspecified, _) => Some(DropReason::Martian),
        (Scope::Global | Scope::LinkLocal, Scope::Global | Scope::LinkLocal) => None,
    }
}
