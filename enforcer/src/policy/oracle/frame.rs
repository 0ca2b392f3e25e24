//! A frame: who sent it on this link, and what is in it.

use std::net::Ipv4Addr;

use enforcer_common::verdict::DropReason;
use etherparse::{ArpPacketSlice, Ethernet2Slice};

use super::{
    Why,
    datagram::{self, Datagram},
};

/// What was in a frame.
pub(super) struct Frame {
    /// Its sender's.
    pub(super) mac: [u8; 6],
    pub(super) content: Content,
}

pub(super) enum Content {
    Arp { mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr },
    Ip(Datagram),
}

/// Reads a whole frame.
pub(super) fn read(bytes: &[u8]) -> Result<Frame, Why> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(bytes).map_err(malformed)?;
    let behind = &bytes[14..];
    let content = match ethernet.ether_type().0 {
        0x0800 => Content::Ip(datagram::ipv4(behind)?),
        0x86dd => Content::Ip(datagram::ipv6(behind)?),
        0x0806 => arp(behind)?,
        0x8100 | 0x88a8 | 0x9100 => return Err(Why::Exactly(DropReason::VlanTag)),
        _ => return Err(Why::Exactly(DropReason::Ethertype)),
    };
    Ok(Frame { mac: ethernet.source(), content })
}

pub(super) fn malformed<E>(_: E) -> Why {
    Why::Malformed
}

fn arp(bytes: &[u8]) -> Result<Content, Why> {
    let arp = ArpPacketSlice::from_slice(bytes).map_err(malformed)?;
    if arp.hw_addr_type().0 != 1 || arp.proto_addr_type().0 != 0x0800 {
        return Err(Why::Malformed);
    }
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).map_err(malformed);
    Ok(Content::Arp {
        mac: arp.sender_hw_addr().try_into().map_err(malformed)?,
        sender: address(arp.sender_protocol_addr())?,
        target: address(arp.target_protocol_addr())?,
    })
}
