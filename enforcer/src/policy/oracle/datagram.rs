//! An IP packet's headers, one after the other, from the outside in.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_common::verdict::DropReason;
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{
    Why,
    extension::{Fragment, walk},
    flow::{Flow, ICMP, ICMPV6, SCTP, TCP, UDP},
    frame::malformed,
    link::is_of_link,
    quote,
    scope::Scope,
};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// What no fragment but the first may touch: TCP's header without its options.
const TCP_HEADER: usize = 20;

/// Where a DHCP client says its MAC, behind the UDP header (RFC 2131 §2).
const CHADDR: usize = 28;

/// A packet of either family.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) flow: Flow,
    pub(super) fragment: Fragment,
    /// Protocol of the IPv4 header, which is part of what tells two fragmented datagrams apart.
    pub(super) v4_protocol: u8,
    /// Where they are known.
    pub(super) tcp_flags: Option<u8>,
    pub(super) discovery: Option<Discovery>,
    /// Of an ICMP error: the flow that it is about.
    pub(super) quote: Option<Flow>,
    /// The MAC that a DHCP client says it has.
    pub(super) chaddr: Option<[u8; 6]>,
    hop_limit: u8,
}

/// What a link needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Discovery {
    Solicitation(Ipv6Addr),
    Advertisement(Ipv6Addr),
    /// For routers, or about groups.
    Asking,
    /// What only routers say.
    Routing,
}

/// Reads what is behind the Ethernet header.
pub(super) fn ipv4(bytes: &[u8]) -> Result<Datagram, Why> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(malformed)?;
    let payload = bytes.get(header.slice().len()..usize::from(header.total_len())).ok_or(Why::Malformed)?;
    // To a group they say that routers shall look (RFC 3376 §4); else they are how sources choose routes.
    if !header.options().is_empty() && !header.destination_addr().is_multicast() {
        return Err(Why::Exactly(DropReason::IpOptions));
    }
    let mut packet = Datagram::new(header.source_addr().into(), header.destination_addr().into());
    packet.hop_limit = header.ttl();
    packet.flow.protocol = header.protocol().0;
    packet.v4_protocol = header.protocol().0;
    let (offset, more) = (header.fragments_offset().value(), header.more_fragments());
    packet.fragment = Fragment::new(u32::from(header.identification()), offset, more);
    packet.transport(payload, bytes.len() - payload.len())
}

/// Reads what is behind the Ethernet header.
pub(super) fn ipv6(bytes: &[u8]) -> Result<Datagram, Why> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(malformed)?;
    let payload = bytes.get(40..40 + usize::from(header.payload_length())).ok_or(Why::Malformed)?;
    let (src, dst) = (header.source_addr(), header.destination_addr());
    if src.to_ipv4_mapped().or(dst.to_ipv4_mapped()).is_some() {
        return Err(Why::Exactly(DropReason::MappedAddress));
    }
    let walk = walk(header.next_header().0, ETHERNET + 40, payload)?;
    let mut packet = Datagram::new(src.into(), dst.into());
    packet.hop_limit = header.hop_limit();
    packet.flow.protocol = walk.protocol;
    packet.fragment = walk.fragment;
    packet.transport(walk.rest, 40 + payload.len() - walk.rest.len())
}

impl Datagram {
    const fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self {
            flow: Flow { src, dst, protocol: 0, ports: Some((0, 0)), icmp: None },
            fragment: Fragment::Whole,
            v4_protocol: 0,
            tcp_flags: None,
            discovery: None,
            quote: None,
            chaddr: None,
            hop_limit: 0,
        }
    }

    const fn is_v4(&self) -> bool {
        self.flow.src.is_ipv4()
    }

    /// Reads the header behind the network header, if there is one that matters; `deep` bytes lie before
    /// it.
    fn transport(mut self, payload: &[u8], deep: usize) -> Result<Self, Why> {
        let protocol = self.flow.protocol;
        if protocol == if self.is_v4() { ICMPV6 } else { ICMP } {
            return Err(Why::Exactly(DropReason::BadHeader));
        }
        if let Fragment::Later { offset, .. } = self.fragment {
            self.flow.ports = None;
            // RFC 3128: it would overwrite flags that were judged.
            let overlaps = protocol == TCP && offset < TCP_HEADER;
            return if overlaps { Err(Why::Exactly(DropReason::OverlappingFragment)) } else { Ok(self) };
        }
        let smallest = match protocol {
            TCP => TCP_HEADER,
            UDP | SCTP | ICMP | ICMPV6 => 8,
            _ => return Ok(self),
        };
        let header = payload.get(..smallest).ok_or(Why::Malformed)?;
        let pair = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if matches!(protocol, TCP | UDP | SCTP) {
            self.flow.ports = Some((pair(0), pair(2)));
        }
        match protocol {
            TCP if header[12] >> 4 < 5 => return Err(Why::Malformed),
            TCP => self.tcp_flags = Some(header[13]),
            UDP if self.is_v4() && self.flow.is_udp(68, 67) => {
                self.chaddr = payload.get(8 + CHADDR..).and_then(<[u8]>::first_chunk).copied();
            }
            ICMP | ICMPV6 => self.icmp((header[0], header[1]), pair(4), payload, deep)?,
            _ => {}
        }
        Ok(self)
    }

    fn icmp(&mut self, (kind, code): (u8, u8), id: u16, payload: &[u8], deep: usize) -> Result<(), Why> {
        self.flow.icmp = Some((kind, code));
        if matches!((self.flow.protocol, kind), (ICMP, 0 | 8) | (ICMPV6, 128 | 129)) {
            self.flow.ports = Some((id, id));
        }
        if self.flow.is_icmp_error() {
            let quote = quote::read(self.is_v4(), ETHERNET + deep + 8, &payload[8..]);
            self.quote = Some(quote.ok_or(Why::Exactly(DropReason::BadQuote))?);
        }
        self.discovery = self.discovery(payload)?;
        Ok(())
    }

    /// Tells what a link needs from what only looks like it.
    fn discovery(&self, payload: &[u8]) -> Result<Option<Discovery>, Why> {
        let (Some((kind, code)), IpAddr::V6(dst)) = (self.flow.icmp, self.flow.dst) else { return Ok(None) };
        // RFC 4861 §7.1 and RFC 6980: never forwarded, never in pieces.
        let whole = self.fragment == Fragment::Whole;
        if matches!(kind, 133..=137) && !(self.hop_limit == 255 && code == 0 && whole) {
            return Err(Why::Malformed);
        }
        let target = || {
            let bytes: &[u8] = payload.get(8..24).ok_or(Why::Malformed)?;
            let target = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).map_err(malformed)?);
            match target.to_ipv4_mapped() {
                Some(_) => Err(Why::Exactly(DropReason::MappedAddress)),
                None => Ok(target),
            }
        };
        // RFC 3810 §5: from this link, for this link, whole, and on two dozen groups at most.
        let from_link = matches!(Scope::of(self.flow.src), Scope::LinkLocal | Scope::Unspecified);
        let modest = code == 0 && whole && payload.len() <= 512;
        let of_listeners = self.hop_limit == 1 && from_link && is_of_link(dst) && modest;
        // Both addresses' options and a nonce; what is longer carries something else.
        let short = payload.len() <= 48;
        Ok(match kind {
            135 if short => Some(Discovery::Solicitation(target()?)),
            136 if short => Some(Discovery::Advertisement(target()?)),
            133 if short => Some(Discovery::Asking),
            134 | 137 => Some(Discovery::Routing),
            130 if of_listeners => Some(Discovery::Routing),
            131 | 132 | 143 if of_listeners => Some(Discovery::Asking),
            _ => None,
        })
    }

    /// Bytes of the fragmented datagram that no later fragment may touch.
    pub(super) const fn header_bytes(&self) -> usize {
        let extensions = match self.fragment {
            Fragment::First { extensions, .. } => extensions,
            _ => 0,
        };
        extensions + if self.flow.protocol == TCP { TCP_HEADER } else { 8 }
    }
}
