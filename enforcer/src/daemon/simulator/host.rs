//! The host's interfaces and addresses: what is true, whatever the daemon has heard of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::pool::WORKLOADS;
use crate::{
    config::{Config, Subject},
    daemon::{
        claims::Origin,
        containers::Container,
        event::{Observation, Veth},
        op::Owned,
    },
};

/// The host file.
pub const CONFIG: &str = r#"
mode = "audit"
[attach]
match = ["veth*"]
[guard]
match = ["eth*", "veth-c"]
[[endpoint]]
match = "veth-d"
addresses = ["10.9.0.5"]
[[endpoint]]
match = "veth-b"
mode = "observe"
[[uplink]]
match = "eth1"
trust = "external"
[datapath]
mark_mask = "0x00070000"
"#;

/// Names that interfaces may have. Nobody wants the last.
pub const NAMES: [&str; 7] = ["veth-a", "veth-b", "veth-c", "veth-d", "eth0", "eth1", "other"];

/// What may be known of containers.
pub const LABELS: [&str; 2] = ["docker:label:team=blue", "docker:name:web"];

/// One interface, from its making to its end.
#[derive(Clone, Debug)]
pub struct Interface {
    /// No other one has or had the same.
    pub birth: u64,
    /// The looks of it.
    pub veth: Veth,
    /// What it was ever given.
    pub given: BTreeSet<Owned>,
    /// What is known of its container.
    pub labels: BTreeSet<String>,
    /// What was ever known of it.
    pub once: BTreeSet<String>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// By index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Its own addresses.
    pub addresses: BTreeSet<IpNet>,
    births: u64,
}

impl Host {
    /// A new interface; none if index or name are taken.
    pub fn add(&mut self, ifindex: u32, name: &str) -> bool {
        if self.interfaces.contains_key(&ifindex) || self.by_name(name).is_some() {
            return false;
        }
        self.births += 1;
        let mac = Some([2, 0, 0, 0, (self.births >> 8) as u8, self.births as u8]);
        // The kernel gives the ids of namespaces that are gone to others.
        let is_free =
            |nsid: &i32| self.interfaces.values().all(|interface| interface.veth.nsid != Some(*nsid));
        let nsid = (0..=i32::MAX).find(is_free);
        let veth = Veth { name: name.to_owned(), mac, nsid, ..Veth::default() };
        let mut interface = Interface {
            birth: self.births,
            veth,
            given: BTreeSet::new(),
            labels: BTreeSet::new(),
            once: BTreeSet::new(),
        };
        for (label, divisor) in LABELS.into_iter().zip([2, 3]) {
            if self.births.is_multiple_of(divisor) {
                interface.relabel(label);
            }
        }
        self.interfaces.insert(ifindex, interface);
        true
    }

    /// The index of the interface with that name.
    pub fn by_name(&self, name: &str) -> Option<u32> {
        let named = self.interfaces.iter().find(|(_, interface)| interface.veth.name == name);
        named.map(|(ifindex, _)| *ifindex)
    }

    /// The birth of whatever has this index.
    pub fn birth(&self, ifindex: u32) -> Option<u64> {
        self.interfaces.get(&ifindex).map(|interface| interface.birth)
    }

    /// What runs. A container that nobody knows anything of is one of no runtime.
    pub fn containers(&self, asked_at: u64) -> Vec<Container> {
        let known = self.interfaces.values().filter(|interface| !interface.labels.is_empty());
        let containers = known.map(|interface| Container {
            name: format!("container {}", interface.birth),
            labels: interface.labels.clone(),
            nsid: interface.veth.nsid,
            unseen: None,
            asked_at,
        });
        containers.collect()
    }

    /// A complete look.
    pub fn observe(&self) -> Observation {
        let named = |prefix: &'static str| {
            let all = self.interfaces.iter();
            all.filter(move |(_, interface)| interface.veth.name.starts_with(prefix))
        };
        Observation {
            host: self.addresses.clone(),
            veths: named("veth").map(|(ifindex, interface)| (*ifindex, interface.veth.clone())).collect(),
            uplinks: named("eth")
                .map(|(ifindex, interface)| (*ifindex, interface.veth.name.clone()))
                .collect(),
            ..Observation::default()
        }
    }

    /// A look at one interface.
    pub fn glimpse(&self, ifindex: u32) -> Observation {
        let Observation { host, mut veths, .. } = self.observe();
        veths.retain(|seen, _| *seen == ifindex);
        Observation { host, veths, ..Observation::default() }
    }
}

impl Interface {
    /// Its container gets or loses a label.
    pub fn relabel(&mut self, label: &str) {
        if !self.labels.remove(label) {
            self.labels.insert(label.to_owned());
            self.once.insert(label.to_owned());
        }
    }

    /// The addresses of `mask`, routed to it by the host or configured by the workload.
    pub fn readdress(&mut self, mask: u8, routed: bool) {
        let chosen = (0..).zip(WORKLOADS).filter(|(bit, _)| mask >> bit & 1 == 1);
        let chosen: BTreeSet<IpAddr> = chosen.map(|(_, text)| text.parse().unwrap()).collect();
        (self.veth.routed, self.veth.inside) =
            if routed { (chosen, BTreeSet::new()) } else { (BTreeSet::new(), chosen) };
        self.veth.subnets = ["10.1.0.0/24", "2001:db8:1::/64"].map(|text| text.parse().unwrap()).to_vec();
    }

    /// Remembers what it has a right to.
    pub fn give(&mut self, config: &Config) {
        let rights = self.rights(config);
        self.given.extend(rights.into_keys());
    }

    /// What it has a right to, in each family by the best reason there is.
    pub fn rights(&self, config: &Config) -> BTreeMap<Owned, Origin> {
        let declared = config.declared(Subject::named(&self.veth.name));
        let declared = declared.map(|network| (Owned::from(network), Origin::Declared));
        let routed = self.veth.routed.iter().map(|address| (Owned::from(*address), Origin::Routed));
        let within = |address: &&IpAddr| self.veth.subnets.iter().any(|subnet| subnet.contains(*address));
        let learned = self.veth.inside.iter().filter(within);
        let learned = learned.map(|address| (Owned::from(*address), Origin::Learned));
        let all: Vec<_> = declared.chain(routed).chain(learned).collect();
        let is_best = |(owned, origin): &(Owned, Origin)| {
            all.iter().filter(|(other, _)| other.is_family_of(owned)).all(|(_, other)| origin <= other)
        };
        all.iter().copied().filter(is_best).collect()
    }
}
