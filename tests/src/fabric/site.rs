//! The numbers of a place in the fabric: all addresses follow from the host's number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::fabric::Underlay;
use crate::packet::Family;

/// A host, or the stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// What it is called.
    pub name: &'static str,
    /// Its number, from one.
    pub number: u8,
}

impl Site {
    /// The hosts.
    pub const HOSTS: [Self; 2] = [Self { name: "one", number: 1 }, Self { name: "two", number: 2 }];
    /// Somebody else on the underlay.
    pub const STRANGER: Self = Self { name: "stranger", number: 3 };

    /// The addresses that a host has on no wire, of the families that it speaks.
    pub(crate) fn own_addresses(self, underlay: Underlay) -> Vec<IpAddr> {
        let ipv4 = Ipv4Addr::new(192, 0, 2, self.number);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, self.number.into());
        let both = [IpAddr::from(ipv4), ipv6.into()];
        both.into_iter().filter(|address| underlay.has_ipv4() || address.is_ipv6()).collect()
    }

    /// The unique prefix in which all workloads of the host are, and of no other host.
    pub fn slice(self, family: Family) -> IpNet {
        let number = u16::from(self.number);
        let slice = match family {
            Family::V4 => IpNet::new(Ipv4Addr::new(10, 10, self.number, 0).into(), 24),
            Family::V6 => IpNet::new(Ipv6Addr::new(0x2001, 0xdb8, 0xa, number << 8, 0, 0, 0, 0).into(), 56),
        };
        slice.expect("the length suits the family")
    }

    /// Its address on a wire of its own to the router, and the router's.
    pub fn routed(self, family: Family) -> [IpAddr; 2] {
        let number = u16::from(self.number);
        [2, 1].map(|last| match family {
            Family::V4 => IpAddr::from(Ipv4Addr::new(172, 20, self.number, last)),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, number, 0, 0, 0, last.into()).into(),
        })
    }

    /// Its address on the wire that all share. The last two bytes of IPv4 are those of its slice's network.
    pub fn switched(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(172, 20, 10, self.number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, self.number.into()).into(),
        }
    }
}
