//! What a packet is about, as far as rules and conversations care.

use std::net::IpAddr;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

/// One direction of a conversation; who opened it has the same with the ends changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flow {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// The one behind the IPv6 extension headers.
    pub(super) protocol: u8,
    /// The identifier of an echo twice; zeros where a protocol has none; `None` where nobody knows,
    /// because the first fragment was not seen.
    pub(super) ports: Option<(u16, u16)>,
    /// Type and code, of the family's own ICMP.
    pub(super) icmp: Option<(u8, u8)>,
}

impl Flow {
    /// The direction of the answers. Of ICMP only an echo has one.
    pub(super) fn reversed(self) -> Self {
        let icmp = self.icmp.map(|(kind, code)| match (self.protocol, kind) {
            (ICMP, 8) => (0, code),
            (ICMP, 0) => (8, code),
            (ICMPV6, 128) => (129, code),
            (ICMPV6, 129) => (128, code),
            _ => (kind, code),
        });
        let ports = self.ports.map(|(src, dst)| (dst, src));
        Self { src: self.dst, dst: self.src, ports, icmp, ..self }
    }

    /// A request of the family's own ping.
    pub(super) const fn is_echo_request(&self) -> bool {
        matches!((self.protocol, self.icmp), (ICMP, Some((8, _))) | (ICMPV6, Some((128, _))))
    }

    /// Whether this is UDP between these ports.
    pub(super) fn is_udp(&self, src: u16, dst: u16) -> bool {
        self.protocol == UDP && self.ports == Some((src, dst))
    }

    /// Whether an ICMP type of the family reports an error about another packet (RFC 1122 §3.2.2,
    /// RFC 4443 §2.1).
    pub(super) const fn is_icmp_error(&self) -> bool {
        matches!((self.protocol, self.icmp), (ICMP, Some((3 | 4 | 11 | 12, _))) | (ICMPV6, Some((..128, _))))
    }

    /// Whether a packet of it begins a conversation: ICMP other than an echo request does not, nor what
    /// has ports that nobody knows.
    pub(super) const fn opens(&self) -> bool {
        self.ports.is_some() && (self.icmp.is_none() || self.is_echo_request())
    }
}
