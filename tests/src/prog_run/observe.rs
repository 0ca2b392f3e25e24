//! What the tables of a [`Lab`] say.

use std::net::IpAddr;

use enforcer::{
    datapath::flows::{Flow, Names, protocol_name},
    policy::Name,
};
use enforcer_common::{
    address::Address,
    counter::{Counter, EndpointCounters},
    endpoint::EndpointId,
    verdict::Verdict,
};

use super::Lab;
use crate::packet::Packet;

impl Lab {
    /// Packets per verdict.
    pub fn reasons(&self) -> Vec<(Verdict, Counter)> {
        self.datapath.tables.verdicts().expect("the counters are readable")
    }

    /// Packets counted for one verdict.
    pub fn reason(&self, verdict: Verdict) -> Counter {
        let reasons = self.reasons();
        reasons.iter().find(|(other, _)| *other == verdict).expect("every reason is listed").1
    }

    /// What one endpoint sent and received.
    pub fn counters_of(&self, endpoint: &str) -> EndpointCounters {
        self.datapath.tables.endpoint_counters(self.id_of(endpoint)).expect("the counters are readable")
    }

    /// What passed because of one network.
    pub fn network(&self, name: &str) -> Counter {
        let name: Name = name.parse().expect("a valid name");
        let id = self.ids.networks.id(&name).expect("a network of the policy");
        self.datapath.tables.network_counter(id).expect("the counters are readable")
    }

    /// Every conversation, allowed and denied.
    pub fn flows(&self) -> Vec<Flow> {
        self.datapath.tables.flows(&Known(self)).expect("the flows are readable")
    }

    /// The records of `packet`'s own direction; a denied and an allowed one may exist at once.
    pub fn flows_of(&self, packet: &Packet) -> Vec<Flow> {
        let mut flows = self.flows();
        let (src_port, dst_port) = packet.ports();
        flows.retain(|flow| {
            (flow.src, flow.src_port, flow.dst, flow.dst_port)
                == (packet.src(), src_port, packet.dst(), dst_port)
                && flow.proto == protocol_name(packet.protocol_number())
        });
        flows
    }

    /// The only record that begins with `packet`.
    #[track_caller]
    pub fn flow(&self, packet: &Packet) -> Flow {
        let mut flows = self.flows_of(packet);
        assert_eq!(flows.len(), 1, "one record of {packet} in {:#?}", self.flows());
        flows.remove(0)
    }

    /// The names of the networks that `address` is a member of, and who owns it.
    pub fn memberships(&self, address: IpAddr) -> String {
        let networks = self.policy.memberships(address);
        let networks: Vec<&str> = networks.into_iter().map(Name::as_str).collect();
        let owners = self.datapath.tables.addresses().expect("the addresses are readable");
        let owner = owners.iter().find(|(owned, _, _)| *owned == Address::from(address));
        let owner = owner.map_or("nobody".to_owned(), |(_, _, owner)| match owner.endpoint {
            EndpointId::HOST => "the host".to_owned(),
            id => Known(self).endpoint(id).unwrap_or_else(|| format!("{id:?}")),
        });
        format!("owned by {owner}, member of {networks:?}")
    }
}

/// The names that the lab gave.
struct Known<'lab>(&'lab Lab);

impl Names for Known<'_> {
    fn network(&self, id: u32) -> Option<String> {
        self.0.ids.networks.name(id).map(ToString::to_string)
    }

    fn rule(&self, id: u32) -> Option<String> {
        self.0.ids.rules.name(id).map(ToString::to_string)
    }

    fn endpoint(&self, id: EndpointId) -> Option<String> {
        let named = self.0.endpoints.iter().find(|(_, endpoint)| endpoint.id == id);
        named.map(|(name, _)| name.clone())
    }

    fn digest(&self, _: u64) -> Option<String> {
        None
    }
}
