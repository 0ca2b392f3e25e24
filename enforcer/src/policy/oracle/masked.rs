//! Who is behind an address of the host: NAT has put it in the place of a workload's own, and only the stamp
//! still tells whose packet it is.

use std::net::IpAddr;

use enforcer_common::verdict::{DropReason, PassReason};

use super::{
    super::{Mode, rule::Action},
    Answer, Arrival, By, Endpoint, Owner, Stamp, Why, World, allowed,
    datagram::Datagram,
    denied, drop,
    flow::Flow,
    memory::Memory,
    pass,
    ruling::Ruling,
    scope,
};

impl World {
    /// The answer, if the stamp tells who it is and an address by which the policy knows it. An error quotes
    /// what NAT has rewritten, and tells nothing.
    pub(super) fn masked(&self, memory: &mut Memory, arrival: &Arrival, packet: &Datagram) -> Option<Answer> {
        let Stamp::Of(name) = arrival.stamp else { return None };
        let Flow { src, dst, .. } = packet.flow;
        let masked = matches!(self.owner(src), Owner::Host)
            && !arrival.locally_generated
            && packet.quote.is_none()
            && scope::forbidden(src, dst).is_none();
        let sender = self.endpoints.iter().find(|endpoint| masked && endpoint.name == name)?;
        let told = Flow { src: sender.only_address(src.is_ipv4())?, ..packet.flow };
        Some(self.told_by_stamp(memory, told, packet))
    }

    /// `told` is what the packet would be without NAT.
    fn told_by_stamp(&self, memory: &mut Memory, told: Flow, packet: &Datagram) -> Answer {
        if self.policy.is_none() {
            return drop(DropReason::NoPolicy);
        }
        let no = match self.ruling(told) {
            Ruling::Shared(network) => {
                let by = By::Network(network.clone());
                return self.goes_on(
                    memory,
                    told,
                    packet,
                    Answer::Pass { reason: PassReason::SharedNetwork, by },
                );
            }
            Ruling::Allowed(rule) => return self.goes_on(memory, told, packet, allowed(rule)),
            Ruling::Unsure => return drop(DropReason::Fragment),
            Ruling::Denied(rule) => return denied(rule),
            Ruling::Silent => self.not_admitted(told),
        };
        // Perhaps the receiver asked the host by a rule, and NAT handed that on: to one that it may ask something
        // itself, at whatever port.
        let asks = Flow { ports: None, icmp: None, ..told.reversed() };
        if matches!(self.ruling(asks), Ruling::Silent | Ruling::Denied(_)) {
            return no;
        }
        let back = self.ruling(packet.flow.reversed());
        if matches!(back, Ruling::Allowed(_)) && packet.flow.ports.is_some() && memory.is_answer(packet) {
            memory.answer(packet);
            return pass(PassReason::Reply);
        }
        no
    }

    /// It passes, and may be answered at the address that NAT gave it.
    fn goes_on(&self, memory: &mut Memory, told: Flow, packet: &Datagram, passes: Answer) -> Answer {
        memory.open_masked(packet);
        let Some(rule) = self.surely(told, Action::Deny, Mode::Audit) else { return passes };
        if packet.flow.ports.is_some() && memory.is_answer(packet) {
            memory.answer(packet);
            return passes;
        }
        Answer::WouldDrop { why: Why::Exactly(DropReason::DeniedByRule), by: By::Rule(rule.clone()) }
    }
}

impl Endpoint {
    /// Its address of a family, if it has exactly one.
    fn only_address(&self, v4: bool) -> Option<IpAddr> {
        let mut own = self.addresses.iter().filter(|net| net.addr().is_ipv4() == v4);
        match (own.next(), own.next()) {
            (Some(net), None) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            _ => None,
        }
    }
}
