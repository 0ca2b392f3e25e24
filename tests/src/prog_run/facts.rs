//! Who sits behind which veth and owns which addresses, in words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer::policy::Prefix;
use enforcer_common::{
    address::Address,
    endpoint::{AddressOwner, Endpoint, EndpointId, MaskedSender},
    host::HostEnd,
    mode::{Mode, ModeRecord},
};

use super::{Lab, namespace};
use crate::packet::{Family, Party};

/// What can be owned: a party's two addresses, one address, or a prefix as text.
pub trait Owned {
    /// Address and bits in the 128-bit space.
    fn prefixes(&self) -> Vec<(Address, u8)>;
}

impl Owned for Party {
    fn prefixes(&self) -> Vec<(Address, u8)> {
        Family::BOTH.iter().flat_map(|&family| self.on(family).prefixes()).collect()
    }
}

impl Owned for IpAddr {
    fn prefixes(&self) -> Vec<(Address, u8)> {
        vec![(Address::from(*self), 128)]
    }
}

impl Owned for Ipv4Addr {
    fn prefixes(&self) -> Vec<(Address, u8)> {
        IpAddr::V4(*self).prefixes()
    }
}

impl Owned for Ipv6Addr {
    fn prefixes(&self) -> Vec<(Address, u8)> {
        IpAddr::V6(*self).prefixes()
    }
}

impl Owned for &str {
    fn prefixes(&self) -> Vec<(Address, u8)> {
        let prefix: Prefix = self.parse().unwrap_or_else(|error| panic!("{self} is a prefix: {error}"));
        vec![(prefix.address(), prefix.bits())]
    }
}

/// An endpoint whose facts are being told.
pub struct EndpointFacts<'lab> {
    lab: &'lab mut Lab,
    name: String,
}

impl EndpointFacts<'_> {
    /// Its interface has this MAC; until it is told, any will do.
    pub fn has_mac(self, mac: [u8; 6]) {
        let ifindex = self.lab.interface(&self.name);
        let endpoint = self.lab.endpoints.get_mut(&self.name).expect("it was registered");
        endpoint.mac = mac;
        self.lab.datapath.tables.write_endpoint(ifindex, endpoint).expect("there is room for endpoints");
        self.lab.datapath.tables.facts_changed();
    }

    /// It owns these from now on, whoever did before.
    pub fn owns<T: Owned>(self, addresses: impl IntoIterator<Item = T>) {
        let ifindex = self.lab.interface(&self.name);
        let endpoint = self.lab.endpoints.get_mut(&self.name).expect("it was registered");
        endpoint.flags |= Endpoint::ADDRESSED;
        let endpoint = *endpoint;
        self.lab.datapath.tables.write_endpoint(ifindex, &endpoint).expect("there is room for endpoints");
        let owner = AddressOwner { endpoint: endpoint.id, ifindex, stamp: endpoint.stamp, flags: 0 };
        self.lab.write_addresses(&owner, addresses);
        self.lab.write_sender(&endpoint, ifindex);
    }
}

impl Lab {
    /// The endpoint behind the veth `name`; registered on first mention, without an address.
    pub fn endpoint(&mut self, name: &str) -> EndpointFacts<'_> {
        if !self.endpoints.contains_key(name) {
            let ifindex = self.interface(name);
            let id = EndpointId(self.endpoints.len() as u32 + 1);
            let endpoint = Endpoint { id, stamp: id.stamp(Self::MARK_MASK), ..Endpoint::default() };
            self.datapath.tables.write_endpoint(ifindex, &endpoint).expect("there is room for endpoints");
            self.datapath.tables.facts_changed();
            self.endpoints.insert(name.to_owned(), endpoint);
        }
        EndpointFacts { lab: self, name: name.to_owned() }
    }

    /// The endpoint is declared to provide these and nothing else: [`Endpoint::DHCP_SERVER`],
    /// [`Endpoint::ROUTER`].
    pub fn provides(&mut self, name: &str, flags: u32) {
        let ifindex = self.interface(name);
        let endpoint = self.endpoints.get_mut(name).expect("it was registered");
        endpoint.flags = endpoint.flags & Endpoint::ADDRESSED | flags;
        self.datapath.tables.write_endpoint(ifindex, endpoint).expect("there is room for endpoints");
        self.datapath.tables.facts_changed();
    }

    /// The host file says how seriously the host's verdicts are taken.
    pub fn host_mode(&mut self, mode: Mode) {
        let record = ModeRecord { configured: mode as u8, ..ModeRecord::default() };
        self.set_mode(None, record);
    }

    /// And what it says of an endpoint, if anything.
    pub fn endpoint_mode(&mut self, name: &str, mode: Option<Mode>) {
        let record = ModeRecord { configured: Mode::number(mode), ..ModeRecord::default() };
        self.set_mode(Some(name), record);
    }

    /// Writes a record of the host or of an endpoint.
    pub fn set_mode(&mut self, endpoint: Option<&str>, record: ModeRecord) {
        let slot = endpoint.map_or(ModeRecord::HOST, |name| self.id_of(name).0);
        self.datapath.tables.set_mode(slot, record).expect("the table is writable");
    }

    /// The interface `name` leads outside.
    pub fn uplink(&mut self, name: &str) {
        let ifindex = self.interface(name);
        let uplink = Endpoint { flags: Endpoint::UPLINK, ..Endpoint::default() };
        self.datapath.tables.write_endpoint(ifindex, &uplink).expect("there is room for endpoints");
        self.datapath.tables.facts_changed();
        self.uplinks.push(name.to_owned());
    }

    /// The same, and nobody there is a member of anything.
    pub fn external_uplink(&mut self, name: &str) {
        let ifindex = self.interface(name);
        let uplink = Endpoint { flags: Endpoint::UPLINK | Endpoint::EXTERNAL, ..Endpoint::default() };
        self.datapath.tables.write_endpoint(ifindex, &uplink).expect("there is room for endpoints");
        self.datapath.tables.facts_changed();
        self.uplinks.push(name.to_owned());
    }

    /// A router's work for the host's kernel: `ip` is run with each of these.
    pub fn routes<'c>(&mut self, commands: impl IntoIterator<Item = &'c str>) {
        for family in ["ipv4", "ipv6"] {
            namespace::sysctl(&format!("{family}/conf/all/forwarding"), "1");
        }
        commands.into_iter().for_each(namespace::ip);
    }

    /// What the host file says of the host as an end.
    pub fn host_is(&mut self, end: &HostEnd) {
        self.datapath.tables.set_host_end(end).expect("the table is writable");
        self.datapath.tables.facts_changed();
    }

    /// Behind NAT the endpoint's stamp stands for its only address of each family.
    fn write_sender(&mut self, endpoint: &Endpoint, ifindex: u32) {
        let owned = self.datapath.tables.addresses().expect("the addresses are readable");
        let only = |v4: bool| {
            let mut own = owned
                .iter()
                .filter(|(address, _, owner)| owner.endpoint == endpoint.id && address.is_v4() == v4);
            match (own.next(), own.next()) {
                (Some((address, 128, _)), None) => *address,
                _ => Address::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            }
        };
        let sender = MaskedSender { v4: only(true), v6: only(false), endpoint: endpoint.id, ifindex };
        self.datapath.tables.write_sender(endpoint.stamp, &sender).expect("there is room for senders");
    }

    /// The stamp stands for nobody any more.
    pub fn forget_sender(&mut self, name: &str) {
        let stamp = self.stamp_of(name);
        self.datapath.tables.remove_sender(stamp).expect("senders can be removed");
    }

    /// The veth `name` stays, its endpoint is forgotten.
    pub fn forget(&mut self, name: &str) {
        let ifindex = self.interface(name);
        self.datapath.tables.remove_endpoint(ifindex).expect("endpoints can be removed");
        self.datapath.tables.facts_changed();
    }

    /// Addresses of the host.
    pub fn host_owns<T: Owned>(&mut self, addresses: impl IntoIterator<Item = T>) {
        self.write_addresses(&AddressOwner::HOST, addresses);
    }

    /// Makes every flow record stale, as any change of facts does: the next packet is a miss.
    pub fn forget_flows(&self) {
        self.datapath.tables.facts_changed();
    }

    fn write_addresses<T: Owned>(&mut self, owner: &AddressOwner, addresses: impl IntoIterator<Item = T>) {
        for (address, bits) in addresses.into_iter().flat_map(|owned| owned.prefixes()) {
            self.datapath.tables.write_address(address, bits, owner).expect("there is room for addresses");
        }
        self.datapath.tables.facts_changed();
    }
}
