//! Random frames: valid ones between interesting addresses, in odd dress, and some of them damaged.

use std::net::IpAddr;

use enforcer_common::event::Hook;
use enforcer_tests::packet::{self, Packet, from};
use proptest::{
    collection::vec,
    option::weighted,
    prelude::*,
    sample::{Index, select},
};

use super::{
    case::{self, Hex, Place},
    people::{People, Who},
    scene::{ENDPOINTS, UPLINK, mac},
};

/// A frame and the places that it comes to.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    v6: bool,
    sender: usize,
    receiver: usize,
    src: Who,
    dst: Who,
    shape: Shape,
    dress: Dress,
    damage: Damage,
    /// A frame from another interface.
    foreign_mac: bool,
    steps: Vec<Step>,
    /// Its receiver answers.
    answered: bool,
}

#[derive(Clone, Debug)]
enum Shape {
    Tcp(u16, u16),
    Udp(u16, u16),
    Sctp(u16, u16),
    Ping,
    Pong,
    Icmp(u8, u8),
    Protocol(u8),
    /// ARP, or neighbour discovery of a kind; perhaps to the destination instead of the usual group.
    Link(u8, bool),
}

/// What the network header says besides.
#[derive(Clone, Debug)]
struct Dress {
    hop_limit: u8,
    option_words: usize,
    extensions: Vec<u8>,
    fragment: Option<(u16, bool)>,
    payload: usize,
    declared: Option<u16>,
    vlan: bool,
}

/// What happened to the frame.
#[derive(Clone, Debug)]
struct Damage {
    /// Where, and the value.
    bytes: Vec<(usize, u8)>,
    length: Option<usize>,
    padding: usize,
}

/// A place on its way.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: At,
    stamp: Stamp,
    /// Else as fits its source.
    locally_generated: Option<bool>,
    /// Not where it belongs.
    elsewhere: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Sender,
    Receiver,
    /// The guard of the sender's veth.
    Guard,
    /// The guard of the uplink, and behind it.
    UplinkGuard,
    Uplink,
}

#[derive(Clone, Copy, Debug)]
enum Stamp {
    /// The sender's on a packet of its own, none on others.
    Fitting,
    None,
    Of(usize),
    /// One that says that the packet was let go on.
    Relaxed {
        proven: bool,
    },
}

impl Traffic {
    pub(super) fn any() -> impl Strategy<Value = Self> + Clone {
        let ends = (0..ENDPOINTS.len(), 0..ENDPOINTS.len())
            .prop_flat_map(|(sender, receiver)| (Just(sender), Just(receiver), who(sender), who(receiver)));
        let what = (any::<bool>(), shape(), dress(), damage());
        let way = (prop::bool::weighted(0.05), vec(step(), 1..4), prop::bool::weighted(0.3));
        (ends, what, way).prop_map(
            |((sender, receiver, src, dst), (v6, shape, dress, damage), (foreign_mac, steps, answered))| {
                Self { v6, sender, receiver, src, dst, shape, dress, damage, foreign_mac, steps, answered }
            },
        )
    }

    /// The frame at each of its places, twice in a row: what is remembered of it answers, too.
    pub(super) fn steps(&self, people: &People) -> Vec<case::Step> {
        let (src, dst) = (people.address(self.src, self.v6), people.address(self.dst, self.v6));
        let packet = self.packet(src, dst);
        let (frame, answer) = (self.frame(&packet, self.sender), self.frame(&packet.answer(), self.receiver));
        let mut frames: Vec<_> = self.steps.iter().map(|step| (self.place(step), frame.clone())).collect();
        if self.answered {
            let endpoint = ENDPOINTS[self.receiver].to_owned();
            let hook = Hook::FromEndpoint;
            let place = Place { hook, endpoint, stamp: None, relaxed: None, locally_generated: false };
            frames.push((place, answer));
        }
        let steps = frames.into_iter().map(|(place, mut frame)| {
            let shortest = shortest(place.hook, &frame);
            if frame.len() < shortest {
                frame.resize(shortest, 0);
            }
            case::Step::Frame(place, Hex(frame))
        });
        steps.flat_map(|step| [step.clone(), step]).collect()
    }

    fn place(&self, step: &Step) -> Place {
        let (hook, usual) = match step.at {
            At::Sender => (Hook::FromEndpoint, self.sender),
            At::Receiver => (Hook::ToEndpoint, self.receiver),
            At::Guard | At::UplinkGuard => (Hook::Guard, self.sender),
            At::Uplink => (Hook::FromUplink, self.sender),
        };
        let own = matches!(self.src, Who::Endpoint(..)).then_some(ENDPOINTS[self.sender]);
        let stamp = match step.stamp {
            Stamp::Fitting if matches!(step.at, At::Uplink) => None,
            Stamp::Fitting => own,
            Stamp::None | Stamp::Relaxed { .. } => None,
            Stamp::Of(endpoint) => Some(ENDPOINTS[endpoint]),
        };
        let endpoint = match step.at {
            At::UplinkGuard | At::Uplink => UPLINK,
            _ => ENDPOINTS[step.elsewhere.unwrap_or(usual)],
        };
        let fitting = matches!(self.src, Who::Host(_));
        // A guard comes before every mark, and before everything that the host sends.
        let behind = hook != Hook::Guard;
        let locally_generated =
            step.locally_generated.unwrap_or(fitting) && behind && hook != Hook::FromUplink;
        let stamp = stamp.filter(|_| behind).map(str::to_owned);
        let relaxed = match step.stamp {
            Stamp::Relaxed { proven } if behind => Some(proven),
            _ => None,
        };
        Place { hook, endpoint: endpoint.to_owned(), stamp, relaxed, locally_generated }
    }

    fn frame(&self, packet: &Packet, sender: usize) -> Vec<u8> {
        let mut frame = packet.bytes();
        let number = if self.foreign_mac { 0x77 } else { sender };
        frame[6..12].copy_from_slice(&mac(number));
        if frame[12..14] == [0x08, 0x06] {
            frame[22..28].copy_from_slice(&mac(sender));
        }
        self.damage.inflict(frame)
    }

    fn packet(&self, src: IpAddr, dst: IpAddr) -> Packet {
        let plain = || self.dress.on(from(src).to(dst));
        match self.shape {
            Shape::Tcp(from, to) => plain().tcp(to).from_port(from),
            Shape::Udp(from, to) => plain().udp(to).from_port(from),
            Shape::Sctp(from, to) => plain().sctp(to).from_port(from),
            Shape::Ping => plain().ping(),
            Shape::Pong => plain().pong(),
            Shape::Icmp(kind, code) => plain().icmp(kind, code),
            Shape::Protocol(number) => plain().protocol(number),
            Shape::Link(kind, directed) => link(src, dst, kind, directed),
        }
    }
}

/// ARP, neighbour discovery and multicast listeners, as they should be.
fn link(src: IpAddr, dst: IpAddr, kind: u8, directed: bool) -> Packet {
    let (src, dst) = match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => (src, dst),
        (IpAddr::V4(src), IpAddr::V4(dst)) if kind.is_multiple_of(2) => return packet::arp_request(src, dst),
        (IpAddr::V4(src), IpAddr::V4(dst)) => return packet::arp_reply(src, dst),
        _ => unreachable!("both addresses are of one family"),
    };
    let group = match kind {
        0 => packet::neighbor_solicitation(src, dst),
        1 => packet::neighbor_advertisement(src, dst),
        2 => packet::neighbor_advertisement(src, src),
        3 => packet::router_solicitation(src),
        4 => packet::router_advertisement(src),
        5 => packet::redirect(src, dst, dst),
        6 => packet::dad_probe(dst),
        7 => packet::mld_report(src),
        _ => from(src).to(packet::ALL_NODES).hop_by_hop().icmp(130 + kind % 3, 0).hop_limit(1),
    };
    if !directed {
        return group;
    }
    let octets = dst.octets().into_iter().enumerate();
    octets.fold(group, |packet, (index, octet)| packet.byte(14 + 24 + index, octet))
}

impl Dress {
    fn on(&self, packet: Packet) -> Packet {
        let mut packet = packet.hop_limit(self.hop_limit).payload(self.payload);
        if packet.src().is_ipv4() {
            packet = packet.options(self.option_words * 4);
        } else {
            for kind in &self.extensions {
                packet = match kind {
                    0 => packet.hop_by_hop(),
                    1 => packet.routing(),
                    2 => packet.authentication(),
                    3 => packet.fragment(0, false),
                    more => packet.dst_options(*more - 4),
                };
            }
        }
        if let Some((offset, more)) = self.fragment {
            packet = packet.fragment(offset, more);
        }
        if let Some(bytes) = self.declared {
            packet = packet.declaring(bytes);
        }
        if self.vlan { packet.vlan(7) } else { packet }
    }
}

impl Damage {
    fn inflict(&self, mut frame: Vec<u8>) -> Vec<u8> {
        for &(index, value) in &self.bytes {
            let index = index % frame.len();
            frame[index] = value;
        }
        frame.extend(vec![0; self.padding]);
        if let Some(length) = self.length {
            frame.truncate(length);
        }
        frame
    }
}

/// `BPF_PROG_TEST_RUN` itself refuses socket buffers without a whole network header, and any frame without
/// an Ethernet header.
fn shortest(hook: Hook, frame: &[u8]) -> usize {
    match (hook, &frame[12..14]) {
        (Hook::Guard, _) => 14,
        (_, [0x08, 0x00]) => 14 + 20,
        (_, [0x86, 0xdd]) => 14 + 40,
        _ => 14 + 1,
    }
}

fn who(party: usize) -> impl Strategy<Value = Who> + Clone {
    prop_oneof![
        8 => any::<Index>().prop_map(move |index| Who::Endpoint(party, index)),
        2 => any::<Index>().prop_map(Who::Host),
        2 => any::<Index>().prop_map(Who::Stranger),
    ]
}

fn shape() -> impl Strategy<Value = Shape> + Clone {
    let ports = || {
        let port = || select(vec![4000, 53, 67, 68, 22, 0]);
        prop_oneof![3 => (port(), port()), 1 => Just((68, 67)), 1 => Just((67, 68))]
    };
    prop_oneof![
        3 => ports().prop_map(|(from, to)| Shape::Tcp(from, to)),
        4 => ports().prop_map(|(from, to)| Shape::Udp(from, to)),
        1 => ports().prop_map(|(from, to)| Shape::Sctp(from, to)),
        2 => Just(Shape::Ping),
        2 => Just(Shape::Pong),
        2 => (select(vec![0, 1, 3, 5, 8, 11, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 143]), 0..2_u8)
            .prop_map(|(kind, code)| Shape::Icmp(kind, code)),
        1 => select(vec![1, 2, 47, 50, 58, 59, 89, 135]).prop_map(Shape::Protocol),
        4 => (0..12_u8, any::<bool>()).prop_map(|(kind, directed)| Shape::Link(kind, directed)),
    ]
}

fn dress() -> impl Strategy<Value = Dress> + Clone {
    let hop_limit = prop_oneof![3 => Just(64), 2 => Just(255), 1 => Just(1)];
    let options = prop_oneof![4 => Just(0), 1 => 0..=10_usize];
    let extensions = prop_oneof![6 => Just(Vec::new()), 1 => vec(0..12_u8, 1..9)];
    let fragment = weighted(0.12, (select(vec![0, 1, 185, 0x1fff]), any::<bool>()));
    let payload = select(vec![0, 1, 8, 16, 32, 41, 200]);
    let declared = weighted(0.05, 0..120_u16);
    (hop_limit, options, extensions, fragment, payload, declared, prop::bool::weighted(0.03)).prop_map(
        |(hop_limit, option_words, extensions, fragment, payload, declared, vlan)| Dress {
            hop_limit,
            option_words,
            extensions,
            fragment,
            payload,
            declared,
            vlan,
        },
    )
}

fn damage() -> impl Strategy<Value = Damage> + Clone {
    let bytes = prop_oneof![9 => Just(Vec::new()), 1 => vec((12..80_usize, any::<u8>()), 1..3)];
    let padding = prop_oneof![4 => Just(0), 1 => 1..60_usize];
    (bytes, weighted(0.04, 14..120_usize), padding).prop_map(|(bytes, length, padding)| Damage {
        bytes,
        length,
        padding,
    })
}

fn step() -> impl Strategy<Value = Step> + Clone {
    let stamp = prop_oneof![
        6 => Just(Stamp::Fitting),
        2 => Just(Stamp::None),
        1 => (0..ENDPOINTS.len()).prop_map(Stamp::Of),
        2 => any::<bool>().prop_map(|proven| Stamp::Relaxed { proven }),
    ];
    let elsewhere = weighted(0.1, 0..ENDPOINTS.len());
    let at = prop_oneof![4 => Just(At::Sender), 4 => Just(At::Receiver), 1 => Just(At::Guard), 1 => Just(At::UplinkGuard), 2 => Just(At::Uplink)];
    (at, stamp, weighted(0.3, any::<bool>()), elsewhere).prop_map(
        |(at, stamp, locally_generated, elsewhere)| Step { at, stamp, locally_generated, elsewhere },
    )
}
