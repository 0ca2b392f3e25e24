//! One address type for both families, so that IPv4 and IPv6 are one path.

use bytemuck::{Pod, Zeroable};

use crate::{map_layout, verdict::DropReason};

/// Third word of a v4-mapped address, `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
const MAPPED: u32 = 0xffff_u32.to_be();

/// Bits of a v4-mapped prefix in front of the IPv4 prefix.
pub const V4_PREFIX_OFFSET: u8 = 96;

/// An IPv6 address, or an IPv4 address in its v4-mapped form; four words in network byte order.
///
/// A packet on the wire whose IPv6 header carries a v4-mapped address is dropped by the parser, so a
/// mapped address in a table always means IPv4.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct Address(pub [u32; 4]);

map_layout!(Address, 16);

/// Where an address is meaningful (RFC 6890, RFC 4291 §2.7); what decides how a packet is treated
/// before any policy is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Unicast that may be a member of networks.
    Global,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// `0.0.0.0` and `::`.
    Unspecified,
    /// Never seen on a wire: `127.0.0.0/8`, the rest of `0.0.0.0/8`, `240.0.0.0/4`, `::1`.
    Martian,
}

impl Address {
    /// An IPv4 address from its four bytes in network order, read as one word.
    #[inline(always)]
    pub const fn from_v4(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// Whether this stands for an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// See [`Scope`].
    #[inline(always)]
    pub const fn scope(self) -> Scope {
        if self.is_v4() { scope_v4(u32::from_be(self.0[3])) } else { self.scope_v6() }
    }

    /// `ff02::/16`: multicast that no router forwards (RFC 4291 §2.7).
    #[inline(always)]
    pub const fn is_link_scope_multicast(self) -> bool {
        u32::from_be(self.0[0]) >> 16 == 0xff02
    }

    /// The MAC that an IPv6 interface identifier was made of (RFC 4291, appendix A).
    #[inline(always)]
    pub const fn eui64_mac(self) -> Option<[u8; 6]> {
        let [flipped, second, third, ff] = self.0[2].to_ne_bytes();
        let [fe, last @ ..] = self.0[3].to_ne_bytes();
        if self.is_v4() || ff != 0xff || fe != 0xfe {
            return None;
        }
        Some([flipped ^ 2, second, third, last[0], last[1], last[2]])
    }

    #[inline(always)]
    const fn scope_v6(self) -> Scope {
        let head = u32::from_be(self.0[0]);
        if head >> 24 == 0xff {
            Scope::Multicast
        } else if head >> 22 == 0xfe80 >> 6 {
            Scope::LinkLocal
        } else if self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0 {
            match u32::from_be(self.0[3]) {
                0 => Scope::Unspecified,
                1 => Scope::Martian,
                _ => Scope::Global,
            }
        } else {
            Scope::Global
        }
    }
}

/// Whether neither address is only of a link, or of many.
#[inline(always)]
pub const fn are_global(src: Address, dst: Address) -> bool {
    matches!((src.scope(), dst.scope()), (Scope::Global, Scope::Global))
}

/// What no policy can allow between two addresses; nothing between two unicast ones.
#[inline(always)]
pub const fn forbidden(src: Address, dst: Address) -> Option<DropReason> {
    match (src.scope(), dst.scope()) {
        (Scope::Global | Scope::LinkLocal, Scope::Global | Scope::LinkLocal) => None,
        // Who has no address yet may speak to all (RFC 2131 §4.1, RFC 3376 §4.2.13), if to nobody else.
        (Scope::Global | Scope::LinkLocal | Scope::Unspecified, Scope::Multicast | Scope::Broadcast) => {
            Some(DropReason::Multicast)
        }
        _ => Some(DropReason::Martian),
    }
}

#[inline(always)]
const fn scope_v4(address: u32) -> Scope {
    match address >> 24 {
        0 if address == 0 => Scope::Unspecified,
        169 if address >> 16 == 0xa9fe => Scope::LinkLocal,
        224..=239 => Scope::Multicast,
        255 if address == u32::MAX => Scope::Broadcast,
        0 | 127 | 240..=255 => Scope::Martian,
        _ => Scope::Global,
    }
}

#[cfg(any(feature = "user", test))]
mod text {
    use core::{
        fmt,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    use super::Address;

    impl From<IpAddr> for Address {
        fn from(ip: IpAddr) -> Self {
            match ip {
                IpAddr::V4(v4) => Self::from_v4(u32::from_ne_bytes(v4.octets())),
                IpAddr::V6(v6) => Self(bytemuck::cast(v6.octets())),
            }
        }
    }

    impl From<Address> for IpAddr {
        fn from(address: Address) -> Self {
            if address.is_v4() {
                Self::V4(Ipv4Addr::from(address.0[3].to_ne_bytes()))
            } else {
                Self::V6(Ipv6Addr::from(bytemuck::cast::<_, [u8; 16]>(address.0)))
            }
        }
    }

    impl fmt::Display for Address {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            IpAddr::from(*self).fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    fn scope(text: &str) -> Scope {
        Address::from(text.parse::<IpAddr>().unwrap()).scope()
    }

    #[test]
    fn scopes_of_both_families() {
        for (text, expected) in [
            ("10.1.0.5", Scope::Global),
            ("169.254.169.254", Scope::LinkLocal),
            ("169.253.0.1", Scope::Global),
            ("224.0.0.1", Scope::Multicast),
            ("239.255.255.255", Scope::Multicast),
            ("240.0.0.1", Scope::Martian),
            ("255.255.255.255", Scope::Broadcast),
            ("255.255.255.254", Scope::Martian),
            ("127.0.0.1", Scope::Martian),
            ("0.0.0.0", Scope::Unspecified),
            ("0.0.0.1", Scope::Martian),
            ("2001:db8::1", Scope::Global),
            ("fe80::1", Scope::LinkLocal),
            ("febf::1", Scope::LinkLocal),
            ("fec0::1", Scope::Global),
            ("ff02::1", Scope::Multicast),
            ("::", Scope::Unspecified),
            ("::1", Scope::Martian),
            ("::2", Scope::Global),
        ] {
            assert_eq!(scope(text), expected, "{text}");
        }
    }

    #[test]
    fn text_round_trips() {
        for text in ["10.1.0.5", "2001:db8::1", "0.0.0.0", "::"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(ip)), ip);
            assert_eq!(Address::from(ip).to_string(), text);
        }
    }
}
