//! ICMP errors about packets that were seen, or were not.

use proptest::{option::weighted, prelude::*, sample::Index};

use super::{
    people::Who,
    story::{ACK, Story, Topic, ends},
    wire::{self, Body, Part},
};

/// An ICMP error.
#[derive(Clone, Debug)]
pub(super) struct Error {
    about: About,
    kind: Index,
    reporter: Reporter,
    /// To somebody else than the quoted packet's sender.
    astray: Option<Who>,
    /// So much of the packet is quoted.
    length: usize,
    damage: Option<(Index, u8)>,
    /// It comes in pieces.
    fragmented: bool,
    guarded: bool,
}

#[derive(Clone, Debug)]
enum About {
    Earlier(Index),
    Another(Topic, bool),
    /// An IPv6 packet with extension headers.
    Extended(Topic),
}

#[derive(Clone, Copy, Debug)]
enum Reporter {
    Receiver,
    Another(Who),
}

impl Error {
    pub(super) fn any() -> impl Strategy<Value = Self> + Clone {
        let about = prop_oneof![
            6 => any::<Index>().prop_map(About::Earlier),
            2 => (Topic::any(), any::<bool>()).prop_map(|(topic, asks)| About::Another(topic, asks)),
            1 => Topic::any().prop_map(About::Extended),
        ];
        let reporter =
            prop_oneof![1 => Just(Reporter::Receiver), 1 => Who::talking().prop_map(Reporter::Another)];
        let length = prop_oneof![4 => Just(usize::MAX), 2 => Just(48), 2 => Just(28), 1 => 0..60_usize];
        let dress = (
            length,
            weighted(0.1, (any::<Index>(), any::<u8>())),
            prop::bool::weighted(0.1),
            prop::bool::weighted(0.4),
        );
        (about, any::<Index>(), reporter, weighted(0.1, Who::talking()), dress).prop_map(
            |(about, kind, reporter, astray, (length, damage, fragmented, guarded))| Self {
                about,
                kind,
                reporter,
                astray,
                length,
                damage,
                fragmented,
                guarded,
            },
        )
    }

    pub(super) fn tell(&self, story: &mut Story) {
        let Some(quoted) = self.quoted(story) else { return };
        let Some((sender, receiver)) = ends(&quoted) else { return };
        let v6 = sender.is_ipv6();
        let src = match self.reporter {
            Reporter::Receiver => receiver,
            Reporter::Another(who) => story.people.address(who, v6),
        };
        let dst = self.astray.map_or(sender, |who| story.people.address(who, v6));
        let kind = *self.kind.get(if v6 { &[1, 2, 3, 4, 100] } else { &[3, 4, 11, 12, 3] });
        let mut quote = quoted[..self.length.min(quoted.len())].to_vec();
        if let Some((index, value)) = self.damage.filter(|_| !quote.is_empty()) {
            *index.get_mut(&mut quote) = value;
        }
        let body = Body::icmp(v6, kind, 0, &quote);
        if self.fragmented {
            let part = |offset, more| Part { id: 3, offset, more };
            story.send(&wire::fragment(src, dst, &body, part(0, true)), self.guarded);
            story.send(&wire::fragment(src, dst, &body, part(20, false)), self.guarded);
        } else {
            story.send(&wire::packet(src, dst, &body), self.guarded);
        }
    }

    fn quoted(&self, story: &Story) -> Option<Vec<u8>> {
        match &self.about {
            About::Earlier(_) if story.packets.is_empty() => None,
            About::Earlier(index) => Some(index.get(&story.packets).clone()),
            About::Another(topic, asks) => {
                let (src, dst) = topic.ends(story.people, *asks);
                Some(wire::packet(src, dst, &topic.body(*asks, ACK)))
            }
            About::Extended(topic) => {
                let topic = topic.in_v6();
                let (src, dst) = topic.ends(story.people, true);
                Some(wire::packet(src, dst, &topic.body(true, ACK).behind_options()))
            }
        }
    }
}
