//! Where packets to an address go, so where packets from it should come from.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteMessage},
};
use rtnetlink::new_connection;

/// The interface on the way to an address; `None` when there is no way, or the kernel does not say.
pub async fn interface_towards(address: IpAddr) -> Option<u32> {
    let (connection, handle, _) = new_connection().ok()?;
    let connection = tokio::spawn(connection);
    let mut message = RouteMessage::default();
    let (family, destination, bits) = match address.to_canonical() {
        IpAddr::V4(address) => (AddressFamily::Inet, RouteAddress::Inet(address), 32),
        IpAddr::V6(address) => (AddressFamily::Inet6, RouteAddress::Inet6(address), 128),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(destination));
    let route = handle.route().get(message).execute().try_next().await;
    connection.abort();
    let interface = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    };
    route.ok().flatten()?.attributes.iter().find_map(interface)
}
