//! Whose addresses packets have.

use std::net::IpAddr;

use enforcer::policy::oracle::Endpoint;
use ipnet::IpNet;
use proptest::{prelude::*, sample::Index};

use super::scene::Scene;

/// Addresses of nobody on this host, as a rule: neighbours of prefixes' edges, and special ones.
const STRANGERS: [&str; 47] = [
    "10.1.0.0",
    "10.1.0.3",
    "10.1.0.8",
    "10.1.0.200",
    "10.1.0.255",
    "10.1.1.0",
    "10.1.1.6",
    "10.2.0.127",
    "10.2.1.0",
    "9.255.255.255",
    "11.0.0.0",
    "127.255.255.255",
    "128.0.0.0",
    "203.0.113.9",
    "0.0.0.0",
    "0.0.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "255.255.255.254",
    "2001:db8:1::",
    "2001:db8:1::3",
    "2001:db8:1::8",
    "2001:db8:1:0:ffff:ffff:ffff:ffff",
    "2001:db8:1:1::6",
    "2001:db8:2::2",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "64:ff9b::a01:5",
    "8000::1",
    "fe80::1",
    "febf::1",
    // Made of the MACs of the first two endpoints.
    "fe80::ff:fe00:100",
    "fe80::ff:fe00:101",
    "fec0::1",
    "ff02::1",
    "ff02::16",
    "ff02::1:ff00:5",
    "ff05::1",
    "::",
    "::1",
    "::2",
    "::ffff:10.1.0.5",
    "::ffff:0:10.1.0.5",
];

/// Those of them who take part in conversations.
const CORRESPONDENTS: [&str; 10] = [
    "10.1.0.200",
    "10.2.0.127",
    "11.0.0.0",
    "203.0.113.9",
    "169.254.169.254",
    "2001:db8:1::8",
    "2001:db8:2::2",
    "64:ff9b::a01:5",
    "8000::1",
    "fe80::1",
];

/// Somebody with an address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Endpoint(usize, Index),
    Host(Index),
    Stranger(Index),
    /// A stranger without an odd address.
    Correspondent(Index),
}

impl Who {
    /// Somebody who takes part in conversations.
    pub(super) fn talking() -> impl Strategy<Value = Self> + Clone {
        prop_oneof![
            12 => (0..super::scene::ENDPOINTS.len(), any::<Index>()).prop_map(|(one, which)| Self::Endpoint(one, which)),
            2 => any::<Index>().prop_map(Self::Host),
            2 => any::<Index>().prop_map(Self::Correspondent),
        ]
    }
}

/// Who has an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    Endpoint(usize),
    Host,
    Elsewhere,
}

/// Everybody who is there.
pub(super) struct People {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) host: Vec<IpNet>,
}

impl People {
    pub(super) fn of(scene: &Scene) -> Self {
        Self { endpoints: scene.endpoints(), host: scene.host() }
    }

    /// One of the family's; a stranger's where there is none.
    pub(super) fn address(&self, who: Who, v6: bool) -> IpAddr {
        let (owned, list, index): (&[IpNet], &[&str], _) = match who {
            Who::Endpoint(one, index) => (&self.endpoints[one].addresses, &CORRESPONDENTS, index),
            Who::Host(index) => (&self.host, &CORRESPONDENTS, index),
            Who::Stranger(index) => (&[], &STRANGERS, index),
            Who::Correspondent(index) => (&[], &CORRESPONDENTS, index),
        };
        let of_family = owned.iter().filter(|net| net.addr().is_ipv6() == v6);
        let mut all: Vec<IpAddr> = of_family.flat_map(|net| [net.network(), net.broadcast()]).collect();
        if all.is_empty() {
            let strangers = list.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
            all = strangers.filter(|address| address.is_ipv6() == v6).collect();
        }
        *index.get(&all)
    }

    /// Where packets for `address` go.
    pub(super) fn home(&self, address: IpAddr) -> Home {
        let endpoints = self.endpoints.iter().enumerate();
        let owned = endpoints
            .flat_map(|(index, endpoint)| {
                endpoint.addresses.iter().map(move |net| (net, Home::Endpoint(index)))
            })
            .chain(self.host.iter().map(|net| (net, Home::Host)))
            .filter(|(net, _)| net.contains(&address));
        owned.max_by_key(|(net, _)| net.prefix_len()).map_or(Home::Elsewhere, |(_, home)| home)
    }
}
