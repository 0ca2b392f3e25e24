//! What goes through a workload's veth, in either direction: may these addresses be there?

use std::net::{IpAddr, Ipv4Addr};

use enforcer_common::verdict::{DropReason, PassReason};

use super::{
    Answer, Arrival, Endpoint, Owner, Stamp, World,
    datagram::Datagram,
    drop,
    flow::Flow,
    memory::Memory,
    pass,
    scope::{self, Scope},
};

/// Ports of a `DHCPv4` client and server.
const CLIENT: u16 = 68;
const SERVER: u16 = 67;

/// Ports of a `DHCPv6` client and server.
const V6_CLIENT: u16 = 546;
const V6_SERVER: u16 = 547;

/// Who sent what is delivered, as far as it matters.
enum Sender {
    Host,
    Other,
}

impl World {
    /// What a workload sends: may this address be there, is it the sender's, who is it for?
    pub(super) fn sent(&self, memory: &mut Memory, sender: &Endpoint, packet: &Datagram) -> Answer {
        let Flow { src, dst, .. } = packet.flow;
        let own = self.may_speak_as(sender, src);
        let asks_all = packet.flow.is_udp(CLIENT, SERVER) && dst == IpAddr::V4(Ipv4Addr::BROADCAST);
        if asks_all && (own || Scope::of(src) == Scope::Unspecified) {
            return pass(PassReason::HostAllowed);
        }
        let forbidden = scope::forbidden(src, dst);
        // Who has no address yet says so; anybody else who speaks to all is asked who it is.
        let to_all = forbidden == Some(DropReason::Multicast) && Scope::of(src) != Scope::Unspecified;
        if let Some(reason) = forbidden.filter(|_| !to_all) {
            return drop(reason);
        }
        if sender.addresses.is_empty() {
            return drop(DropReason::Quarantined);
        }
        if !own {
            return drop(DropReason::SpoofedSource);
        }
        if serves_dhcp(&packet.flow) && !sender.dhcp_server {
            return drop(DropReason::DhcpServer);
        }
        // An error about a packet that its sender cannot have got, or that its receiver did not send.
        let got = |quote: &Flow| sender.router || self.may_speak_as(sender, quote.dst);
        if packet.quote.is_some_and(|quote| quote.src != dst || !got(&quote)) {
            return drop(DropReason::BadQuote);
        }
        if to_all {
            return drop(DropReason::Multicast);
        }
        match self.owner(dst) {
            Owner::Host => self.to_host(memory, packet),
            Owner::Nobody | Owner::Endpoint(_) => self.between(memory, packet),
        }
    }

    /// What reaches a workload: is it for this one, is its sender who it says it is, may they talk?
    pub(super) fn delivered(
        &self,
        memory: &mut Memory,
        arrival: &Arrival,
        receiver: &Endpoint,
        packet: &Datagram,
    ) -> Answer {
        let Flow { src, dst, .. } = packet.flow;
        let forbidden = scope::forbidden(src, dst);
        if forbidden == Some(DropReason::Multicast) && !arrival.locally_generated {
            return drop(match self.proof(src, arrival) {
                Err(reason) if Scope::of(src) != Scope::Unspecified => reason,
                _ => DropReason::Multicast,
            });
        }
        // The address that the host's DHCP server gives away is not the receiver's yet.
        let by_host = arrival.locally_generated && matches!(self.owner(src), Owner::Host);
        let offer = by_host && !matches!(self.owner(dst), Owner::Host) && packet.flow.is_udp(SERVER, CLIENT);
        if forbidden.is_none() && !self.may_speak_as(receiver, dst) && !offer {
            return drop(DropReason::NotOwner);
        }
        match self.proof(src, arrival) {
            Err(reason) => {
                let masked =
                    (reason == DropReason::MaskedSource).then(|| self.masked(memory, arrival, packet));
                return masked.flatten().unwrap_or_else(|| drop(reason));
            }
            Ok(Sender::Host) => {
                return match forbidden {
                    None => self.by_host(memory, packet),
                    Some(DropReason::Multicast) => self.by_host_to_all(packet),
                    Some(reason) => drop(reason),
                };
            }
            Ok(Sender::Other) => {}
        }
        if let Some(reason) = forbidden {
            return drop(reason);
        }
        self.delivered_from_others(memory, arrival, receiver, packet)
    }

    /// Whether its source is who it says it is.
    fn proof(&self, src: IpAddr, arrival: &Arrival) -> Result<Sender, DropReason> {
        let of_link = src.is_ipv6() && Scope::of(src) == Scope::LinkLocal;
        match (self.owner(src), arrival.stamp) {
            (Owner::Endpoint(owner), Stamp::Of(stamp)) if owner.name == stamp => Ok(Sender::Other),
            // Its veth has let it go on, and would not have known a wrong source as the policy's business.
            (Owner::Endpoint(_), Stamp::Relaxed) | (Owner::Nobody, Stamp::None) => Ok(Sender::Other),
            (Owner::Endpoint(_), _) => Err(DropReason::UnstampedSource),
            // What is on a link only, NAT leaves alone, and its own veth has let it speak so.
            (Owner::Nobody, Stamp::Of(_) | Stamp::Relaxed) if of_link => Ok(Sender::Other),
            (Owner::Host, Stamp::None) if arrival.locally_generated => Ok(Sender::Host),
            (Owner::Nobody | Owner::Host, _) => Err(DropReason::MaskedSource),
        }
    }

    /// The addresses are in order, and the host did not send it.
    fn delivered_from_others(
        &self,
        memory: &mut Memory,
        arrival: &Arrival,
        receiver: &Endpoint,
        packet: &Datagram,
    ) -> Answer {
        let Flow { src, dst, .. } = packet.flow;
        if packet.quote.is_some_and(|quote| quote.src != dst) {
            return drop(DropReason::BadQuote);
        }
        let answer = self.between(memory, packet);
        // Who is not the quoted packet's receiver was a router on its way, or says so.
        let foreign_router = matches!((self.owner(src), arrival.stamp), (Owner::Nobody, Stamp::None))
            && packet.quote.is_some_and(|quote| quote.dst != src)
            && answer == pass(PassReason::IcmpError);
        if foreign_router && !memory.tell(&receiver.name) {
            return drop(DropReason::IcmpErrorRate);
        }
        answer
    }
}

/// Whether it speaks as a DHCP server of its family.
pub(super) fn serves_dhcp(flow: &Flow) -> bool {
    if flow.src.is_ipv4() { flow.is_udp(SERVER, CLIENT) } else { flow.is_udp(V6_SERVER, V6_CLIENT) }
}
