//! What is asked of the kernel: all of the host, or a few interfaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use enforcer_common::address::{Address, Scope};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkExtentMask},
    route::{RouteAttribute, RouteMessage},
};
use rtnetlink::{Handle, IpVersion, LinkGetRequest, new_connection_with_strict_check};

use super::{
    LinkError,
    link::{Inside, Link},
    names::{Names, netns_names},
    route::{Route, Way, narrowed, way_to},
    wire,
};
use crate::{
    config::Config,
    daemon::event::{Observation, Veth},
    shortcut::{Barrier, Kinds},
};

/// More addresses than a glimpse asks the kernel about: a workload may have any number.
const MAX_ADDRESSES: usize = 8;

/// One socket; the kernel answers one list at a time on it.
pub struct Eyes {
    pub config: Arc<Config>,
    handle: Handle,
}

impl Eyes {
    /// Needs a tokio runtime.
    pub fn open(config: Arc<Config>) -> Result<Self, LinkError> {
        let (connection, handle, _) = new_connection_with_strict_check().map_err(LinkError::Socket)?;
        tokio::spawn(connection);
        Ok(Self { config, handle })
    }

    /// All of the host.
    pub async fn look(&self) -> Result<Observation, LinkError> {
        let links = self.links(None).await?;
        let told = self.told_routes(None).await?;
        let routes: Vec<Route> = told.iter().filter_map(Route::read).collect();
        let narrowed: BTreeSet<u32> = told.iter().filter_map(narrowed).collect();
        let names = if self.config.needs_netns() { netns_names(&self.handle).await } else { Names::new() };
        let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.ifindex, link)).collect();
        let mut by_interface: BTreeMap<u32, Vec<&Route>> = BTreeMap::new();
        for route in &routes {
            by_interface.entry(route.interface.unwrap_or_default()).or_default().push(route);
        }
        let at = |ifindex: u32| by_interface.get(&ifindex).into_iter().flatten().copied();
        let mut veths = BTreeMap::new();
        let mut inside = BTreeMap::new();
        let (workloads, others): (Vec<_>, Vec<_>) =
            links.iter().partition(|link| link.is_veth && self.config.attach.wants(&link.name));
        for link in workloads {
            if let Some(nsid) = link.peer_nsid
                && !inside.contains_key(&nsid)
            {
                inside.insert(nsid, self.inside(nsid, None).await?);
            }
            let master = link.master.and_then(|master| by_index.get(&master).copied());
            let inside = link.peer_nsid.and_then(|nsid| inside.get(&nsid));
            let routes = at(link.ifindex).chain(link.master.into_iter().flat_map(at));
            veths.insert(link.ifindex, link.observe(master, routes, inside, &names));
        }
        let leads_outside = |name: &str| self.config.guard.wants(name) || self.config.trust(name).is_some();
        let leading = || others.iter().filter(|link| !link.is_internal && leads_outside(&link.name));
        let uplinks = leading().map(|link| (link.ifindex, link.name.clone())).collect();
        let is_narrowed = |link: &Link| narrowed.contains(&link.ifindex) || narrowed.contains(&0);
        let outside = leading().map(|link| (link.ifindex, link.outside(is_narrowed(link)))).collect();
        let barriers = self.rules().await;
        Ok(Observation {
            host: of_host(&routes),
            veths,
            uplinks,
            outside,
            barriers,
            ..Observation::default()
        })
    }

    /// What the host answers to.
    pub async fn host(&self) -> Result<BTreeSet<IpNet>, LinkError> {
        Ok(of_host(&self.routes(None).await?))
    }

    /// These interfaces alone; which of their workloads' addresses are the host's is the only thing that is seen of it.
    /// What cannot be seen well enough is left out.
    pub async fn glimpse(&self, interfaces: impl IntoIterator<Item = u32>) -> Observation {
        let mut glimpse = Observation::default();
        for ifindex in interfaces {
            let Ok(Some((veth, ways))) = self.veth(ifindex).await else { continue };
            let inside = veth.inside.iter().filter(|address| is_global(**address));
            let addresses: BTreeSet<IpAddr> = veth.routed.iter().chain(inside).copied().collect();
            if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
                continue;
            }
            let mut host = BTreeSet::new();
            let mut is_clear = true;
            for address in addresses {
                match way_to(&self.handle, address).await {
                    Some(Way::Here) => drop(host.insert(IpNet::from(address))),
                    Some(Way::By(interface)) => is_clear &= ways.contains(&interface),
                    None => is_clear = false,
                }
            }
            if is_clear {
                glimpse.host.extend(host);
                glimpse.veths.insert(ifindex, veth);
            }
        }
        glimpse
    }

    /// One veth, if it is wanted and leads into another namespace, and the interfaces that may lead to its workload.
    async fn veth(&self, ifindex: u32) -> Result<Option<(Veth, Vec<u32>)>, LinkError> {
        let Some(link) = self.link(ifindex).await? else { return Ok(None) };
        let (true, Some(nsid), Some(peer)) =
            (link.is_veth && self.config.attach.wants(&link.name), link.peer_nsid, link.peer)
        else {
            return Ok(None);
        };
        let mut routes = self.routes(Some(ifindex)).await?;
        let master = match link.master {
            Some(master) => {
                routes.extend(self.routes(Some(master)).await?);
                self.link(master).await?
            }
            None => None,
        };
        let inside = self.inside(nsid, Some(peer)).await?;
        let routes = routes.iter().filter(|route| route.interface.is_some());
        let ways = link.master.into_iter().chain([ifindex]).collect();
        Ok(Some((link.observe(master.as_ref(), routes, Some(&inside), &Names::new()), ways)))
    }

    /// The links and addresses of another namespace, or what is to be known of one interface there. It may vanish while
    /// it is asked: then there is nothing in it.
    async fn inside(&self, nsid: i32, interface: Option<u32>) -> Result<Inside, LinkError> {
        // In this order: Docker gives an interface its MAC just before its address, and the MAC that is seen with the
        // first address counts for good.
        let addresses = self.addresses(nsid, interface).await;
        let links = self.ask_for_links(self.about_links(Some(nsid), interface)).await;
        match (addresses, links) {
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
        self.ask_for_links(self.about_links(nsid, None)).await
    }

    async fn link(&self, ifindex: u32) -> Result<Option<Link>, LinkError> {
        match self.ask_for_links(self.about_links(None, Some(ifindex))).await {
            Ok(links) => Ok(links.into_iter().next()),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn about_links(&self, nsid: Option<i32>, interface: Option<u32>) -> LinkGetRequest {
        // Counters that nobody asks for are a good part of the work.
        let request = self.handle.link().get();
        let mut request = request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]);
        if let Some(nsid) = nsid {
            request.message_mut().attributes.push(LinkAttribute::IfNetnsId(nsid));
        }
        match interface {
            Some(ifindex) => request.match_index(ifindex),
            None => request,
        }
    }

    async fn ask_for_links(&self, request: LinkGetRequest) -> Result<Vec<Link>, LinkError> {
        let links = request.execute().map_ok(|link| Link::read(&link)).try_collect().await;
        links.map_err(|source| LinkError::List { what: "interfaces", source })
    }

    /// Addresses by interface, of another namespace or of one interface there.
    async fn addresses(
        &self,
        nsid: i32,
        interface: Option<u32>,
    ) -> Result<BTreeMap<u32, BTreeSet<IpAddr>>, LinkError> {
        let mut request = self.handle.address().get();
        let message = request.message_mut();
        message.header.index = interface.unwrap_or_default();
        message.attributes.push(AddressAttribute::TargetNetNsId(nsid));
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

    /// All routes, or those by one interface.
    async fn routes(&self, interface: Option<u32>) -> Result<Vec<Route>, LinkError> {
        Ok(self.told_routes(interface).await?.iter().filter_map(Route::read).collect())
    }

    /// The same as the kernel tells them.
    async fn told_routes(&self, interface: Option<u32>) -> Result<Vec<RouteMessage>, LinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.attributes.extend(interface.map(RouteAttribute::Oif));
            let found: Vec<RouteMessage> = self
                .handle
                .route()
                .get(message)
                .execute()
                .try_collect()
                .await
                .map_err(|source| LinkError::List { what: "routes", source })?;
            routes.extend(found);
        }
        Ok(routes)
    }
}

/// Others mean something on their own link only, and are nobody's.
fn is_global(address: IpAddr) -> bool {
    Address::from(address).scope() == Scope::Global
}

fn of_host(routes: &[Route]) -> BTreeSet<IpNet> {
    routes.iter().filter(|route| route.interface.is_none()).map(|route| route.network).collect()
}

fn is_gone(error: &LinkError) -> bool {
    let LinkError::List { source: rtnetlink::Error::NetlinkError(message), .. } = error else { return false };
    message.code.is_some_and(|code| [libc::EINVAL, libc::ENODEV, libc::ENOENT].contains(&-code.get()))
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
