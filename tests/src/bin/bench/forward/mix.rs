//! What is sent: of how many flows, which of them how often, and how long a packet is.

use enforcer_tests::packet::Family;

use crate::ladder::Rung;

/// One mix of packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    pub flows: usize,
    pub popularity: Popularity,
    pub length: Length,
}

/// Which flow a packet is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Popularity {
    /// Any.
    Even,
    /// Of the second most popular flow half as many as of the first, of the third a third: exponent 1.
    Zipf,
}

/// How long packets are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Frames of so many bytes, with their Ethernet header.
    Frame(usize),
    /// So many frames of so many bytes, that are one packet until a network card would send them (UDP GSO).
    Super { segments: usize, frame: usize },
}

/// Frames as short as can be, of any flow: what all rungs are measured with.
const SHORT: Length = Length::Frame(64);

/// What only some rungs are measured with.
pub const OTHERS: [Mix; 4] = [
    Mix { flows: 65_536, popularity: Popularity::Zipf, length: SHORT },
    Mix { flows: 4_096, popularity: Popularity::Even, length: Length::Frame(512) },
    Mix { flows: 4_096, popularity: Popularity::Even, length: Length::Frame(1_400) },
    Mix { flows: 256, popularity: Popularity::Even, length: Length::Super { segments: 16, frame: 1_400 } },
];

impl Mix {
    /// Short frames of any of so many flows.
    pub const fn plain(flows: usize) -> Self {
        Self { flows, popularity: Popularity::Even, length: SHORT }
    }

    /// Whether it is one that all rungs are measured with.
    pub fn is_plain(self) -> bool {
        self == Self::plain(self.flows)
    }

    /// Whether the whole way is told of it, too: without a host flows are nobody's business, so that one mix with many will
    /// do.
    pub fn is_whole(self) -> bool {
        self.is_plain() && matches!(self.flows, 1 | 4_096)
    }

    /// Whether a rung is measured with it.
    pub fn is_for(self, rung: Rung) -> bool {
        if rung == Rung::DirectVeth {
            return self.is_whole();
        }
        if self.is_plain() {
            // Many packets of slow rungs, for each to be of a flow that is known, take too long.
            return self.flows == 1 || !rung.is_for_one_flow();
        }
        matches!(
            rung,
            Rung::FirstHop
                | Rung::Routing
                | Rung::IptablesLegacy(10)
                | Rung::Enforcer(2)
                | Rung::KernelTables
        )
    }

    /// What tables call it.
    pub fn name(self, family: Family) -> String {
        let flows = format!("{family:?}, {} flows", self.flows);
        let flows =
            if self.popularity == Popularity::Zipf { format!("{flows} by Zipf's law") } else { flows };
        match self.length {
            SHORT => flows,
            Length::Frame(bytes) => format!("{flows}, frames of {bytes} bytes"),
            Length::Super { segments, frame } => {
                format!("{flows}, super-packets of {segments} frames of {frame} bytes, counted as one")
            }
        }
    }
}

impl Length {
    /// Bytes behind so many of headers, which a super-packet has once.
    pub const fn payload(self, headers: usize) -> usize {
        match self {
            Self::Frame(bytes) => bytes.saturating_sub(headers),
            Self::Super { segments, frame } => segments * (frame - headers),
        }
    }
}
