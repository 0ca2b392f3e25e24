//! DHCP: who asks with whose MAC, and who answers.

use std::net::IpAddr;

use proptest::{option::weighted, prelude::*, sample::Index};

use super::{
    people::{Home, Who},
    scene::{ENDPOINTS, mac},
    story::Story,
    wire::{self, Body, Part, UDP},
};

/// Somebody asks for an address, or gives one away.
#[derive(Clone, Debug)]
pub(super) struct Dhcp {
    workload: usize,
    v6: bool,
    asks: bool,
    /// With its own address already.
    addressed: Option<Index>,
    dst: Option<Who>,
    /// Whose MAC the client says it has.
    chaddr: usize,
    /// Bytes behind the UDP header.
    length: usize,
    fragmented: bool,
}

impl Dhcp {
    pub(super) fn any() -> impl Strategy<Value = Self> + Clone {
        let workload = 0..ENDPOINTS.len();
        let ends = (weighted(0.6, any::<Index>()), weighted(0.6, Who::talking()));
        let length = prop_oneof![3 => Just(44), 1 => 0..44_usize];
        let dress = (0..2_usize, length, prop::bool::weighted(0.2));
        (workload, any::<bool>(), any::<bool>(), ends, dress).prop_map(
            |(workload, v6, asks, (addressed, dst), (chaddr, length, fragmented))| Self {
                workload,
                v6,
                asks,
                addressed,
                dst,
                chaddr,
                length,
                fragmented,
            },
        )
    }

    pub(super) fn tell(&self, story: &mut Story) {
        let (nobody, everybody) =
            if self.v6 { ("fe80::1", "ff02::1:2") } else { ("0.0.0.0", "255.255.255.255") };
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        let own = |index| story.people.address(Who::Endpoint(self.workload, index), self.v6);
        let src = self.addressed.map_or(parse(nobody), own);
        let dst = self.dst.map_or(parse(everybody), |who| story.people.address(who, self.v6));
        let (client, server) = if self.v6 { (546, 547) } else { (68, 67) };
        let (from, to) = if self.asks { (client, server) } else { (server, client) };
        let message = [&[0; 28][..], &mac(self.workload + self.chaddr), &[0; 10]].concat();
        let mut body = Body::ports(UDP, from, to, 0);
        body.bytes.truncate(8);
        body.bytes.extend(&message[..self.length]);
        let home = Home::Endpoint(self.workload);
        let to = story.people.home(dst);
        if self.fragmented {
            for (offset, more) in [(0, true), (5, false)] {
                let packet = wire::fragment(src, dst, &body, Part { id: 4, offset, more });
                story.send_between(home, to, &packet, true);
            }
        } else {
            story.send_between(home, to, &wire::packet(src, dst, &body), true);
        }
    }
}
