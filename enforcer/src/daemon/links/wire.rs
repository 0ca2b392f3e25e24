//! What the kernel tells of how a veth hangs in the host, as far as shortcuts go: what they would pass by there.

use enforcer_common::shortcut::Shortcut;
use netlink_packet_route::{
    AddressFamily,
    link::{
        AfSpecInet, AfSpecInet6, AfSpecUnspec, BridgePortState, InetDevConf, InfoBridge, InfoBridgePort,
        InfoData, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
    },
    rule::{RuleAttribute, RuleMessage},
};

use super::link::{Inside, Link};
use crate::{
    daemon::event::Wire,
    shortcut::{Barrier, Kinds},
};

/// `rp_filter` of an interface (Documentation/networking/ip-sysctl.rst): see [`Hanging::is_strict`].
const STRICT: i32 = 1;

/// What we read of one interface.
#[derive(Default)]
pub struct Hanging {
    mtu: u32,
    is_up: bool,
    pub has_xdp: bool,
    /// Kinds that it forwards.
    forwards: Kinds,
    /// IPv4 packets come in there only from whom answers would go out there.
    is_strict: bool,
    /// Of a bridge: what its frames meet there.
    bridge: Option<Vec<Barrier>>,
    /// Of a port.
    port: Vec<Barrier>,
}

impl Hanging {
    /// Reads what the kernel tells of an interface.
    pub fn read(message: &LinkMessage) -> Self {
        let is_up = message.header.flags.contains(LinkFlags::Up);
        let mut hanging = Self { is_up, ..Self::default() };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => hanging.mtu = *mtu,
                LinkAttribute::Xdp(xdp) => hanging.has_xdp = xdp.iter().any(is_attached),
                LinkAttribute::AfSpecUnspec(specs) => specs.iter().for_each(|spec| hanging.forwards(spec)),
                LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| hanging.belongs(info)),
                _ => {}
            }
        }
        hanging
    }

    fn forwards(&mut self, spec: &AfSpecUnspec) {
        let forwards = match spec {
            AfSpecUnspec::Inet(specs) => {
                let is = |check: fn(&InetDevConf) -> bool| {
                    specs.iter().any(|spec| matches!(spec, AfSpecInet::DevConf(conf) if check(conf)))
                };
                self.is_strict |= is(|conf| conf.rp_filter == STRICT);
                if is(|conf| conf.forwarding != 0) { Kinds::ROUTED_V4 } else { Kinds::NONE }
            }
            AfSpecUnspec::Inet6(specs) => {
                let on =
                    |spec: &AfSpecInet6| matches!(spec, AfSpecInet6::DevConf(conf) if conf.disable_ipv6 == 0);
                if specs.iter().any(on) { Kinds::ROUTED_V6 } else { Kinds::NONE }
            }
            _ => Kinds::NONE,
        };
        self.forwards = self.forwards.and(forwards);
    }

    fn belongs(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Data(InfoData::Bridge(bridge)) => {
                self.bridge = Some(bridge.iter().filter_map(of_bridge).collect());
            }
            LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                self.port.extend(port.iter().filter_map(of_port));
            }
            _ => {}
        }
    }
}

fn is_attached(xdp: &LinkXdp) -> bool {
    matches!(xdp, LinkXdp::Attached(kind) if *kind != XdpAttached::None)
}

fn of_bridge(info: &InfoBridge) -> Option<Barrier> {
    let barrier = |what: &str| Some(Barrier::new(Kinds::BRIDGED, what));
    match info {
        // Which VLAN a frame is in, and whether that goes on, only the bridge knows.
        InfoBridge::VlanFiltering(true) => Some(Barrier::new(Kinds::ALL, "its bridge filters VLANs")),
        InfoBridge::NfCallIpTables(true) | InfoBridge::NfCallIp6Tables(true) => {
            barrier("its bridge asks the rules of netfilter")
        }
        // In hundredths of a second.
        InfoBridge::AgeingTime(ageing) if u64::from(*ageing) < Shortcut::LEAST_AGEING * 100 => {
            barrier("its bridge forgets MAC addresses too soon")
        }
        _ => None,
    }
}

fn of_port(info: &InfoBridgePort) -> Option<Barrier> {
    let barrier = |what: &str| Some(Barrier::new(Kinds::BRIDGED, what));
    match info {
        InfoBridgePort::State(state) if *state != BridgePortState::Forwarding => {
            Some(Barrier::new(Kinds::ALL, "its port of the bridge does not forward"))
        }
        InfoBridgePort::Locked(true) => Some(Barrier::new(Kinds::ALL, "its port of the bridge is locked")),
        InfoBridgePort::Isolated(true) => barrier("its port of the bridge is isolated"),
        InfoBridgePort::Learning(false) => barrier("its port of the bridge learns nothing"),
        _ => None,
    }
}

/// What stands at an interface that leads outside, in the way of what would be forwarded past the stack.
pub fn outside(link: &Link, is_narrowed: bool) -> Vec<Barrier> {
    let hanging = &link.hanging;
    let mut barriers = Vec::new();
    if !hanging.is_up {
        barriers.push(Barrier::new(Kinds::ROUTED, "it is down"));
    }
    if link.master.is_some() {
        barriers.push(Barrier::new(Kinds::ROUTED, "it belongs to another interface"));
    }
    if let Some(why) = link.unfit {
        barriers.push(Barrier::new(Kinds::ROUTED, why));
    }
    if is_narrowed {
        barriers.push(Barrier::new(Kinds::ROUTED, "a route by it has an MTU of its own"));
    }
    if hanging.is_strict {
        barriers.push(Barrier::new(Kinds::ROUTED_V4, "it filters by the way back (rp_filter)"));
    }
    barriers.extend(not_forwarded(link));
    barriers
}

/// Whether IPv6 is forwarded is asked of the host, whether an interface has any is asked of it.
fn not_forwarded(link: &Link) -> impl Iterator<Item = Barrier> {
    let kinds = [(Kinds::ROUTED_V4, "IPv4 forwarding"), (Kinds::ROUTED_V6, "IPv6")];
    let off = kinds.into_iter().filter(|(kind, _)| link.hanging.forwards.0 & kind.0 == 0);
    off.map(|(kind, what)| Barrier::new(kind, format!("{what} is off at {}", link.name)))
}

/// How frames get to the workload behind a veth, and what they meet. `master` is what it belongs to.
pub fn wire(link: &Link, master: Option<&Link>, inside: Option<(&Inside, u32)>) -> Wire {
    let hanging = &link.hanging;
    let all = |what: &str| Barrier::new(Kinds::ALL, what);
    let mut barriers = hanging.port.clone();
    if !hanging.is_up {
        barriers.push(all("its interface is down"));
    }
    match inside {
        None => barriers.push(all("its workload is in the host's own namespace")),
        Some((inside, peer)) if inside.xdp.contains(&peer) => {
            barriers.push(all("an XDP program of the workload"));
        }
        Some(_) => {}
    }
    if link.master.is_some() && master.is_none() {
        barriers.push(all("what its interface belongs to is not known"));
    }
    if let Some(master) = master {
        barriers.extend(master.hanging.bridge.iter().flatten().cloned());
        if master.hanging.bridge.is_none() {
            barriers.push(all(&format!("its interface belongs to {}, which is no bridge", master.name)));
        } else if !master.hanging.is_up {
            barriers.push(all("its bridge is down"));
        }
        if master.hanging.has_xdp {
            barriers.push(Barrier::new(Kinds::ROUTED, "an XDP program on its bridge"));
        }
    }
    // Whom the workload knows as its router.
    let router = master.unwrap_or(link);
    barriers.extend(not_forwarded(router));
    let mac = inside.and_then(|(inside, peer)| inside.macs.get(&peer).copied());
    if mac.is_none() || router.mac.is_none() {
        barriers.push(all("its MAC addresses are not known"));
    }
    Wire {
        mtu: master.map_or(hanging.mtu, |master| master.hanging.mtu.min(hanging.mtu)),
        bridge: master.map_or(0, |master| master.ifindex),
        gateway: router.mac,
        mac,
        barriers,
    }
}

/// A rule of routing that the kernel does not have by itself: it may send packets elsewhere, or nowhere.
pub fn rule(message: &RuleMessage) -> Option<Barrier> {
    /// Tables *local*, *main* and *default*, and the priority of the rule that asks them.
    const OWN: [(u8, u32); 3] = [(255, 0), (254, 32_766), (253, 32_767)];
    let header = &message.header;
    let mut priority = 0;
    let is_plain = message.attributes.iter().all(|attribute| match attribute {
        RuleAttribute::Priority(number) => {
            priority = *number;
            true
        }
        RuleAttribute::Table(_) | RuleAttribute::Protocol(_) => true,
        // The kernel's word for "none" is all ones.
        RuleAttribute::SuppressPrefixLen(length) => *length == u32::MAX,
        _ => false,
    });
    if is_plain && header.src_len == 0 && header.dst_len == 0 && OWN.contains(&(header.table, priority)) {
        return None;
    }
    let (blocks, family) = match header.family {
        AddressFamily::Inet => (Kinds::ROUTED_V4, "IPv4"),
        AddressFamily::Inet6 => (Kinds::ROUTED_V6, "IPv6"),
        _ => return None,
    };
    Some(Barrier::new(blocks, format!("{family} routing rule {priority}")))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::rule::RuleHeader;

    use super::*;

    fn bridged(infos: &[InfoBridge]) -> Kinds {
        crate::shortcut::open(&infos.iter().filter_map(of_bridge).collect::<Vec<_>>())
    }

    fn port(infos: &[InfoBridgePort]) -> Kinds {
        crate::shortcut::open(&infos.iter().filter_map(of_port).collect::<Vec<_>>())
    }

    #[test]
    fn a_bridge_and_its_ports_say_what_frames_meet() {
        assert_eq!(bridged(&[InfoBridge::AgeingTime(30_000), InfoBridge::VlanFiltering(false)]), Kinds::ALL);
        assert_eq!(bridged(&[InfoBridge::AgeingTime(1_400)]), Kinds::ROUTED);
        assert_eq!(bridged(&[InfoBridge::NfCallIpTables(true)]), Kinds::ROUTED);
        assert_eq!(bridged(&[InfoBridge::VlanFiltering(true)]), Kinds::NONE);
        assert_eq!(
            port(&[InfoBridgePort::State(BridgePortState::Forwarding), InfoBridgePort::Learning(true)]),
            Kinds::ALL
        );
        assert_eq!(port(&[InfoBridgePort::State(BridgePortState::Blocking)]), Kinds::NONE);
        assert_eq!(port(&[InfoBridgePort::Locked(true)]), Kinds::NONE);
        for info in [InfoBridgePort::Isolated(true), InfoBridgePort::Learning(false)] {
            assert_eq!(port(&[info]), Kinds::ROUTED);
        }
    }

    #[test]
    fn the_kernels_own_rules_are_no_barriers() {
        let blocked = |family, table, attributes: &[RuleAttribute]| {
            let mut message = RuleMessage::default();
            message.header = RuleHeader { family, table, ..RuleHeader::default() };
            message.attributes = attributes.to_vec();
            rule(&message).map(|barrier| barrier.blocks)
        };
        let (v4, v6) = (AddressFamily::Inet, AddressFamily::Inet6);
        let none = RuleAttribute::SuppressPrefixLen(u32::MAX);
        assert_eq!(blocked(v4, 255, &[RuleAttribute::Table(255), none.clone()]), None);
        assert_eq!(blocked(v4, 254, &[RuleAttribute::Priority(32_766), none.clone()]), None);
        assert_eq!(blocked(v4, 253, &[RuleAttribute::Priority(32_767)]), None);
        let marked = [RuleAttribute::Priority(32_766), RuleAttribute::FwMark(1)];
        assert_eq!(blocked(v4, 254, &marked), Some(Kinds::ROUTED_V4));
        assert_eq!(blocked(v6, 254, &[RuleAttribute::Priority(100)]), Some(Kinds::ROUTED_V6));
        assert_eq!(blocked(v6, 100, &[RuleAttribute::Priority(32_766)]), Some(Kinds::ROUTED_V6));
        assert_eq!(
            blocked(v4, 254, &[RuleAttribute::Priority(32_766), RuleAttribute::SuppressPrefixLen(0)]),
            Some(Kinds::ROUTED_V4)
        );
    }
}
