//! What a workload may ask of its own host. Everything else towards the host is denied.

use bytemuck::{Pod, Zeroable};

use crate::{
    flow::{FlowKey, protocol},
    map_layout,
    policy::Point,
};

/// Ranges of services that the host file may list of each kind: the bound of the kernel's search.
pub const MAX_HOST_SERVICES: usize = 32;

/// Services of one protocol: all points from `first` to `last`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Pod, Zeroable)]
pub struct Services {
    /// The first point.
    pub first: Point,
    /// The last point; one before the first is none.
    pub last: Point,
}

map_layout!(Services, 8);

impl Services {
    /// None at all.
    pub const NONE: Self = Self { first: Point(1), last: Point(0) };
}

/// What the host file says of the host as an end (the one value of the `HOST` table).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct HostEnd {
    /// What workloads may ask of their host without a rule.
    pub allow: [Services; MAX_HOST_SERVICES],
    /// What stays open from outside, whatever address somebody there bears.
    pub failsafe: [Services; MAX_HOST_SERVICES],
    /// [`HostEnd::ASKS_BY_RULES`].
    pub flags: u32,
}

map_layout!(HostEnd, 516);

impl HostEnd {
    /// The host may open to workloads only what a rule allows; else everything that none denies.
    pub const ASKS_BY_RULES: u32 = 1;
}

impl Default for HostEnd {
    fn default() -> Self {
        let none = [Services::NONE; MAX_HOST_SERVICES];
        Self { allow: none, failsafe: none, flags: 0 }
    }
}

/// Whether one of the ranges holds the point; without a branch in the loop, which the verifier would walk
/// both ways of. A later fragment of unknown ports lies in none.
#[inline(always)]
pub fn lists(services: &[Services; MAX_HOST_SERVICES], point: Point) -> bool {
    let mut found = 0;
    for range in services {
        let below = point.0.wrapping_sub(range.first.0);
        let above = range.last.0.wrapping_sub(point.0);
        // Points have no highest bit, so a difference has it exactly when it is negative.
        found |= !(below | above) >> 31;
    }
    found != 0
}

/// The allow list where the host file says nothing, as text.
pub const HOST_ALLOW: &str = "udp/53, tcp/53, udp/67, ping";

/// Port of a `DHCPv4` server and of its clients (RFC 2131 §4.1), host byte order.
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
/// Whether a packet has the ports of a `DHCPv4` client that asks.
#[inline(always)]
pub const fn is_dhcp_request(key: &FlowKey) -> bool {
    key.protocol == protocol::UDP
        && key.src_port == DHCP_CLIENT.to_be()
        && key.dst_port == DHCP_SERVER.to_be()
}

/// Whether a packet speaks as a DHCP server of its family (RFC 2131 §4.1, RFC 8415 §7.2).
#[inline(always)]
pub const fn serves_addresses(key: &FlowKey) -> bool {
    const SERVER: u16 = 547_u16.to_be();
    const CLIENT: u16 = 546_u16.to_be();
    let v6 = key.protocol == protocol::UDP && key.src_port == SERVER && key.dst_port == CLIENT;
    if key.src.is_v4() { is_dhcp_answer(key) } else { v6 }
}

/// Whether a packet has the ports of a `DHCPv4` server that answers. It goes to the address that the client
/// is about to get, so to one that nobody owns yet.
#[inline(always)]
pub const fn is_dhcp_answer(key: &FlowKey) -> bool {
    key.protocol == protocol::UDP
        && key.src_port == DHCP_SERVER.to_be()
        && key.dst_port == DHCP_CLIENT.to_be()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_ends_and_what_is_between() {
        let mut services = [Services::NONE; MAX_HOST_SERVICES];
        services[7] = Services { first: Point::port(6, 80), last: Point::port(6, 90) };
        for (port, listed) in [(79, false), (80, true), (85, true), (90, true), (91, false)] {
            assert_eq!(lists(&services, Point::port(6, port)), listed, "tcp/{port}");
        }
        assert!(!lists(&services, Point::port(17, 85)));
        assert!(!lists(&services, Point::no_ports(6)) && !lists(&services, Point::UNKNOWN));
        assert!(!lists(&HostEnd::default().allow, Point::port(0, 0)));
    }
}
