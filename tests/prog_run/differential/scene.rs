//! Random policies and facts, over a few prefixes that lie within and next to each other.

use enforcer::policy::oracle::{Endpoint, World};
use enforcer_tests::prog_run::Lab;
use ipnet::IpNet;
use proptest::{collection::vec, prelude::*};

/// The workloads.
pub(super) const ENDPOINTS: [&str; 4] = ["web", "api", "db", "new"];

/// The MAC of an endpoint's interface.
pub(super) const fn mac(endpoint: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, endpoint as u8]
}

/// What networks are made of.
const PREFIXES: [&str; 26] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.0.0/24",
    "10.1.0.0/25",
    "10.1.0.4/30",
    "10.1.0.5/32",
    "10.1.0.6/32",
    "10.1.1.0/24",
    "10.2.0.0/24",
    "10.2.0.128/25",
    "203.0.113.0/24",
    "::/0",
    "::/1",
    "8000::/1",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1::/64",
    "2001:db8:1::4/126",
    "2001:db8:1::5/128",
    "2001:db8:1::6/128",
    "2001:db8:1:1::/64",
    "2001:db8:2::/64",
    "64:ff9b::/96",
];

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

/// A policy and facts.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Prefixes and exceptions of each network, by their indices.
    policy: Option<Vec<(Vec<usize>, Vec<usize>)>>,
    /// Who has which of the [`OWNABLE`]: an endpoint by its index, then the host, then nobody.
    owners: Vec<usize>,
    /// Whose MAC is known.
    macs: Vec<bool>,
}

impl Scene {
    /// With a policy.
    pub(super) fn any() -> impl Strategy<Value = Self> + Clone {
        let prefixes = |least| vec(0..PREFIXES.len(), least..5);
        let networks = vec((prefixes(1), prefixes(0)), 0..6);
        (networks, Self::without_policy())
            .prop_map(|(networks, scene)| Self { policy: Some(networks), ..scene })
    }

    /// Before the first one.
    pub(super) fn without_policy() -> impl Strategy<Value = Self> + Clone {
        let owners = vec(0..ENDPOINTS.len() + 4, OWNABLE.len());
        (owners, vec(any::<bool>(), ENDPOINTS.len())).prop_map(|(owners, macs)| Self {
            policy: None,
            owners,
            macs,
        })
    }

    /// Makes the lab this scene, and nothing else; what it looks like to the reference.
    pub(super) fn set_up(&self, lab: &mut Lab) -> World {
        lab.forget_everybody();
        let endpoints: Vec<Endpoint> = (0..ENDPOINTS.len()).map(|index| self.endpoint(index)).collect();
        for endpoint in &endpoints {
            lab.endpoint(&endpoint.name);
            if let Some(mac) = endpoint.mac {
                lab.endpoint(&endpoint.name).has_mac(mac);
            }
            if !endpoint.addresses.is_empty() {
                lab.endpoint(&endpoint.name).owns(endpoint.addresses.clone());
            }
        }
        let host = self.owned_by(ENDPOINTS.len());
        lab.host_owns(host.clone());
        let policy = self.policy_text().map(|text| {
            lab.apply(&text);
            lab.policy().clone()
        });
        World { policy, endpoints, host, conversations: Vec::new() }
    }

    fn endpoint(&self, index: usize) -> Endpoint {
        Endpoint {
            name: ENDPOINTS[index].to_owned(),
            mac: self.macs[index].then_some(mac(index)),
            addresses: self.owned_by(index),
        }
    }

    fn owned_by(&self, owner: usize) -> Vec<IpNet> {
        let nets = OWNABLE.iter().zip(&self.owners).filter(|(_, other)| **other == owner);
        nets.map(|(net, _)| parse(net)).collect()
    }

    /// The policy as a file.
    pub(super) fn policy_text(&self) -> Option<String> {
        let networks = self.policy.as_ref()?.iter().enumerate().map(|(number, (prefixes, except))| {
            let prefixes = chosen(prefixes);
            let mut except = chosen(except);
            // An exception from nothing is a mistake.
            except.retain(|except| {
                prefixes.iter().any(|prefix| prefix.contains(except) || except.contains(prefix))
            });
            format!("[network.n{number}]\nprefixes = {}\nexcept = {}\n", list(&prefixes), list(&except))
        });
        Some(format!("version = 1\n{}", networks.collect::<String>()))
    }
}

/// Each once.
fn chosen(indices: &[usize]) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = indices.iter().map(|&index| parse(PREFIXES[index])).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

fn list(nets: &[IpNet]) -> String {
    format!("{:?}", nets.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn parse(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}
