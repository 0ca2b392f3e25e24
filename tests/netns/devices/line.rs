//! A pair of devices that match, each over what its owner has: whatever is sent into the one is meant to come out of
//! the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_tests::NetNs;
use enforcer_tests::packet::{Family, Party};
use enforcer_tests::tally::Tally;
use enforcer_tests::traffic::{PATIENCE, Probe, Protocol, ask_all};

/// The two ends, with addresses of their own; the first one asks.
pub struct Line<'n> {
    pub ends: [End<'n>; 2],
    families: &'static [Family],
    number: u8,
    /// It lies in another line, which counts its packets.
    is_inner: bool,
}

/// A device of somebody.
pub struct End<'n> {
    pub netns: &'n NetNs,
    pub device: &'static str,
}

impl<'n> Line<'n> {
    /// Makes both devices of what `ip link add` calls them: the first word but for what they lie over.
    #[track_caller]
    pub fn lay(
        number: u8,
        families: &'static [Family],
        ends: [(&'n NetNs, &'static str, String); 2],
    ) -> Self {
        let mut side = 0;
        let ends = ends.map(|(netns, device, definition)| {
            side += 1;
            let Party { v4, v6 } = party(number, side);
            let addresses = families.iter().map(|family| match family {
                Family::V4 => format!("addr add {v4}/24 dev {device}\n"),
                Family::V6 => format!("addr add {v6}/64 dev {device} nodad\n"),
            });
            let addresses: Vec<_> = addresses.collect();
            netns.ip(&format!(
                "link add name {device} {definition}\n{}link set {device} up\n",
                addresses.concat()
            ));
            End { netns, device }
        });
        Self { ends, families, number, is_inner: false }
    }

    /// It lies in another line.
    pub fn inner(self) -> Self {
        Self { is_inner: true, ..self }
    }

    /// Its second end, as the first asks for it.
    pub fn far(&self) -> Vec<IpAddr> {
        let Party { v4, v6 } = party(self.number, 2);
        let addresses = self.families.iter().map(|family| match family {
            Family::V4 => v4.into(),
            Family::V6 => v6.into(),
        });
        addresses.collect()
    }
}

/// Whom the ends of a line are known as inside it.
fn party(number: u8, side: u8) -> Party {
    Party {
        v4: Ipv4Addr::new(172, 16, number, side),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xc000 + u16::from(number), 0, 0, 0, 0, side.into()),
    }
}

/// Which of all the far ends answer, as `device address`; all are asked at once.
pub fn answering(lines: &[Line<'_>]) -> Vec<String> {
    let asked: Vec<_> =
        lines.iter().flat_map(|line| line.far().into_iter().map(move |to| (&line.ends[0], to))).collect();
    let probes = asked.iter().map(|(end, to)| Probe { from: end.netns, to: *to, protocol: Protocol::Ping });
    let answers = ask_all(&probes.collect::<Vec<_>>(), PATIENCE * 2);
    let named = asked.iter().map(|(end, to)| format!("{} {to}", end.device));
    named.zip(answers).filter_map(|(name, is_answered)| is_answered.then_some(name)).collect()
}

/// How many addresses [`answering`] asks.
pub fn asked(lines: &[Line<'_>]) -> usize {
    lines.iter().map(|line| line.far().len()).sum()
}

/// What these ends of all lines have counted; of what lies in another line, only that one's.
pub fn tally(lines: &[Line<'_>], sides: &[usize]) -> Tally {
    let own = lines.iter().filter(|line| !line.is_inner);
    let ends = own.flat_map(|line| sides.iter().map(|side| &line.ends[*side]));
    ends.map(|end| Tally::of(end.netns, end.device)).sum()
}
