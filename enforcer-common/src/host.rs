//! What a workload may ask of its own host. Everything else towards the host is denied.

use crate::flow::{FlowKey, icmp, protocol};

/// The built-in allow list, as text: shown by `explain` and in the documentation.
pub const HOST_ALLOW: &str = "udp/53, tcp/53, udp/67, ping";

/// Port of a `DHCPv4` server and of its clients (RFC 2131 §4.1), host byte order.
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DNS: u16 = 53;

/// Whether [`HOST_ALLOW`] admits a workload's packet to its host.
#[inline(always)]
pub const fn allows(key: &FlowKey) -> bool {
    key.has_ports() && names(key)
}

#[inline(always)]
const fn names(key: &FlowKey) -> bool {
    match key.protocol {
        protocol::UDP => matches!(u16::from_be(key.dst_port), DNS | DHCP_SERVER),
        protocol::TCP => u16::from_be(key.dst_port) == DNS,
        protocol::ICMP => key.icmp_type == icmp::ECHO,
        protocol::ICMPV6 => key.icmp_type == icmp::V6_ECHO,
        _ => false,
    }
}

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

    fn key(protocol: u8, dst_port: u16, icmp_type: u8) -> FlowKey {
        FlowKey { protocol, dst_port: dst_port.to_be(), icmp_type, ..FlowKey::default() }
    }

    #[test]
    fn the_list_is_exactly_what_its_text_says() {
        assert!(allows(&key(protocol::UDP, 53, 0)));
        assert!(allows(&key(protocol::UDP, 67, 0)));
        assert!(allows(&key(protocol::TCP, 53, 0)));
        assert!(allows(&key(protocol::ICMP, 0, icmp::ECHO)));
        assert!(allows(&key(protocol::ICMPV6, 0, icmp::V6_ECHO)));
        assert!(!allows(&key(protocol::TCP, 67, 0)));
        assert!(!allows(&key(protocol::TCP, 22, 0)));
        assert!(!allows(&key(protocol::ICMP, 0, icmp::ECHO_REPLY)));
        assert!(!allows(&key(protocol::ICMP, 0, icmp::V6_ECHO)));
        assert!(!allows(&key(protocol::SCTP, 53, 0)));
    }
}
