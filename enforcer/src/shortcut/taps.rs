//! Packet sockets that hear every frame, as `tcpdump` has them: they would not hear what goes past the stack.
//!
//! Only a socket of all protocols hears what the host sends to a receiver. One of a single protocol hears what comes in,
//! and of that nothing that a bridge takes: nobody watches workloads by it, but DHCP clients and their like keep one open
//! for life, some at every interface there is.

use std::{collections::BTreeSet, io};

use super::{Barrier, Kinds, netfilter::read_if_there};

/// Those of our network namespace. `PACKET_DIAG` tells the same of them, and is a module that not every kernel has.
const SOCKETS: &str = "/proc/self/net/packet";

/// `ETH_P_ALL`, as it is written there.
const ALL_PROTOCOLS: &str = "0003";

/// The interface of a socket that is bound to none; also the bridge of an interface that hangs on none.
const NONE: u32 = 0;

/// Interfaces at which somebody listens to everything, by their indices; 0 stands for all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Taps(pub BTreeSet<u32>);

impl Taps {
    /// Those of this moment.
    pub fn look() -> io::Result<Self> {
        Ok(Self(read_if_there(SOCKETS)?.lines().filter_map(tapped).collect()))
    }

    /// What is in everybody's way.
    pub fn everywhere(&self) -> Option<Barrier> {
        self.0.contains(&NONE).then(|| listens("all interfaces"))
    }

    /// What is in the way of an endpoint behind an interface, which hangs on a bridge or on none. Unlike a queue, who
    /// listens at a bridge meets also what is bridged: he makes the bridge take all frames for its own (promiscuous).
    pub fn at(&self, ifindex: u32, bridge: u32) -> impl Iterator<Item = Barrier> {
        let places = [(ifindex, "its interface"), (bridge, "its bridge")];
        let listened = places.into_iter().filter(|(place, _)| *place != NONE && self.0.contains(place));
        listened.map(|(_, name)| listens(name))
    }
}

fn listens(place: &str) -> Barrier {
    Barrier::new(Kinds::ALL, format!("somebody listens at {place} (packet socket)"))
}

/// Where the socket of a line hears everything. In front of these words are its address, references and type; the index
/// of an interface that is gone is -1, and at one that is down nothing is heard.
fn tapped(line: &str) -> Option<u32> {
    let mut words = line.split_whitespace().skip(3);
    let (protocol, interface, is_heard) = (words.next()?, words.next()?, words.next()?);
    if protocol == ALL_PROTOCOLS && is_heard == "1" { interface.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode";

    #[test]
    fn only_who_hears_everything_counts() {
        let line = |rest: &str| tapped(&format!("00000000469f3374 3      {rest} 0      0      8215248"));
        assert_eq!(line("3    0003   7     1"), Some(7), "tcpdump -i veth7");
        assert_eq!(line("2    0003   0     1"), Some(0), "tcpdump -i any");
        assert_eq!(line("3    0003   7     0"), None, "the interface is down");
        assert_eq!(line("3    0003   -1    0"), None, "it is gone");
        assert_eq!(line("2    0800   7     1"), None, "a DHCP client");
        assert_eq!(line("2    86dd   0     1"), None, "all IPv6 that comes in");
        assert_eq!(line("3    88cc   2     1"), None, "LLDP");
        assert_eq!(line("3    0000   0     0"), None, "it only sends");
        assert_eq!(tapped(HEADER), None);
        assert_eq!(tapped(""), None);
    }

    #[test]
    fn a_tap_is_in_the_way_of_those_whose_packets_pass_it() {
        let named = |taps: &Taps, ifindex, bridge| -> Vec<String> {
            taps.at(ifindex, bridge).map(|barrier| barrier.what).collect()
        };
        let taps = Taps([7, 3].into());
        let (own, bridge) = (
            "somebody listens at its interface (packet socket)",
            "somebody listens at its bridge (packet socket)",
        );
        assert_eq!(named(&taps, 7, 0), [own]);
        assert_eq!(named(&taps, 8, 3), [bridge]);
        assert_eq!(named(&taps, 7, 3), [own, bridge]);
        assert_eq!(named(&taps, 8, 0), [""; 0]);
        assert_eq!(taps.everywhere(), None);
        let everywhere = Taps([0].into());
        assert_eq!(named(&everywhere, 8, 0), [""; 0], "it is told once, of the host");
        assert_eq!(everywhere.everywhere().unwrap().blocks, Kinds::ALL);
    }
}
