//! One interface, as the kernel tells of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};

use super::{
    names::Names,
    route::Route,
    wire::{Hanging, outside, wire},
};
use crate::{daemon::event::Veth, shortcut::Barrier};

/// What is inside a workload's namespace, by its own interface indices.
#[derive(Default)]
pub struct Inside {
    pub macs: BTreeMap<u32, [u8; 6]>,
    pub addresses: BTreeMap<u32, BTreeSet<IpAddr>>,
    /// Interfaces with an XDP program.
    pub xdp: BTreeSet<u32>,
}

/// Interfaces that frames leave through inside of packets.
const TUNNELS: [InfoKind; 4] = [InfoKind::Vxlan, InfoKind::Geneve, InfoKind::GreTap, InfoKind::GreTap6];

/// What we read of one interface.
pub struct Link {
    pub ifindex: u32,
    pub name: String,
    alias: Option<String>,
    pub is_veth: bool,
    /// The loopback or a bridge: the host and local endpoints speak through it, so it is no uplink, whatever
    /// the host file says.
    pub is_internal: bool,
    /// Why nothing may be forwarded through it past the host's stack, if that is for what it is.
    pub unfit: Option<&'static str>,
    pub mac: Option<[u8; 6]>,
    /// What it belongs to: a bridge, for example.
    pub master: Option<u32>,
    /// Index of the other end, in its own namespace.
    pub peer: Option<u32>,
    pub peer_nsid: Option<i32>,
    /// How it hangs in the host.
    pub hanging: Hanging,
}

impl Link {
    /// Reads what the kernel tells of it.
    pub fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            ifindex: message.header.index,
            name: String::new(),
            alias: None,
            is_veth: false,
            is_internal: message.header.link_layer_type == LinkLayerType::Loopback,
            unfit: (message.header.link_layer_type != LinkLayerType::Ether).then_some("it is no Ethernet"),
            mac: None,
            master: None,
            peer: None,
            peer_nsid: None,
            hanging: Hanging::read(message),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
                LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::Controller(bridge) => link.master = Some(*bridge),
                LinkAttribute::Link(peer) => link.peer = Some(*peer),
                LinkAttribute::LinkNetNsId(nsid) => link.peer_nsid = Some(*nsid),
                LinkAttribute::LinkInfo(infos) => {
                    let is = |kind| infos.contains(&LinkInfo::Kind(kind));
                    link.is_veth = is(InfoKind::Veth);
                    link.is_internal |= is(InfoKind::Bridge);
                    if TUNNELS.into_iter().any(is) {
                        link.unfit = Some("it is a tunnel: only the stack tells how much that takes");
                    }
                }
                _ => {}
            }
        }
        link
    }

    /// What stands in the way of shortcuts here if it leads outside. `is_narrowed`: a route by it has an MTU of its own.
    pub fn outside(&self, is_narrowed: bool) -> Vec<Barrier> {
        outside(self, is_narrowed)
    }

    /// What is known of the workload behind it. `master` is what it belongs to, `routes` are those by it and by that, and
    /// `inside` is the namespace at its other end.
    pub fn observe<'a>(
        &self,
        master: Option<&Self>,
        routes: impl Iterator<Item = &'a Route>,
        inside: Option<&Inside>,
        names: &Names,
    ) -> Veth {
        let netns = self.peer_nsid.and_then(|nsid| names.get(&nsid)).cloned().unwrap_or_default();
        let inside = inside.zip(self.peer);
        let mut veth = Veth {
            name: self.name.clone(),
            alias: self.alias.clone(),
            netns,
            nsid: self.peer_nsid.filter(|nsid| *nsid >= 0),
            mac: inside.and_then(|(inside, peer)| inside.macs.get(&peer).copied()),
            inside: inside
                .and_then(|(inside, peer)| inside.addresses.get(&peer).cloned())
                .unwrap_or_default(),
            wire: wire(self, master, inside),
            ..Veth::default()
        };
        for route in routes {
            let single = route.network.prefix_len() == route.network.max_prefix_len();
            veth.wire.mtu = veth.wire.mtu.min(route.mtu.unwrap_or(u32::MAX));
            if route.interface == Some(self.ifindex) && single {
                veth.routed.insert(route.network.addr());
            } else {
                veth.subnets.push(route.network);
            }
        }
        veth
    }
}
