//! Where packets to an address go, so where packets from it should come from.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType},
};
use rtnetlink::{Handle, new_connection};

/// The interface on the way to an address; `None` when there is no way, or the kernel does not say.
pub async fn interface_towards(address: IpAddr) -> Option<u32> {
    let (connection, handle, _) = new_connection().ok()?;
    let connection = tokio::spawn(connection);
    let route = route_towards(&handle, address).await;
    connection.abort();
    interface(&route?)
}

/// Where packets to an address go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Nowhere: the host itself answers to it.
    Here,
    /// Out of an interface.
    By(u32),
}

/// Where packets to an address go; `None` when there is no way, or the kernel does not say.
pub async fn way_to(handle: &Handle, address: IpAddr) -> Option<Way> {
    let route = route_towards(handle, address).await?;
    if is_hosts(route.header.kind) { Some(Way::Here) } else { interface(&route).map(Way::By) }
}

fn interface(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    })
}

async fn route_towards(handle: &Handle, address: IpAddr) -> Option<RouteMessage> {
    let mut message = RouteMessage::default();
    let (family, destination, bits) = match address.to_canonical() {
        IpAddr::V4(address) => (AddressFamily::Inet, RouteAddress::Inet(address), 32),
        IpAddr::V6(address) => (AddressFamily::Inet6, RouteAddress::Inet6(address), 128),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(destination));
    handle.route().get(message).execute().try_next().await.ok().flatten()
}

/// Whatever ends here is the host's: its addresses, subnet broadcast (the host hears it) and subnet-router anycast
/// (RFC 4291 §2.6.1), and prefixes that somebody routed to `lo`.
const fn is_hosts(kind: RouteType) -> bool {
    matches!(kind, RouteType::Local | RouteType::Broadcast | RouteType::Anycast)
}

/// The interface that a route with an MTU of its own leads to, by a router or without; 0 where there are several.
pub fn narrowed(message: &RouteMessage) -> Option<u32> {
    let has_mtu = message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => {
            metrics.iter().any(|metric| matches!(metric, RouteMetric::Mtu(_)))
        }
        _ => false,
    });
    has_mtu.then(|| interface(message).unwrap_or(0))
}

/// A route with no router between.
pub struct Route {
    pub network: IpNet,
    /// The interface it leads to; `None` where it ends at the host itself.
    pub interface: Option<u32>,
    /// Bytes of the largest packet that it takes, where somebody said so.
    pub mtu: Option<u32>,
}

impl Route {
    /// Reads what the kernel tells of it.
    pub fn read(message: &RouteMessage) -> Option<Self> {
        let mut network = None;
        let mut interface = None;
        let mut mtu = None;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                    network = Some(IpAddr::V4(*address));
                }
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                    network = Some(IpAddr::V6(*address));
                }
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => return None,
                _ => {}
            }
        }
        let interface = match message.header.kind {
            RouteType::Unicast => Some(interface?),
            kind if is_hosts(kind) => None,
            _ => return None,
        };
        let network = IpNet::new(network?, message.header.destination_prefix_length).ok()?;
        Some(Self { network, interface, mtu })
    }
}
