//! Who a captured frame is from and to: for people, and to tell whose frame it is. No judge reads this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use crate::datapath::flows::protocol_name;

/// What the headers say, as far as they can be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Headers {
    /// Sender on the link; nothing in front of a packet that was captured without.
    pub mac: Option<[u8; 6]>,
    pub proto: Option<String>,
    pub src: Option<IpAddr>,
    pub src_port: u16,
    pub dst: Option<IpAddr>,
    pub dst_port: u16,
}

impl Headers {
    pub(super) fn of(frame: &[u8]) -> Self {
        let mac = frame.get(6..12).and_then(|bytes| bytes.try_into().ok()).filter(|mac| *mac != [0; 6]);
        let nothing = Self { mac, ..Self::default() };
        let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return nothing };
        let (src_port, dst_port) = ports(packet.transport.as_ref());
        let (src, dst, proto): (Option<IpAddr>, Option<IpAddr>, _) = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                (
                    Some(header.source_addr().into()),
                    Some(header.destination_addr().into()),
                    ip.payload().ip_number,
                )
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                (
                    Some(header.source_addr().into()),
                    Some(header.destination_addr().into()),
                    ip.payload().ip_number,
                )
            }
            Some(LaxNetSlice::Arp(arp)) => {
                let (src, dst) = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
                return Self { src, dst, proto: Some("arp".to_owned()), ..nothing };
            }
            None => return nothing,
        };
        Self { mac, proto: Some(protocol_name(proto.0)), src, src_port, dst, dst_port }
    }
}

fn ports(transport: Option<&TransportSlice>) -> (u16, u16) {
    match transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => (0, 0),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4().or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

/// A UDP packet to port 53.
#[cfg(test)]
pub(crate) fn udp(src: &str, dst: &str) -> Vec<u8> {
    use etherparse::PacketBuilder;

    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let ip = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ethernet.ipv4(src.octets(), dst.octets(), 64),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ethernet.ipv6(src.octets(), dst.octets(), 64),
        _ => panic!("{src} and {dst} never meet in one packet"),
    };
    let mut frame = Vec::new();
    ip.udp(40_000, 53).write(&mut frame, b"question").unwrap();
    frame
}
