//! Random facts: who sits where, and has which addresses.

use enforcer::policy::oracle::{Endpoint, HostEnd};
use proptest::{collection::vec, option::weighted, prelude::*};

/// The workloads.
pub(super) const ENDPOINTS: [&str; 4] = ["web", "api", "db", "new"];

/// The interface that leads outside.
pub(super) const UPLINK: &str = "uplink";

/// The MAC of an endpoint's interface.
pub(super) const fn mac(endpoint: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, endpoint as u8]
}

/// What somebody may own: addresses, and prefixes around them.
const OWNABLE: [&str; 20] = [
    "10.1.0.4/30",
    "10.1.0.5/32",
    "10.1.0.6/32",
    "10.1.0.127/32",
    "10.1.0.128/32",
    "10.1.1.5/32",
    "10.2.0.1/32",
    "10.2.0.128/25",
    "10.2.0.200/32",
    "192.0.2.1/32",
    "2001:db8:1::4/126",
    "2001:db8:1::5/128",
    "2001:db8:1::6/128",
    "2001:db8:1::ffff/128",
    "2001:db8:1:1::/64",
    "2001:db8:1:1::5/128",
    "2001:db8:2::1/128",
    "2001:db8:3::1/128",
    "fe80::5/128",
    "fe80::6/128",
];

/// What a host file may list, of what may be talked about here.
const LISTABLE: [&str; 8] =
    ["udp/53", "tcp/53", "udp/67", "ping", "tcp/22", "tcp/4000-50000", "sctp/4000", "proto/47"];

/// Everybody and their addresses.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Who has which of the [`OWNABLE`]: an endpoint by its index, then the host, then nobody.
    owners: Vec<usize>,
    /// Whose MAC is known.
    macs: Vec<bool>,
    /// Who is declared to be a DHCP server, and who a router.
    servers: Vec<bool>,
    routers: Vec<bool>,
    /// Whose lists the host file does not leave as they are: what it allows, and what stays open.
    lists: Option<[Vec<bool>; 2]>,
    asks_by_rules: bool,
    /// Nobody outside is a member of anything.
    pub(super) external: bool,
}

impl Scene {
    pub(super) fn any() -> impl Strategy<Value = Self> + Clone {
        let owners = vec(0..ENDPOINTS.len() + 2, OWNABLE.len());
        let some = |often| vec(prop::bool::weighted(often), ENDPOINTS.len());
        let list = || vec(prop::bool::weighted(0.3), LISTABLE.len());
        let lists = weighted(0.3, (list(), list()).prop_map(|(allow, failsafe)| [allow, failsafe]));
        let host = (lists, prop::bool::weighted(0.3), prop::bool::weighted(0.4));
        (owners, some(0.5), some(0.2), some(0.2), host).prop_map(
            |(owners, macs, servers, routers, (lists, asks_by_rules, external))| Self {
                owners,
                macs,
                servers,
                routers,
                lists,
                asks_by_rules,
                external,
            },
        )
    }

    /// What the host file says of the host.
    pub(super) fn host_end(&self) -> HostEnd {
        let usual = HostEnd { asks_by_rules: self.asks_by_rules, ..HostEnd::default() };
        let Some(lists) = &self.lists else { return usual };
        let [allow, failsafe] = lists.each_ref().map(|chosen| {
            let listed = LISTABLE.iter().zip(chosen).filter(|(_, chosen)| **chosen);
            listed.map(|(text, _)| text.parse().expect("a service")).collect()
        });
        HostEnd { allow, failsafe, ..usual }
    }

    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |index: usize| Endpoint {
            name: ENDPOINTS[index].to_owned(),
            mac: self.macs[index].then_some(mac(index)),
            addresses: self.owned_by(index),
            dhcp_server: self.servers[index],
            router: self.routers[index],
            mode: None,
        };
        (0..ENDPOINTS.len()).map(endpoint).collect()
    }

    pub(super) fn host(&self) -> Vec<ipnet::IpNet> {
        self.owned_by(ENDPOINTS.len())
    }

    fn owned_by(&self, owner: usize) -> Vec<ipnet::IpNet> {
        let nets = OWNABLE.iter().zip(&self.owners).filter(|(_, other)| **other == owner);
        nets.map(|(net, _)| net.parse().expect("a prefix")).collect()
    }
}
