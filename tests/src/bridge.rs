//! The bridges of a host: one per subnet, with the subnet's gateway on it.

use std::net::IpAddr;

use ipnet::IpNet;

/// The longest name Linux gives an interface.
pub const INTERFACE_NAME_MAX: usize = 15;

/// A bridge's name: `br-` and the subnet, without the zeros at its end where these say nothing.
///
/// `br-10.3.0` for 10.3.0.0/24, `br-10.3.0.64` for 10.3.0.64/26; in hexadecimal what would not fit otherwise.
pub fn name_for(subnet: IpNet) -> String {
    let name = match subnet.network() {
        IpAddr::V4(network) if subnet.prefix_len().is_multiple_of(8) => {
            let octets = network.octets().map(|octet| octet.to_string());
            format!("br-{}", octets[..usize::from(subnet.prefix_len() / 8)].join("."))
        }
        IpAddr::V4(network) => format!("br-{network}"),
        // The last twelve digits of the prefix: the first four hardly ever differ.
        IpAddr::V6(network) => format!("br-{:012x}", (network.to_bits() >> 64) & 0xffff_ffff_ffff),
    };
    match subnet.network() {
        IpAddr::V4(network) if name.len() > INTERFACE_NAME_MAX => format!("br-{:08x}", network.to_bits()),
        _ => name,
    }
}

/// A host's gateway in a subnet: the first address for the first host, the second one for the next.
pub fn gateway_of(subnet: IpNet, host: u8) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(network) => IpAddr::V4((network.to_bits() + u32::from(host)).into()),
        IpAddr::V6(network) => IpAddr::V6((network.to_bits() + u128::from(host)).into()),
    }
}

/// The hardware address of a host's bridge.
pub fn mac(subnet: IpNet, host: u8) -> [u8; 6] {
    let low_bits = match subnet.network() {
        IpAddr::V4(network) => network.to_bits(),
        IpAddr::V6(network) => (network.to_bits() >> 64) as u32,
    };
    let [a, b, c, d] = low_bits.to_be_bytes();
    [0x02, host, a, b, c, d]
}

/// `ip` commands that create a host's bridge. It keeps its hardware address while ports come and go.
pub fn creation(name: &str, subnet: IpNet, host: u8) -> String {
    let mac = mac(subnet, host).map(|byte| format!("{byte:02x}")).join(":");
    format!(
        "link add {name} address {mac} type bridge stp_state 0\n\
         link set {name} up\n"
    )
}

/// The `ip` command that puts the gateway of `subnet` on a bridge.
pub fn gateway_address(name: &str, subnet: IpNet, host: u8) -> String {
    let nodad = if subnet.addr().is_ipv6() { " nodad" } else { "" };
    format!("addr add {}/{} dev {name}{nodad}\n", gateway_of(subnet, host), subnet.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_subnet_and_fit() {
        for (subnet, expected) in [
            ("10.3.0.7/24", "br-10.3.0"),
            ("10.3.0.7/16", "br-10.3"),
            ("10.3.0.70/26", "br-10.3.0.64"),
            ("192.168.100.1/24", "br-192.168.100"),
            ("192.168.100.70/26", "br-c0a86440"),
            ("2001:db8:2::5/64", "br-0db800020000"),
        ] {
            let name = name_for(subnet.parse().unwrap());
            assert_eq!(name, expected);
            assert!(name.len() <= INTERFACE_NAME_MAX);
        }
    }

    #[test]
    fn the_gateways_are_the_first_addresses() {
        for (subnet, host, expected) in [
            ("10.3.0.7/24", 1, "10.3.0.1"),
            ("10.3.0.7/24", 2, "10.3.0.2"),
            ("2001:db8:2::5/64", 1, "2001:db8:2::1"),
        ] {
            assert_eq!(gateway_of(subnet.parse().unwrap(), host).to_string(), expected);
        }
    }
}
