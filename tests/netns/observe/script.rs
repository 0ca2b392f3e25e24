//! What is sent: allowed, denied, forged, odd, in both families.

use std::net::{Ipv4Addr, Ipv6Addr};

use enforcer_tests::beyond::FAR;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::packet::{self, Packet, Party, from};

/// The policy that the script is about.
pub const POLICY: &str = r#"
version = 1
[network.blue]
prefixes = ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:1::/64", "2001:db8:2::/64", "10.4.0.9/32", "2001:db8:4::9/128"]
[network.green]
prefixes = ["10.3.0.0/24", "2001:db8:3::/64"]
[[rule]]
name = "blue asks green"
from = ["blue"]
to = ["green"]
allow = ["tcp/5432"]
[[rule]]
name = "nobody syslogs"
from = ["any"]
to = ["blue"]
deny = ["udp/514"]
[[rule]]
name = "the web"
from = ["world"]
to = ["blue"]
allow = ["tcp/80"]
"#;

const fn party(subnet: u8, host: u8) -> Party {
    Party {
        v4: Ipv4Addr::new(10, subnet, 0, host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, subnet as u16, 0, 0, 0, 0, host as u16),
    }
}

const WEB: Party = party(1, 5);
const API: Party = party(2, 5);
const DB: Party = party(3, 5);
const TOOL: Party = party(4, 9);
const HOST: Party = Party { v4: HOST_IPV4, v6: HOST_IPV6 };

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Web,
    Api,
    Db,
    Far,
    /// On the wire of the uplink.
    Router,
}

impl By {
    pub const ALL: [Self; 5] = [Self::Web, Self::Api, Self::Db, Self::Far, Self::Router];

    pub const fn place(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Api => "api",
            Self::Db => "db",
            Self::Far => "far",
            Self::Router => "router",
        }
    }
}

/// A packet that somebody sends.
#[derive(Clone, Debug)]
pub struct Scene {
    pub by: By,
    pub packet: Packet,
    /// What stops it, by the policy above.
    pub reason: Option<&'static str>,
}

/// Everything.
pub fn script() -> Vec<Scene> {
    let scenes = [allowed(), denied(), forged(), odd()].concat();
    // Each has ports of its own, and so a flow.
    let scenes = scenes.into_iter().zip(20_000..);
    scenes.map(|(scene, port)| Scene { packet: numbered(scene.packet, port), ..scene }).collect()
}

/// A DHCP server is one by its port.
fn numbered(packet: Packet, port: u16) -> Packet {
    if matches!(packet.ports(), (67 | 547, _)) { packet } else { packet.from_port(port) }
}

/// The same in both families.
fn both(
    by: By,
    [src, dst]: [Party; 2],
    reason: Option<&'static str>,
    dress: fn(Packet) -> Packet,
) -> [Scene; 2] {
    let packets = [from(src.v4).to(dst.v4), from(src.v6).to(dst.v6)];
    packets.map(|packet| Scene { by, packet: dress(packet), reason })
}

fn allowed() -> Vec<Scene> {
    [
        both(By::Web, [WEB, API], None, |packet| packet.udp(1000)),
        both(By::Web, [WEB, API], None, |packet| packet.tcp(1000)),
        both(By::Web, [WEB, TOOL], None, Packet::ping),
        both(By::Web, [WEB, DB], None, |packet| packet.tcp(5432)),
        both(By::Web, [WEB, HOST], None, |packet| packet.udp(53)),
        // In IPv4 through NAT, and known by its stamp.
        both(By::Api, [API, TOOL], None, |packet| packet.udp(1000)),
        both(By::Far, [FAR, WEB], None, |packet| packet.tcp(80)),
    ]
    .concat()
}

fn denied() -> Vec<Scene> {
    let no = Some("default-deny");
    [
        both(By::Web, [WEB, DB], no, |packet| packet.udp(5432)),
        both(By::Web, [WEB, DB], no, |packet| packet.tcp(22)),
        both(By::Web, [WEB, DB], no, Packet::ping),
        both(By::Web, [WEB, DB], no, |packet| packet.protocol(47)),
        both(By::Db, [DB, WEB], no, |packet| packet.tcp(5432)),
        both(By::Api, [API, DB], no, |packet| packet.sctp(5432)),
        both(By::Web, [WEB, FAR], no, |packet| packet.udp(1000)),
        both(By::Web, [WEB, HOST], no, |packet| packet.udp(9999)),
        both(By::Far, [FAR, WEB], no, |packet| packet.udp(1000)),
        both(By::Far, [FAR, DB], no, |packet| packet.tcp(80)),
        both(By::Web, [WEB, API], Some("denied-by-rule"), |packet| packet.udp(514)),
        both(By::Far, [FAR, WEB], Some("denied-by-rule"), |packet| packet.udp(514)),
        both(By::Web, [WEB, DB], Some("fragment"), |packet| packet.fragment(185, false)),
    ]
    .concat()
}

fn forged() -> Vec<Scene> {
    let link = |by, reason, packet| Scene { by, packet, reason: Some(reason) };
    [
        both(By::Web, [API, DB], Some("spoofed-source"), |packet| packet.udp(1000)),
        both(By::Web, [FAR, DB], Some("spoofed-source"), |packet| packet.tcp(80)),
        both(By::Router, [WEB, API], Some("spoofed-outside"), |packet| packet.udp(1000)),
        both(By::Router, [HOST, DB], Some("spoofed-outside"), |packet| packet.tcp(5432)),
        [
            link(By::Web, "spoofed-neighbor", packet::arp_reply(TOOL.v4, WEB.v4)),
            link(By::Web, "spoofed-neighbor", packet::neighbor_advertisement(WEB.v6, TOOL.v6)),
        ],
    ]
    .concat()
}

fn odd() -> Vec<Scene> {
    let one = |packet, reason| Scene { by: By::Web, packet, reason: Some(reason) };
    let mut scenes = vec![
        one(from(WEB.v4).to(DB.v4).udp(68).from_port(67), "dhcp-server"),
        one(from(WEB.v6).to(DB.v6).udp(546).from_port(547), "dhcp-server"),
        one(from(WEB.v4).to(API.v4).udp(1000).options(8), "ip-options"),
        one(from(WEB.v6).to(API.v6).udp(1000).routing(), "routing-header"),
        one(from(WEB.v4).to(Ipv4Addr::new(239, 1, 1, 1)).udp(1000), "multicast"),
    ];
    scenes.extend(both(By::Web, [WEB, API], Some("vlan-tag"), |packet| packet.udp(1000).vlan(5)));
    scenes.extend(both(By::Web, [WEB, API], Some("ethertype"), |packet| packet.udp(1000).ethertype(0x88cc)));
    scenes.extend(both(By::Web, [WEB, API], Some("truncated"), |packet| packet.udp(1000).declaring(1000)));
    scenes
}
