//! From a description to bytes. Checksums are right unless bytes were overwritten.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options,
    Ipv6Header, TcpHeader, TransportHeader, UdpHeader,
};

use super::{Body, Packet, neighbor};

/// The MAC that frames come from.
pub const WORKLOAD_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

impl Packet {
    /// The frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = self.ethernet();
        frame.extend(self.network());
        for &(index, value) in &self.overwritten {
            frame[index] = value;
        }
        frame.extend(vec![0; self.padding]);
        if let Some(length) = self.truncated_at {
            assert!(length <= frame.len(), "nothing to cut from {} bytes at {length}", frame.len());
            frame.truncate(length);
        }
        frame
    }

    /// The Ethernet header and the tags in it.
    fn ethernet(&self) -> Vec<u8> {
        let ethertype = self.ethertype.unwrap_or(match (&self.body, self.src) {
            (Body::Arp { .. }, _) => ARP,
            (_, IpAddr::V4(_)) => IPV4,
            (_, IpAddr::V6(_)) => IPV6,
        });
        let mut header = [ROUTER_MAC, WORKLOAD_MAC].concat();
        for (protocol, id) in &self.vlans {
            header.extend(protocol.to_be_bytes());
            header.extend(id.to_be_bytes());
        }
        header.extend(ethertype.to_be_bytes());
        header
    }

    /// Everything behind the Ethernet header.
    pub(super) fn network(&self) -> Vec<u8> {
        match (&self.body, self.src, self.dst) {
            (Body::Arp { request }, IpAddr::V4(sender), IpAddr::V4(target)) => {
                neighbor::arp(*request, WORKLOAD_MAC, sender, target)
            }
            (_, IpAddr::V4(src), IpAddr::V4(dst)) => self.ipv4(src.octets(), dst.octets()),
            (_, IpAddr::V6(src), IpAddr::V6(dst)) => self.ipv6(src.octets(), dst.octets()),
            _ => unreachable!("both addresses are of one family"),
        }
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let protocol = IpNumber(self.protocol_number());
        let mut header = Ipv4Header { source, destination, protocol, ..Ipv4Header::default() };
        let payload = self.transport(|transport, payload| {
            transport.update_checksum_ipv4(&header, payload).expect("ICMPv6 belongs to IPv6");
        });
        let (offset, more) = self.fragment.unwrap_or_default();
        header.fragment_offset = IpFragOffset::try_new(offset).expect("a fragment offset has 13 bits");
        header.more_fragments = more;
        header.identification = self.id;
        header.time_to_live = self.hop_limit;
        // End-of-list options are zeros.
        let options = vec![0; self.options];
        header.options = Ipv4Options::try_from(&*options).expect("whole words, 40 bytes at most");
        header.total_len = header.header_len() as u16 + self.declared.unwrap_or(payload.len() as u16);
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().to_vec(), payload].concat()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let mut header = Ipv6Header { source, destination, ..Ipv6Header::default() };
        let mut payload = self.transport(|transport, payload| {
            transport.update_checksum_ipv6(&header, payload).expect("the payload is short");
        });
        let mut next = IpNumber(self.protocol_number());
        for extension in self.extensions.iter().rev() {
            payload = [extension.bytes(next, self.id), payload].concat();
            next = extension.number();
        }
        header.next_header = next;
        header.hop_limit = self.hop_limit;
        header.payload_length = self.declared.unwrap_or(payload.len() as u16);
        [header.to_bytes().to_vec(), payload].concat()
    }

    /// The transport header, if the packet has one, and its payload.
    fn transport(&self, set_checksum: impl Fn(&mut TransportHeader, &[u8])) -> Vec<u8> {
        let payload = vec![0x5a; self.payload];
        if self.is_later_fragment() {
            return payload;
        }
        let with = |mut header: TransportHeader, payload: Vec<u8>| {
            set_checksum(&mut header, &payload);
            let mut bytes = Vec::new();
            header.write(&mut bytes).expect("a vector takes any bytes");
            bytes.extend(payload);
            bytes
        };
        match &self.body {
            Body::Tcp(port) => {
                let header = self.flags.on(TcpHeader::new(self.src_port, *port, 1, 0xffff));
                with(TransportHeader::Tcp(header), payload)
            }
            Body::Udp(port) => {
                let length = (8 + payload.len()) as u16;
                let header =
                    UdpHeader { source_port: self.src_port, destination_port: *port, length, checksum: 0 };
                with(TransportHeader::Udp(header), payload)
            }
            Body::Icmp { kind, code, rest, data } => {
                with(self.icmp_header(*kind, *code, *rest), [data.clone(), payload].concat())
            }
            Body::Sctp(port) => {
                // RFC 9260 §3.1: ports, verification tag, checksum (not looked at by anybody here).
                let ports = [self.src_port.to_be_bytes(), port.to_be_bytes()].concat();
                [ports, vec![0; 8], payload].concat()
            }
            Body::Protocol(_) => payload,
            Body::Arp { .. } => unreachable!("ARP has no network header"),
        }
    }

    fn icmp_header(&self, type_u8: u8, code_u8: u8, bytes5to8: [u8; 4]) -> TransportHeader {
        if self.src.is_ipv4() {
            TransportHeader::Icmpv4(Icmpv4Header::new(Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 }))
        } else {
            TransportHeader::Icmpv6(Icmpv6Header::new(Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 }))
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};
    use rstest::rstest;

    use crate::packet::{BLUE_A, DB, Packet, from};

    fn v4() -> Packet {
        from(BLUE_A.v4).to(DB.v4).udp(53)
    }

    fn v6() -> Packet {
        from(BLUE_A.v6).to(DB.v6).udp(53)
    }

    /// Another implementation reads what this one wrote.
    #[rstest]
    #[case::v4(v4(), 14 + 20 + 8 + 32)]
    #[case::options(v4().options(12), 14 + 32 + 8 + 32)]
    #[case::tagged(v4().vlan(5), 18 + 20 + 8 + 32)]
    #[case::v6(v6(), 14 + 40 + 8 + 32)]
    #[case::extension_headers(v6().hop_by_hop().dst_options(1).routing(), 14 + 40 + 32 + 8 + 32)]
    #[case::authentication(v6().authentication(), 14 + 40 + 24 + 8 + 32)]
    #[case::atomic_fragment(v6().fragment(0, false), 14 + 40 + 8 + 8 + 32)]
    fn a_packet_is_what_it_says(#[case] packet: Packet, #[case] length: usize) {
        let bytes = packet.bytes();
        assert_eq!(bytes.len(), length, "{packet}\n{}", packet.hex());
        let parsed = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Udp(udp)) = parsed.transport else { panic!("no UDP in {packet}") };
        assert_eq!((udp.source_port(), udp.destination_port()), packet.ports());
        assert_eq!(udp.payload().len(), 32);
    }

    #[rstest]
    #[case::v4(v4().fragment(185, true), 14 + 20 + 32)]
    #[case::v6(v6().fragment(185, true), 14 + 40 + 8 + 32)]
    fn a_later_fragment_has_no_ports(#[case] packet: Packet, #[case] length: usize) {
        assert_eq!(packet.bytes().len(), length);
        assert_eq!(packet.ports(), (0, 0));
        assert!(SlicedPacket::from_ethernet(&packet.bytes()).unwrap().transport.is_none());
    }

    #[rstest]
    fn an_answer_goes_back_to_where_its_question_came_from() {
        let question = v4().from_port(4000);
        assert_eq!(question.answer().answer(), question);
        assert_eq!(question.answer().ports(), (53, 4000));
        let description = "udp [10.1.0.5]:4000 -> [10.9.0.5]:53, 74 bytes";
        assert_eq!(question.to_string(), description);
    }
}
