//! Reads the host's interfaces, once per question: nobody waits for it but who asks.

use std::{io, thread};

use futures_util::TryStreamExt;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};

use super::{Interface, Kind};

/// All interfaces of this network namespace. May be called where asynchronous code runs: it asks on a thread of its
/// own.
pub fn look() -> io::Result<Vec<Interface>> {
    let ask = async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let links = handle.link().get().execute().try_collect::<Vec<_>>().await;
        Ok(links.map_err(io::Error::other)?.iter().map(read).collect())
    };
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(ask);
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read(message: &LinkMessage) -> Interface {
    let mut interface = Interface { name: String::new(), kind: Kind::Other, leads_away: false };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::LinkNetNsId(_) => interface.leads_away = true,
            LinkAttribute::LinkInfo(infos) => {
                let kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
                interface.kind = kind.map_or(Kind::Other, |kind| self::kind(kind, message));
            }
            _ => {}
        }
    }
    interface
}

fn kind(kind: &InfoKind, message: &LinkMessage) -> Kind {
    match kind {
        InfoKind::Veth => Kind::Veth,
        InfoKind::Netkit => Kind::Netkit,
        InfoKind::Tun if message.header.link_layer_type == LinkLayerType::Ether => Kind::Tap,
        InfoKind::Tun => Kind::Tun,
        InfoKind::MacVlan | InfoKind::MacVtap => Kind::Macvlan,
        InfoKind::IpVlan | InfoKind::IpVtap => Kind::Ipvlan,
        _ => Kind::Other,
    }
}
