//! Who lives there, and packets in a few words.

use std::{net::IpAddr, time::Duration};

use enforcer_common::event::Hook;

use super::super::*;

pub const WEB: &str = "10.1.0.5";
pub const API: &str = "10.1.0.6";
/// Excepted from its network.
pub const ODD: &str = "10.1.0.13";
pub const DB: &str = "10.9.0.5";
pub const HOST: &str = "10.1.0.1";
/// Of a group.
pub const ADMIN: &str = "198.51.100.7";
pub const STRANGER: &str = "203.0.113.9";

pub const WEB6: &str = "2001:db8:1::5";
pub const API6: &str = "2001:db8:1::6";
pub const DB6: &str = "2001:db8:9::5";
pub const HOST6: &str = "2001:db8:1::1";
pub const STRANGER6: &str = "2001:db8:ffff::9";

/// The MAC of everybody's frames.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const FIN: u8 = 0x01;
pub const RST: u8 = 0x04;

/// A host and its memory.
pub struct Town {
    pub world: World,
    pub memory: Memory,
    pub now: Duration,
}

impl Town {
    /// With rules as the canonical form has them; the name tells their order.
    pub fn new(rules: &str) -> Self {
        let endpoint = |name: &str, addresses: &[&str]| Endpoint {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| text.parse::<IpAddr>().unwrap().into()).collect(),
            ..Endpoint::default()
        };
        let mut world = World {
            endpoints: vec![
                endpoint("web", &[WEB, WEB6]),
                endpoint("api", &[API, API6]),
                endpoint("odd", &[ODD]),
                endpoint("db", &[DB, DB6]),
                endpoint("new", &[]),
            ],
            host: [HOST, HOST6].iter().map(|text| text.parse::<IpAddr>().unwrap().into()).collect(),
            uplinks: vec![Uplink { name: "uplink".to_owned(), external: false }],
            ..World::default()
        };
        world.apply(policy(rules));
        Self { world, memory: Memory::default(), now: Duration::ZERO }
    }

    /// Time passes.
    pub fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub fn endpoint(&mut self, name: &str) -> &mut Endpoint {
        self.world.endpoints.iter_mut().find(|endpoint| endpoint.name == name).unwrap()
    }

    pub fn sent(&mut self, endpoint: &str, frame: &[u8]) -> String {
        self.judge(Hook::FromEndpoint, endpoint, frame, None, false)
    }

    pub fn delivered(&mut self, endpoint: &str, stamp: Option<&str>, frame: &[u8]) -> String {
        self.judge(Hook::ToEndpoint, endpoint, frame, stamp, false)
    }

    /// The host itself sent it.
    pub fn told(&mut self, endpoint: &str, frame: &[u8]) -> String {
        self.judge(Hook::ToEndpoint, endpoint, frame, None, true)
    }

    pub fn guarded(&mut self, interface: &str, frame: &[u8]) -> String {
        self.judge(Hook::Guard, interface, frame, None, false)
    }

    /// It was let go on where it entered.
    pub fn delivered_relaxed(&mut self, endpoint: &str, stamp: Stamp, frame: &[u8]) -> String {
        let (hook, now) = (Hook::ToEndpoint, self.now);
        let arrival = Arrival { hook, endpoint, frame, stamp, locally_generated: false, now };
        words(judge(&self.world, &mut self.memory, &arrival))
    }

    fn judge(&mut self, hook: Hook, endpoint: &str, frame: &[u8], stamp: Option<&str>, host: bool) -> String {
        let stamp = Stamp::of(stamp);
        let arrival = Arrival { hook, endpoint, frame, stamp, locally_generated: host, now: self.now };
        words(judge(&self.world, &mut self.memory, &arrival))
    }
}

fn words(answer: Answer) -> String {
    let (reason, by) = match answer {
        Answer::Pass { reason, by } => (reason.slug(), by),
        Answer::Drop { why: Why::Exactly(reason), by } => (reason.slug(), by),
        Answer::Drop { why: Why::Malformed, by } => ("malformed", by),
        Answer::WouldDrop { why, by } => return format!("would-drop {}", words(Answer::Drop { why, by })),
    };
    match by {
        By::Nothing => reason.to_owned(),
        By::Network(name) => format!("{reason} {name}"),
        By::Rule(name) => format!("{reason} {name}"),
    }
}

/// Two networks, a group, and these rules: name, action (or `audit`), from, to, services, each a list of words; a word
/// with `!` in front is excepted.
pub fn policy(rules: &str) -> Policy {
    let words = |text: &str| text.split(',').map(|word| format!("{word:?}")).collect::<Vec<_>>();
    let side = |text: &str| {
        let (except, ends): (Vec<_>, Vec<_>) = words(text).into_iter().partition(|word| word.contains('!'));
        format!(r#"{{"ends":[{}],"except":[{}]}}"#, ends.join(","), except.join(",").replace('!', ""))
    };
    let rules: Vec<String> = rules
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let [name, action, from, to, services] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("five words: {line}")
            };
            let (from, to, services) = (side(from), side(to), words(services).join(","));
            let (action, mode) = if action == "audit" { ("deny", "audit") } else { (action, "enforce") };
            format!(
                r#"{name:?}:{{"from":{from},"to":{to},"action":{action:?},"services":[{services}],"mode":{mode:?}}}"#
            )
        })
        .collect();
    let json = format!(
        r#"{{"networks":{{
            "blue":{{"prefixes":["10.1.0.0/24","2001:db8:1::/64"],"except":["10.1.0.13/32"]}},
            "db":{{"prefixes":["10.9.0.0/24","2001:db8:9::/64"]}}}},
        "groups":{{"admins":{{"prefixes":["198.51.100.0/24","10.9.0.0/24"]}}}},
        "rules":{{{}}}}}"#,
        rules.join(",")
    );
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}\n{json}"))
}

/// Protocol and bytes of what an IP packet carries.
pub type Body = (u8, Vec<u8>);

pub fn udp(src: u16, dst: u16) -> Body {
    (17, [&src.to_be_bytes()[..], &dst.to_be_bytes(), &[0; 12]].concat())
}

pub fn tcp(src: u16, dst: u16, flags: u8) -> Body {
    (6, [&src.to_be_bytes()[..], &dst.to_be_bytes(), &[0; 8], &[5 << 4, flags], &[0; 6]].concat())
}

/// ICMP of either family: the address decides which.
pub fn icmp(kind: u8, data: &[u8]) -> Body {
    (1, [&[kind, 0, 0, 0, 7, 7, 0, 1], data].concat())
}

pub fn ping() -> Body {
    icmp(8, &[])
}

pub fn pong() -> Body {
    icmp(0, &[])
}

/// A frame with a whole IP packet in it.
pub fn ip(src: &str, dst: &str, body: Body) -> Vec<u8> {
    frame(&datagram(src, dst, body))
}

/// An IP packet of the addresses' family.
pub fn datagram(src: &str, dst: &str, (protocol, body): Body) -> Vec<u8> {
    match (src.parse().unwrap(), dst.parse().unwrap()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = (20 + body.len() as u16).to_be_bytes();
            let head = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
            [&head[..], &src.octets(), &dst.octets(), &body].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let length = (body.len() as u16).to_be_bytes();
            let next = if protocol == 1 { 58 } else { protocol };
            let head = [0x60, 0, 0, 0, length[0], length[1], next, 64];
            [&head[..], &src.octets(), &dst.octets(), &body].concat()
        }
        _ => panic!("both of one family"),
    }
}

/// An Ethernet header in front of an IP packet.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[4; 6][..], &MAC, &ethertype, packet].concat()
}

/// A part of an IPv4 datagram: its offset in units of eight bytes, and whether more follow.
pub fn fragment(src: &str, dst: &str, offset: u16, more: bool, body: Body) -> Vec<u8> {
    let mut frame = ip(src, dst, body);
    let field = offset | u16::from(more) << 13;
    frame[18..20].copy_from_slice(&[0, 99]);
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame
}

/// A part of an IPv6 datagram that begins with a header of this number.
pub fn fragment6(src: &str, dst: &str, offset: u16, more: bool, (next, body): Body) -> Vec<u8> {
    let field = (offset << 3 | u16::from(more)).to_be_bytes();
    let header = [next, 0, field[0], field[1], 0, 0, 0, 99];
    ip(src, dst, (44, [&header, &body[..]].concat()))
}

/// Eight bytes of destination options in front of something.
pub fn options((next, body): Body) -> Body {
    (60, [&[next, 0, 1, 4, 0, 0, 0, 0], &body[..]].concat())
}
