//! Who takes part in the tests: each has an address of both families, so that a test written once runs
//! for both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The one of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Somebody with an address of both families.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party {
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Party {
    const fn new(v4: [u8; 4], v6: [u16; 8]) -> Self {
        Self { v4: Ipv4Addr::from_octets(v4), v6: Ipv6Addr::from_segments(v6) }
    }

    /// Its address of `family`.
    pub const fn on(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

/// A member of the network *blue*.
pub const BLUE_A: Party = Party::new([10, 1, 0, 5], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 5]);
/// Another member of *blue*, in another subnet.
pub const BLUE_B: Party = Party::new([10, 7, 3, 6], [0x2001, 0xdb8, 0x73, 0, 0, 0, 0, 6]);
/// A member of *blue* on another host.
pub const BLUE_FAR: Party = Party::new([10, 1, 0, 200], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 200]);
/// A member of the network *db*.
pub const DB: Party = Party::new([10, 9, 0, 5], [0x2001, 0xdb8, 9, 0, 0, 0, 0, 5]);
/// A member of *db* on another host.
pub const DB_FAR: Party = Party::new([10, 9, 0, 200], [0x2001, 0xdb8, 9, 0, 0, 0, 0, 200]);
/// A member of no network, on no host of ours.
pub const OUTSIDER: Party = Party::new([203, 0, 113, 9], [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 9]);
/// The host; its addresses lie inside *blue*'s prefixes, as a bridge's gateway does.
pub const HOST: Party = Party::new([10, 1, 0, 1], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]);
