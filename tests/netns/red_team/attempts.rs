//! Everything that an attacker tries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_tests::fabric::{Site, Underlay};
use enforcer_tests::packet::{self, Family, Packet, from};
use enforcer_tests::traffic::ECHO_PORT;

use super::range::{PUBLISHED, Range, WAN_WIRE};

/// Where the attacker sits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum By {
    /// In the workload `web`, which is in *blue* on the first host.
    Web,
    /// On the wire between the hosts.
    Wire,
    /// On a wire that leads to nobody of the fabric.
    Wan,
}

impl By {
    pub const ALL: [Self; 3] = [Self::Web, Self::Wire, Self::Wan];
}

/// Whom the frame is for, on its link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hop {
    Gateway,
    Victim,
    Everybody,
}

impl Hop {
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Victim, Self::Everybody];
}

/// A frame that should not arrive.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The idea.
    what: &'static str,
    pub by: By,
    pub hop: Hop,
    packet: Packet,
    /// Nothing but its own bytes; else the packet's.
    bytes: Option<Vec<u8>>,
    /// What it is counted for.
    pub reason: &'static str,
    /// Without an enforcer it arrives. Of others, it depends on the kernel.
    pub lands: bool,
    /// What the attacker's own kernel is told about it.
    pub socket_mark: u32,
}

impl Attempt {
    /// The whole frame, with these MACs.
    pub fn frame(&self, macs: &[u8; 12]) -> Vec<u8> {
        let mut frame = self.bytes.clone().unwrap_or_else(|| self.packet.bytes());
        let spoofs_mac = self.reason == "spoofed-mac";
        frame[..6].copy_from_slice(&macs[..6]);
        if !spoofs_mac {
            frame[6..12].copy_from_slice(&macs[6..]);
        }
        // What ARP says of its sender's MAC is what the frame says.
        if frame[12..14] == [0x08, 0x06] {
            frame.copy_within(6..12, 22);
        }
        frame
    }

    fn perhaps(self) -> Self {
        Self { lands: false, ..self }
    }

    fn hop(self, hop: Hop) -> Self {
        Self { hop, ..self }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {:?} for {:?}: {}", self.what, self.by, self.hop, self.packet)
    }
}

/// A frame of the workload `web` to its gateway, which lands.
fn web(what: &'static str, packet: Packet, reason: &'static str) -> Attempt {
    Attempt { what, by: By::Web, hop: Hop::Gateway, packet, bytes: None, reason, lands: true, socket_mark: 0 }
}

/// All of them, for both families and both victims: the one on the attacker's host, and the one on the other.
pub fn attempts(range: &Range) -> Vec<Attempt> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        for far in [false, true] {
            let scene = Scene::of(range, family, far);
            all.extend(scene.direct());
            all.extend(scene.spoofed());
            all.extend(scene.fragments());
            all.extend(scene.errors());
            all.extend(scene.tunnels());
            all.extend(scene.marked());
        }
        let scene = Scene::of(range, family, false);
        all.extend(scene.published(range));
        all.extend(scene.outside());
    }
    // Last: who believes these sends to the attacker what is for the victim.
    all.extend(Family::BOTH.into_iter().flat_map(|family| Scene::of(range, family, false).neighbours()));
    // Each has a flow of its own.
    for (attempt, port) in all.iter_mut().zip(20_000..) {
        if attempt.packet.ports().0 == packet::CLIENT_PORT {
            attempt.packet = attempt.packet.clone().from_port(port);
        }
    }
    all
}

/// Who is who, in one family.
struct Scene {
    underlay: Underlay,
    family: Family,
    /// On the other host.
    far: bool,
    web: IpAddr,
    victim: IpAddr,
    /// Whom both may talk to.
    hub: IpAddr,
    /// A workload of the other host.
    api: IpAddr,
    /// The host's own.
    host: IpAddr,
}

impl Scene {
    fn of(range: &Range, family: Family, far: bool) -> Self {
        let address = |name: &str| {
            let workload = range.fabric.workload(name);
            if family == Family::V4 { workload.ipv4() } else { workload.ipv6() }
        };
        let victim = if far { "store" } else { "db" };
        let host = match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1).into(),
        };
        Self {
            underlay: range.fabric.underlay,
            family,
            far,
            web: address("web"),
            victim: address(victim),
            hub: address("hub"),
            api: address("api"),
            host,
        }
    }

    fn is_v4(&self) -> bool {
        self.family == Family::V4
    }

    fn pick(&self, v4: &str, v6: &str) -> IpAddr {
        let text = if self.is_v4() { v4 } else { v6 };
        text.parse().expect("an address")
    }

    fn to_victim(&self) -> Packet {
        from(self.web).to(self.victim)
    }

    /// By the gateway, and where both are ports of one bridge, past it.
    fn both_ways(&self, attempt: Attempt) -> Vec<Attempt> {
        if self.far { vec![attempt] } else { vec![attempt.clone().hop(Hop::Victim), attempt] }
    }

    fn direct(&self) -> Vec<Attempt> {
        let packets = [
            self.to_victim().tcp(ECHO_PORT),
            self.to_victim().tcp(ECHO_PORT).ack(),
            self.to_victim().udp(ECHO_PORT),
            self.to_victim().udp(1000).from_port(53),
            self.to_victim().sctp(ECHO_PORT),
            self.to_victim().ping(),
            self.to_victim().pong(),
            self.to_victim().protocol(47),
            self.to_victim().protocol(255),
        ];
        packets
            .into_iter()
            .flat_map(|packet| self.both_ways(web("as itself", packet, "default-deny")))
            .collect()
    }

    /// Addresses of everybody else.
    fn spoofed(&self) -> Vec<Attempt> {
        let sources = [
            (self.hub, "spoofed-source"),
            (self.api, "spoofed-source"),
            (self.host, "spoofed-source"),
            (self.victim, "spoofed-source"),
            (self.pick("10.10.1.33", "2001:db8:a:101::33"), "spoofed-source"),
            (self.pick("203.0.113.9", "2001:db8:ffff::9"), "spoofed-source"),
            (self.pick("127.0.0.1", "::1"), "martian"),
            (self.pick("0.0.0.0", "::"), "martian"),
            (self.pick("255.255.255.255", "ff02::1"), "martian"),
            (
                self.pick("240.0.0.1", "::ffff:10.10.1.70"),
                if self.is_v4() { "martian" } else { "mapped-address" },
            ),
        ];
        let attempts = sources.into_iter().map(|(source, reason)| {
            let attempt = web("as somebody else", from(source).to(self.victim).udp(ECHO_PORT), reason);
            let is_odd = reason != "spoofed-source" || source == self.host || source == self.victim;
            if is_odd { attempt.perhaps() } else { attempt }
        });
        let other_mac =
            web("from another MAC", self.to_victim().udp(ECHO_PORT).byte(11, 0x99), "spoofed-mac");
        attempts.chain([other_mac]).collect()
    }

    fn fragments(&self) -> Vec<Attempt> {
        let part = |offset, more| self.to_victim().udp(ECHO_PORT).id(77).fragment(offset, more);
        // Connection tracking, which NAT needs, holds back what is not whole.
        [
            web("first fragment", part(0, true), "default-deny"),
            web("later fragment", part(185, false), "default-deny"),
            web("later fragment of what was never seen", part(200, true).id(78), "default-deny"),
        ]
        .map(Attempt::perhaps)
        .into()
    }

    /// Errors about what the victim sent, or may have sent, to this one and to others.
    fn errors(&self) -> Vec<Attempt> {
        let ours = from(self.victim).to(self.web).udp(7);
        let others = from(self.victim).to(self.hub).udp(7);
        [
            web(
                "an error about what was never sent",
                self.to_victim().unreachable(&ours).payload(32),
                "default-deny",
            ),
            web(
                "an error about what others were sent",
                self.to_victim().unreachable(&others).payload(32),
                "bad-quote",
            ),
            web("a smaller MTU", self.to_victim().too_big(&ours).payload(32), "default-deny"),
        ]
        .into()
    }

    /// The victim's own packets, or packets for it, in others; to the victim, and to whoever would unpack them.
    fn tunnels(&self) -> Vec<Attempt> {
        let protocol = if self.is_v4() { 4 } else { 41 };
        let mut all = vec![
            web("IP in IP", self.to_victim().protocol(protocol), "default-deny"),
            web("GRE", self.to_victim().protocol(47), "default-deny"),
            web("ESP", self.to_victim().protocol(50), "default-deny"),
        ];
        if self.far && self.is_v4() {
            let [end, _] = match self.underlay {
                Underlay::L3 | Underlay::Vxlan => Site::HOSTS[1].routed(Family::V4),
                _ => return all,
            };
            let inner = from(self.hub).to(self.victim).udp(ECHO_PORT);
            let vxlan =
                web("VXLAN with somebody else in it", from(self.web).to(end).udp(8472), "denied-by-rule");
            let bytes = encapsulated(&vxlan.packet, &inner);
            // Nobody unpacks it where there is no overlay.
            let lands = self.underlay == Underlay::Vxlan;
            all.push(Attempt { bytes: Some(bytes), lands, ..vxlan });
        }
        all
    }

    /// The mark of a packet says where it entered; an attacker's own kernel may mark what it likes.
    fn marked(&self) -> Vec<Attempt> {
        let marks = (0..4).map(|stamp| (1 << 8 | stamp) << 12).chain([
            u32::MAX,
            0x00ff_f000,
            0x0000_1000,
            0x0001_0000,
        ]);
        let attempt = |mark| Attempt {
            socket_mark: mark,
            ..web("with a mark", from(self.web).to(self.victim).tcp(22), "default-deny")
        };
        marks.map(attempt).collect()
    }

    /// What the hosts publish, at each of their addresses.
    fn published(&self, range: &Range) -> Vec<Attempt> {
        let ask = |host: IpAddr| {
            let asks = || from(self.web).to(host).tcp(PUBLISHED);
            let nated = web("a published port through NAT", asks(), "default-deny");
            // As an answer of the host's, and with its source as it is.
            let plain = web("a published port without masquerade", asks().from_port(30_000), "default-deny");
            let answer = web("a published port, from a port of DNS", asks().from_port(53), "default-deny");
            [nated, plain, answer]
        };
        let mut all: Vec<Attempt> = range.host_addresses(self.family).into_iter().flat_map(ask).collect();
        if self.underlay == Underlay::L3 {
            let [theirs, _] = Site::HOSTS[1].routed(self.family);
            let asks = from(self.web).to(theirs).tcp(PUBLISHED);
            all.push(web("a published port of the other host", asks, "denied-by-rule"));
        }
        all
    }

    fn neighbours(&self) -> Vec<Attempt> {
        let forged = match (self.web, self.victim, self.hub) {
            (IpAddr::V4(web), IpAddr::V4(victim), IpAddr::V4(hub)) => vec![
                ("spoofed-neighbor", packet::arp_reply(hub, victim)),
                ("spoofed-neighbor", packet::arp_request(hub, victim)),
                ("spoofed-neighbor", packet::arp_reply(victim, web)),
                ("spoofed-neighbor", packet::arp_request(victim, victim)),
                ("dhcp-server", from(web).to(victim).udp(68).from_port(67)),
            ],
            (IpAddr::V6(web), IpAddr::V6(victim), IpAddr::V6(hub)) => vec![
                ("spoofed-neighbor", packet::neighbor_advertisement(web, hub)),
                ("spoofed-neighbor", packet::neighbor_advertisement(hub, hub)),
                ("spoofed-neighbor", packet::neighbor_solicitation(hub, victim)),
                (
                    "router-advertisement",
                    packet::router_advertisement("fe80::ff".parse().expect("an address")),
                ),
                (
                    "router-advertisement",
                    packet::redirect("fe80::ff".parse().expect("an address"), victim, hub),
                ),
                ("dhcp-server", from(web).to(victim).udp(546).from_port(547)),
            ],
            _ => unreachable!("all are of one family"),
        };
        let attempts = forged.into_iter().flat_map(|(reason, packet)| {
            let attempt = web("as a neighbour", packet, reason);
            [attempt.clone().hop(Hop::Victim), attempt.hop(Hop::Everybody)]
        });
        // A bridge that listens to multicast listeners cuts the mark off.
        attempts.map(|attempt| if self.is_v4() { attempt } else { attempt.perhaps() }).collect()
    }

    /// Those who claim to be from here, on either wire, and members on a wire without any.
    fn outside(&self) -> Vec<Attempt> {
        let outside = |by, what, source: IpAddr| Attempt {
            by,
            ..web(what, from(source).to(self.victim).udp(ECHO_PORT), "spoofed-outside")
        };
        let stranger = if self.is_v4() { WAN_WIRE[1].v4.into() } else { WAN_WIRE[1].v6.into() };
        let not_routed = self.underlay == Underlay::Vxlan && !self.is_v4();
        let mut all = vec![
            outside(By::Wan, "a workload of this host, from outside", self.hub),
            outside(By::Wan, "a member on another host, from outside", self.api),
            outside(By::Wan, "this host, from outside", self.host).perhaps(),
            Attempt { reason: "default-deny", ..outside(By::Wan, "itself, from outside", stranger) },
        ];
        if !not_routed {
            all.push(outside(By::Wire, "a workload of this host, on the wire", self.hub));
            all.push(outside(By::Wire, "this host, on the wire", self.host).perhaps());
        }
        all
    }
}

/// A VXLAN packet (RFC 7348 §5) of network 1 with another one in it, for the MAC of the far end.
fn encapsulated(outer: &Packet, inner: &Packet) -> Vec<u8> {
    let mut carried = inner.bytes();
    carried[..6].copy_from_slice(&[0x02, 0, 0x0a, 0x0a, 2, 0]);
    let header = [0x08, 0, 0, 0, 0, 0, 1, 0];
    let mut frame = outer.clone().payload(header.len() + carried.len()).bytes();
    let at = frame.len() - header.len() - carried.len();
    frame[at..].copy_from_slice(&[&header[..], &carried].concat());
    // No checksum (RFC 768).
    frame[at - 2..at].fill(0);
    frame
}
