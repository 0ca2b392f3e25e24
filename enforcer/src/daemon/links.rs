//! Looks at the host's interfaces, addresses and routes, and at the addresses inside the workloads.
//!
//! Every change leads to one complete look, so that an event that was lost is made up for by the next
//! one; only a new interface is told at once, because it has to be closed at once. The workloads'
//! namespaces are never entered: the kernel answers for them by namespace id, but only on sockets with
//! *strict checking*. Without it the kernel ignores the id and answers with the host's own addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::LinkAttribute,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType},
};
use netlink_sys::SocketAddr;
use rtnetlink::{
    Handle, IpVersion, MulticastGroup, new_connection_with_strict_check, new_multicast_connection,
};
use tracing::warn;

use super::event::Observation;
use crate::{
    config::Config,
    shortcut::{Barrier, Kinds},
};

mod link;
mod names;
mod route;
mod wire;

use link::{Inside, Link};
use names::Names;
pub use route::interface_towards;

/// Changes come in bursts; one look serves all that arrive within this time.
const SETTLE: Duration = Duration::from_millis(3);

/// How soon to look again while some workload has no address yet: nothing tells of changes inside it.
/// Doubles with every look in vain.
const IMPATIENT: Duration = Duration::from_millis(10);

/// How often to look when all is settled.
const PATIENT: Duration = Duration::from_secs(2);

/// Why the host cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No netlink socket.
    #[error("failed to open a netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel refused an answer.
    #[error("failed to list {what}")]
    List {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: rtnetlink::Error,
    },
}

/// What is told at once, before the look that every waking leads to.
#[derive(Debug)]
pub enum Wake {
    /// A wanted interface appeared.
    Appeared {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// A wanted interface went.
    Vanished {
        /// Its index.
        ifindex: u32,
    },
    /// The kernel had more to tell than we could read: an interface may have gone and another have its index,
    /// which a look alone does not show.
    Overrun,
    /// The socket is dead: nothing will be told any more.
    Lost,
}

/// The kernel's view of the host's links.
pub struct Links {
    config: Arc<Config>,
    handle: Handle,
    messages: Pin<Box<dyn Stream<Item = Message> + Send + Sync>>,
    patience: Duration,
    /// Wanted veths and uplinks that were told of already.
    announced: BTreeSet<u32>,
    last: Observation,
}

type Message = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

impl Links {
    /// Opens the sockets and subscribes; needs a tokio runtime.
    pub fn open(config: Arc<Config>) -> Result<Self, LinkError> {
        let (connection, handle, _) = new_connection_with_strict_check().map_err(LinkError::Socket)?;
        tokio::spawn(connection);
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Nsid,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (connection, _, messages) = new_multicast_connection(&groups).map_err(LinkError::Socket)?;
        tokio::spawn(connection);
        Ok(Self {
            config,
            handle,
            messages: Box::pin(messages),
            patience: IMPATIENT,
            announced: BTreeSet::new(),
            last: Observation::default(),
        })
    }

    /// Goes by another host file from the next look on.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.config = config;
    }

    /// Waits until something changed, or until it is time to look; nothing is lost when the waiting is given up.
    /// `settled`: no workload is waited for.
    ///
    /// All that has been told by now is in the answer, or will be in the look that follows: one look for each message
    /// would fall behind a busy host, and what it is behind with has to be kept.
    pub async fn wake(&mut self, settled: bool) -> Vec<Wake> {
        let patience = if settled { PATIENT } else { self.patience };
        let Ok(mut told) = tokio::time::timeout(patience, self.messages.next()).await else {
            self.patience = (self.patience * 2).min(PATIENT);
            return Vec::new();
        };
        self.patience = IMPATIENT;
        let deadline = tokio::time::Instant::now() + SETTLE;
        let mut wakes = Vec::new();
        while let Some((message, _)) = told {
            wakes.extend(self.notable(&message));
            // Let the burst pass, but do not keep an interface waiting that came or went.
            let next = if wakes.is_empty() {
                tokio::time::timeout_at(deadline, self.messages.next()).await.ok()
            } else {
                self.messages.next().now_or_never()
            };
            let Some(next) = next else { return wakes };
            told = next;
        }
        wakes.push(Wake::Lost);
        wakes
    }

    fn notable(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<Wake> {
        match &message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                let link = Link::read(link);
                let is_new = link.is_veth
                    && self.config.attach.wants(&link.name)
                    && self.announced.insert(link.ifindex);
                is_new.then_some(Wake::Appeared { ifindex: link.ifindex, name: link.name })
            }
            // A port that leaves its bridge is told of in the same words, but for the family.
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                if link.header.interface_family == AddressFamily::Unspec =>
            {
                let ifindex = link.header.index;
                self.announced.remove(&ifindex).then_some(Wake::Vanished { ifindex })
            }
            NetlinkPayload::Overrun(_) => {
                warn!("the kernel told more changes than we could read; looking at everything again");
                Some(Wake::Overrun)
            }
            _ => None,
        }
    }

    /// A complete look. What seems gone is looked for once more: the kernel may leave things out of a list
    /// that changes while it is read, and what is forgotten is not enforced.
    pub async fn look(&mut self) -> Result<Observation, LinkError> {
        let mut observation = self.look_once().await?;
        let shrunk = self.last.host.difference(&observation.host).next().is_some()
            || self.last.veths.keys().any(|ifindex| !observation.veths.contains_key(ifindex))
            || self.last.uplinks.keys().any(|ifindex| !observation.uplinks.contains_key(ifindex));
        if shrunk {
            let second = self.look_once().await?;
            observation.host.extend(second.host);
            observation.veths.extend(second.veths);
            observation.uplinks.extend(second.uplinks);
        }
        self.last = observation.clone();
        self.announced = observation.veths.keys().chain(observation.uplinks.keys()).copied().collect();
        Ok(observation)
    }

    async fn look_once(&self) -> Result<Observation, LinkError> {
        let links = self.links(None).await?;
        let routes = self.routes().await?;
        let names = if self.config.needs_netns() { self.netns_names().await } else { Names::new() };
        let mut veths = BTreeMap::new();
        let mut inside = BTreeMap::new();
        let (workloads, others): (Vec<_>, Vec<_>) =
            links.iter().partition(|link| link.is_veth && self.config.attach.wants(&link.name));
        for link in workloads {
            if let Some(nsid) = link.peer_nsid
                && !inside.contains_key(&nsid)
            {
                inside.insert(nsid, self.inside(nsid).await?);
            }
            veths.insert(link.ifindex, link.observe(&links, &routes, &inside, &names));
        }
        let host = routes.iter().filter(|route| route.interface.is_none()).map(|route| route.network);
        let leads_outside = |name: &str| self.config.guard.wants(name) || self.config.trust(name).is_some();
        let uplinks = others.iter().filter(|link| !link.is_internal && leads_outside(&link.name));
        let uplinks = uplinks.map(|link| (link.ifindex, link.name.clone())).collect();
        Ok(Observation { host: host.collect(), veths, uplinks, barriers: self.rules().await })
    }

    /// The links and addresses of another namespace. It may vanish while it is asked: then there is
    /// nothing in it.
    async fn inside(&self, nsid: i32) -> Result<Inside, LinkError> {
        // In this order: Docker gives an interface its MAC just before its address, and the MAC that is seen with the
        // first address counts for good.
        match (self.addresses(nsid).await, self.links(Some(nsid)).await) {
            (Ok(addresses), Ok(links)) => {
                let xdp = links.iter().filter(|link| link.hanging.has_xdp).map(|link| link.ifindex).collect();
                let macs = links.into_iter().filter_map(|link| Some((link.ifindex, link.mac?))).collect();
                Ok(Inside { macs, addresses, xdp })
            }
            (Err(error), _) | (_, Err(error)) if is_gone(&error) => Ok(Inside::default()),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn links(&self, nsid: Option<i32>) -> Result<Vec<Link>, LinkError> {
        let mut request = self.handle.link().get();
        if let Some(nsid) = nsid {
            request.message_mut().attributes.push(LinkAttribute::IfNetnsId(nsid));
        }
        let links = request.execute().map_ok(|link| Link::read(&link)).try_collect().await;
        links.map_err(|source| LinkError::List { what: "interfaces", source })
    }

    /// Addresses by interface, of another namespace.
    async fn addresses(&self, nsid: i32) -> Result<BTreeMap<u32, BTreeSet<IpAddr>>, LinkError> {
        let mut request = self.handle.address().get();
        request.message_mut().attributes.push(AddressAttribute::TargetNetNsId(nsid));
        let messages: Vec<AddressMessage> = request
            .execute()
            .try_collect()
            .await
            .map_err(|source| LinkError::List { what: "addresses", source })?;
        let mut addresses: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        for message in messages {
            addresses.entry(message.header.index).or_default().extend(own_address(&message));
        }
        Ok(addresses)
    }

    /// Rules of routing that somebody else made. Shortcuts alone depend on them, so nothing else fails with them.
    async fn rules(&self) -> Vec<Barrier> {
        let mut barriers = Vec::new();
        for (family, blocks) in [(IpVersion::V4, Kinds::ROUTED_V4), (IpVersion::V6, Kinds::ROUTED_V6)] {
            match self.handle.rule().get(family).execute().try_collect::<Vec<_>>().await {
                Ok(rules) => barriers.extend(rules.iter().filter_map(wire::rule)),
                Err(error) => {
                    let what = format!("routing rules cannot be looked at: {error}");
                    barriers.push(Barrier::new(blocks, what));
                }
            }
        }
        barriers
    }

    async fn routes(&self) -> Result<Vec<Route>, LinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let found: Vec<RouteMessage> = self
                .handle
                .route()
                .get(message)
                .execute()
                .try_collect()
                .await
                .map_err(|source| LinkError::List { what: "routes", source })?;
            routes.extend(found.iter().filter_map(Route::read));
        }
        Ok(routes)
    }
}

fn is_gone(error: &LinkError) -> bool {
    let LinkError::List { source: rtnetlink::Error::NetlinkError(message), .. } = error else { return false };
    message.code.is_some_and(|code| [libc::EINVAL, libc::ENODEV, libc::ENOENT].contains(&-code.get()))
}

/// A route with no router between.
struct Route {
    network: IpNet,
    /// The interface it leads to; `None` where it ends at the host itself.
    interface: Option<u32>,
    /// Bytes of the largest packet that it takes, where somebody said so.
    mtu: Option<u32>,
}

impl Route {
    fn read(message: &RouteMessage) -> Option<Self> {
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
            // Whatever ends here is the host's: its addresses, subnet broadcast (the host hears it) and
            // subnet-router anycast (RFC 4291 §2.6.1), and prefixes that somebody routed to `lo`.
            RouteType::Local | RouteType::Broadcast | RouteType::Anycast => None,
            _ => return None,
        };
        let network = IpNet::new(network?, message.header.destination_prefix_length).ok()?;
        Some(Self { network, interface, mtu })
    }
}

/// The interface's own address: on a point-to-point link `Address` is the other end's and `Local` ours.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    find(|attribute| if let AddressAttribute::Local(address) = attribute { Some(*address) } else { None })
        .or_else(|| {
            find(
                |attribute| {
                    if let AddressAttribute::Address(address) = attribute { Some(*address) } else { None }
                },
            )
        })
}
