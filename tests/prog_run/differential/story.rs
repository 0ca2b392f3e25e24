//! Packets that have to do with each other, each on the way that it would take.

use std::net::IpAddr;

use enforcer_common::{event::Hook, mode::Mode};
use proptest::{
    collection::vec,
    option::weighted,
    prelude::*,
    sample::{Index, select},
};

use super::{
    case::{Hex, Place, Step},
    dhcp::Dhcp,
    error::Error,
    people::{Home, People, Who},
    policy::Sketch,
    scene::{ENDPOINTS, UPLINK, mac},
    traffic::Traffic,
    wire::{self, Body, Part, SCTP, TCP, UDP},
};

/// Something that happens on the host.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Lone(Traffic),
    Talk(Talk),
    Pieces(Pieces),
    Error(Error),
    Dhcp(Dhcp),
    Apply(Sketch),
    /// Verdicts of the host, or at one veth, are taken in another way.
    Mode(Option<usize>, Option<Mode>),
}

/// How often what happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) lone: u32,
    pub(super) talk: u32,
    pub(super) pieces: u32,
    pub(super) error: u32,
    pub(super) dhcp: u32,
    pub(super) apply: u32,
    pub(super) mode: u32,
}

impl Event {
    pub(super) fn of(mix: Mix) -> impl Strategy<Value = Self> + Clone {
        prop_oneof![
            mix.lone => Traffic::any().prop_map(Self::Lone),
            mix.talk => Talk::any().prop_map(Self::Talk),
            mix.pieces => Pieces::any().prop_map(Self::Pieces),
            mix.error => Error::any().prop_map(Self::Error),
            mix.dhcp => Dhcp::any().prop_map(Self::Dhcp),
            mix.apply => Sketch::any().prop_map(Self::Apply),
            mix.mode => mode(),
        ]
    }
}

fn mode() -> impl Strategy<Value = Event> + Clone {
    let who = weighted(0.6, 0..ENDPOINTS.len());
    let mode =
        select(vec![None, Some(Mode::Enforce), Some(Mode::Enforce), Some(Mode::Audit), Some(Mode::Observe)]);
    (who, mode).prop_map(|(who, mode)| Event::Mode(who, mode))
}

/// The steps of all events, one after the other.
pub(super) fn steps(people: &People, events: &[Event]) -> Vec<Step> {
    let mut story = Story { people, steps: Vec::new(), packets: Vec::new() };
    for event in events {
        match event {
            Event::Lone(traffic) => story.steps.extend(traffic.steps(people)),
            Event::Talk(talk) => talk.tell(&mut story),
            Event::Pieces(pieces) => pieces.tell(&mut story),
            Event::Error(error) => error.tell(&mut story),
            Event::Dhcp(dhcp) => dhcp.tell(&mut story),
            Event::Apply(sketch) => story.steps.push(Step::Apply(sketch.text())),
            Event::Mode(who, mode) => {
                story.steps.push(Step::Mode(who.map(|index| ENDPOINTS[index].to_owned()), *mode));
            }
        }
    }
    story.steps
}

/// What has happened so far.
pub(super) struct Story<'p> {
    pub(super) people: &'p People,
    steps: Vec<Step>,
    /// For errors to quote.
    pub(super) packets: Vec<Vec<u8>>,
}

impl Story<'_> {
    /// A packet goes from where its source lives to where its destination does, past every hook on its way.
    pub(super) fn send(&mut self, packet: &[u8], guarded: bool) {
        let Some((src, dst)) = ends(packet) else { return };
        let (from, to) = (self.people.home(src), self.people.home(dst));
        self.send_between(from, to, packet, guarded);
    }

    pub(super) fn send_between(&mut self, from: Home, to: Home, packet: &[u8], guarded: bool) {
        let number = if let Home::Endpoint(index) = from { index } else { 0x77 };
        let frame = wire::frame(mac(number), packet);
        let (guard, stamp) = match from {
            Home::Endpoint(index) => (ENDPOINTS[index], Some(ENDPOINTS[index].to_owned())),
            Home::Host | Home::Elsewhere => (UPLINK, None),
        };
        let mut seen = |hook, endpoint: &str, stamp: Option<String>| {
            let locally_generated = from == Home::Host && hook == Hook::ToEndpoint;
            let place =
                Place { hook, endpoint: endpoint.to_owned(), stamp, relaxed: None, locally_generated };
            self.steps.push(Step::Frame(place, Hex(frame.clone())));
        };
        if guarded && from != Home::Host {
            seen(Hook::Guard, guard, None);
        }
        if from == Home::Elsewhere {
            seen(Hook::FromUplink, guard, None);
        }
        if stamp.is_some() {
            seen(Hook::FromEndpoint, guard, None);
        }
        if let Home::Endpoint(index) = to {
            seen(Hook::ToEndpoint, ENDPOINTS[index], stamp);
        }
        self.packets.push(packet.to_vec());
    }
}

/// The way through NAT.
impl Story<'_> {
    /// A packet as its sender sends it, and as it is delivered.
    fn send_through_nat(&mut self, [sent, delivered]: [Vec<u8>; 2]) {
        let (Some((src, _)), Some((_, dst))) = (ends(&sent), ends(&delivered)) else { return };
        let (Home::Endpoint(from), Home::Endpoint(to)) = (self.people.home(src), self.people.home(dst))
        else {
            return;
        };
        let stamp = Some(ENDPOINTS[from].to_owned());
        let hops = [(Hook::FromEndpoint, from, None, &sent), (Hook::ToEndpoint, to, stamp, &delivered)];
        for (hook, endpoint, stamp, packet) in hops {
            let endpoint = ENDPOINTS[endpoint].to_owned();
            let place = Place { hook, endpoint, stamp, relaxed: None, locally_generated: false };
            self.steps.push(Step::Frame(place, Hex(wire::frame(mac(from), packet))));
        }
        self.packets.extend([sent, delivered]);
    }
}

/// Source and destination of a packet with a whole header.
pub(super) fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| packet.get(at..at + 4)?.first_chunk::<4>().copied().map(IpAddr::from);
    let v6 = |at: usize| packet.get(at..at + 16)?.first_chunk::<16>().copied().map(IpAddr::from);
    if packet.first()? >> 4 == 4 { Some((v4(12)?, v4(16)?)) } else { Some((v6(8)?, v6(24)?)) }
}

/// Who talks about what.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    v6: bool,
    asking: Who,
    asked: Who,
    protocol: u8,
    ports: (u16, u16),
}

/// The protocol of pings, of either family.
const PING: u8 = wire::ICMP;

impl Topic {
    pub(super) fn any() -> impl Strategy<Value = Self> + Clone {
        let protocol =
            prop_oneof![4 => Just(TCP), 4 => Just(UDP), 2 => Just(PING), 1 => Just(SCTP), 1 => Just(47)];
        let ports = (select(vec![4000, 40000, 53]), select(vec![22, 53, 4000, 67]));
        (any::<bool>(), Who::talking(), Who::talking(), protocol, ports)
            .prop_map(|(v6, asking, asked, protocol, ports)| Self { v6, asking, asked, protocol, ports })
    }

    /// The same in IPv6.
    pub(super) fn in_v6(&self) -> Self {
        Self { v6: true, ..self.clone() }
    }

    pub(super) fn ends(&self, people: &People, asks: bool) -> (IpAddr, IpAddr) {
        let (asking, asked) = (people.address(self.asking, self.v6), people.address(self.asked, self.v6));
        if asks { (asking, asked) } else { (asked, asking) }
    }

    pub(super) fn body(&self, asks: bool, flags: u8) -> Body {
        let (src, dst) = if asks { self.ports } else { (self.ports.1, self.ports.0) };
        match self.protocol {
            PING => {
                let kind = match (self.v6, asks) {
                    (false, true) => 8,
                    (false, false) => 0,
                    (true, true) => 128,
                    (true, false) => 129,
                };
                Body::icmp(self.v6, kind, 0, &[0; 8])
            }
            protocol => Body::ports(protocol, src, dst, flags),
        }
    }
}

/// A conversation, or something like it.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    topic: Topic,
    /// Who speaks, and the TCP flags.
    packets: Vec<(bool, u8)>,
    guarded: bool,
    /// NAT gives who asks, or who is asked, an address of the host.
    nat: Option<(bool, Index)>,
}

const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;

impl Talk {
    fn any() -> impl Strategy<Value = Self> + Clone {
        let flags = select(vec![SYN, SYN | ACK, ACK, 0x11, 0x04, 0x14, 0, 0x18]);
        let packets = prop_oneof![
            2 => Just(vec![(true, SYN), (false, SYN | ACK), (true, ACK), (false, ACK), (true, 0x11), (false, 0x11)]),
            1 => Just(vec![(false, ACK), (true, SYN), (false, SYN), (false, 0x14), (false, ACK)]),
            1 => Just(vec![(true, SYN), (false, ACK), (false, ACK), (false, ACK), (false, 0), (false, SYN), (false, ACK)]),
            3 => vec((any::<bool>(), flags), 2..7),
        ];
        let nat = weighted(0.3, (any::<bool>(), any::<Index>()));
        (Topic::any(), packets, prop::bool::weighted(0.4), nat)
            .prop_map(|(topic, packets, guarded, nat)| Self { topic, packets, guarded, nat })
    }

    fn tell(&self, story: &mut Story) {
        for &(asks, flags) in &self.packets {
            let (src, dst) = self.topic.ends(story.people, asks);
            let body = self.topic.body(asks, flags);
            match self.nat {
                None => story.send(&wire::packet(src, dst, &body), self.guarded),
                Some((asker, index)) => {
                    let masked = story.people.address(Who::Host(index), self.topic.v6);
                    let [sent, delivered] =
                        if asks == asker { [(src, dst), (masked, dst)] } else { [(src, masked), (src, dst)] };
                    story.send_through_nat([sent, delivered].map(|(src, dst)| wire::packet(src, dst, &body)));
                }
            }
        }
    }
}

/// The fragments of a datagram, in any order.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a coin of its own")]
pub(super) struct Pieces {
    topic: Topic,
    asks: bool,
    /// So that it may be an answer.
    asked_before: bool,
    /// Destination options behind the fragment header.
    options: bool,
    id: u8,
    /// In units of eight bytes; zero is the first fragment.
    offsets: Vec<u16>,
    /// Bytes of the first one.
    cut: Option<usize>,
    guarded: bool,
}

impl Pieces {
    fn any() -> impl Strategy<Value = Self> + Clone {
        let offsets = vec(select(vec![0, 0, 1, 2, 3, 4, 185, 0x1fff]), 1..6);
        let shape = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3), 1..3_u8);
        (Topic::any(), shape, offsets, weighted(0.1, 0..24_usize), prop::bool::weighted(0.3)).prop_map(
            |(topic, (asks, asked_before, options, id), offsets, cut, guarded)| Self {
                topic,
                asks,
                asked_before,
                options,
                id,
                offsets,
                cut,
                guarded,
            },
        )
    }

    fn tell(&self, story: &mut Story) {
        if self.asked_before {
            let (src, dst) = self.topic.ends(story.people, !self.asks);
            story.send(&wire::packet(src, dst, &self.topic.body(!self.asks, SYN)), false);
        }
        let whole = self.topic.body(self.asks, ACK);
        let whole = if self.options && self.topic.v6 { whole.behind_options() } else { whole };
        let (src, dst) = self.topic.ends(story.people, self.asks);
        for &offset in &self.offsets {
            let bytes = match offset {
                0 => whole.bytes[..self.cut.unwrap_or(usize::MAX).min(whole.bytes.len())].to_vec(),
                _ => vec![0x5a; 16],
            };
            let body = Body { protocol: whole.protocol, bytes };
            let part = Part { id: self.id, offset, more: offset < 0x1fff };
            story.send(&wire::fragment(src, dst, &body, part), self.guarded);
        }
    }
}
