//! What makes a link work: ARP, neighbour discovery, multicast listeners, DHCP.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacket};

use super::{Body, Packet, WORKLOAD_MAC, from};

/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// All routers that speak MLD version 2.
const ALL_MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// `sender` asks who has `target`; from `0.0.0.0` it is a probe.
pub fn arp_request(sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
    Packet { body: Body::Arp { request: true }, ..from(sender).to(target) }
}

/// `sender` tells `target` that it is there.
pub fn arp_reply(sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
    Packet { body: Body::Arp { request: false }, ..from(sender).to(target) }
}

/// `sender` asks who has `target`.
pub fn neighbor_solicitation(sender: Ipv6Addr, target: Ipv6Addr) -> Packet {
    on_link(sender, solicited_node(target), 135, target.octets().to_vec())
}

/// A solicitation for an address that its sender does not dare to use yet (RFC 4862 §5.4.2).
pub fn dad_probe(target: Ipv6Addr) -> Packet {
    neighbor_solicitation(Ipv6Addr::UNSPECIFIED, target)
}

/// `sender` tells everybody that it has `target`.
pub fn neighbor_advertisement(sender: Ipv6Addr, target: Ipv6Addr) -> Packet {
    on_link(sender, ALL_NODES, 136, target.octets().to_vec())
}

/// `sender` asks for routers.
pub fn router_solicitation(sender: Ipv6Addr) -> Packet {
    on_link(sender, ALL_ROUTERS, 133, Vec::new())
}

/// `sender` says that it is a router.
pub fn router_advertisement(sender: Ipv6Addr) -> Packet {
    on_link(sender, ALL_NODES, 134, vec![0; 8])
}

/// `sender` says that there is a better router for `target`.
pub fn redirect(sender: Ipv6Addr, receiver: Ipv6Addr, target: Ipv6Addr) -> Packet {
    on_link(sender, receiver, 137, [target.octets(), target.octets()].concat())
}

/// `sender` names the groups that it listens to (RFC 3810 §5.2): here none.
pub fn mld_report(sender: Ipv6Addr) -> Packet {
    from(sender).to(ALL_MLD_ROUTERS).hop_by_hop().icmp(143, 0).hop_limit(1).payload(0)
}

/// A client without an address asks everybody for one.
pub fn dhcp_discover() -> Packet {
    dhcp_request(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, WORKLOAD_MAC)
}

/// A client asks for an address, and says that this is its MAC.
pub fn dhcp_request(client: Ipv4Addr, server: Ipv4Addr, chaddr: [u8; 6]) -> Packet {
    /// Ethernet, IPv4 and UDP headers, and what of DHCP is in front of it (RFC 2131 §2).
    const CHADDR: usize = 14 + 20 + 8 + 28;
    let request = from(client).to(server).udp(67).from_port(68).payload(300);
    (0..6).fold(request, |request, byte| request.byte(CHADDR + byte, chaddr[byte]))
}

fn on_link(sender: Ipv6Addr, receiver: Ipv6Addr, kind: u8, data: Vec<u8>) -> Packet {
    from(sender).to(receiver).icmp_with(kind, 0, [0; 4], data).hop_limit(255).payload(0)
}

/// RFC 4291 §2.7.1.
fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., low, last] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | low & 0xff, last)
}

/// Everything behind the Ethernet header.
pub(super) fn arp(request: bool, sender_mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let operation = if request { ArpOperation::REQUEST } else { ArpOperation::REPLY };
    let (sender_ipv4, target_ipv4) = (sender.octets(), target.octets());
    let arp = ArpEthIpv4Packet { operation, sender_mac, sender_ipv4, target_mac: [0; 6], target_ipv4 };
    ArpPacket::from(arp).to_bytes().to_vec()
}
