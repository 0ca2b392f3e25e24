//! IP packets as bytes, in parts that can be put together in any order. Checksums are nobody's business
//! here.

use std::net::IpAddr;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;
pub(super) const OPTIONS: u8 = 60;
const FRAGMENT: u8 = 44;

/// What a network header carries: the number of the first header, and everything.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) protocol: u8,
    pub(super) bytes: Vec<u8>,
}

impl Body {
    /// Ports of TCP (with flags), UDP or SCTP; others have none.
    pub(super) fn ports(protocol: u8, src: u16, dst: u16, flags: u8) -> Self {
        let ports = [src.to_be_bytes(), dst.to_be_bytes()].concat();
        let rest: &[u8] = match protocol {
            TCP => &[0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0],
            UDP => &[0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
            _ => &[0; 12],
        };
        Self { protocol, bytes: [&ports, rest].concat() }
    }

    /// ICMP of a family, with the identifier of an echo and anything behind its header.
    pub(super) fn icmp(v6: bool, kind: u8, code: u8, data: &[u8]) -> Self {
        let protocol = if v6 { ICMPV6 } else { ICMP };
        Self { protocol, bytes: [&[kind, code, 0, 0, 0x0e, 0x0e, 0, 1], data].concat() }
    }

    /// Eight bytes of destination options in front.
    pub(super) fn behind_options(self) -> Self {
        let header = [self.protocol, 0, 1, 4, 0, 0, 0, 0];
        Self { protocol: OPTIONS, bytes: [&header, &self.bytes[..]].concat() }
    }
}

/// An IP packet.
pub(super) fn packet(src: IpAddr, dst: IpAddr, body: &Body) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = (20 + body.bytes.len() as u16).to_be_bytes();
            let head = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, body.protocol, 0, 0];
            [&head[..], &src.octets(), &dst.octets(), &body.bytes].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let length = (body.bytes.len() as u16).to_be_bytes();
            let head = [0x60, 0, 0, 0, length[0], length[1], body.protocol, 64];
            [&head[..], &src.octets(), &dst.octets(), &body.bytes].concat()
        }
        _ => unreachable!("both addresses are of one family"),
    }
}

/// Which part of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) id: u8,
    /// In units of eight bytes.
    pub(super) offset: u16,
    pub(super) more: bool,
}

/// A packet with a part of a datagram.
pub(super) fn fragment(src: IpAddr, dst: IpAddr, body: &Body, part: Part) -> Vec<u8> {
    if src.is_ipv4() {
        let mut packet = packet(src, dst, body);
        let field = part.offset | u16::from(part.more) << 13;
        packet[4..6].copy_from_slice(&[0, part.id]);
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        return packet;
    }
    let field = (part.offset << 3 | u16::from(part.more)).to_be_bytes();
    let header = [body.protocol, 0, field[0], field[1], 0, 0, 0, part.id];
    packet(src, dst, &Body { protocol: FRAGMENT, bytes: [&header, &body.bytes[..]].concat() })
}

/// An Ethernet header in front of a packet.
pub(super) fn frame(mac: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let ethertype: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2, 0, 0, 0, 0, 2][..], &mac, &ethertype, packet].concat()
}
