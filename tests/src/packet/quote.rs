//! ICMP errors: a message and the beginning of what it is about.

use super::{Body, Family, Packet};

impl Packet {
    /// `self` reports that `about` did not arrive: the destination is unreachable.
    pub fn unreachable(self, about: &Self) -> Self {
        let (kind, code) = if Family::of(self.src) == Family::V4 { (3, 3) } else { (1, 4) };
        self.error(kind, code, about)
    }

    /// `self` reports that `about` is larger than a link on its way.
    pub fn too_big(self, about: &Self) -> Self {
        let (kind, code) = if Family::of(self.src) == Family::V4 { (3, 4) } else { (2, 0) };
        self.error(kind, code, about)
    }

    /// `self` reports that `about` went over too many hops.
    pub fn time_exceeded(self, about: &Self) -> Self {
        let kind = if Family::of(self.src) == Family::V4 { 11 } else { 3 };
        self.error(kind, 0, about)
    }

    /// Any error of the family about `about`, of which it quotes the headers and no more.
    pub fn error(self, kind: u8, code: u8, about: &Self) -> Self {
        let quote = about.network();
        let quoted = quote.len().saturating_sub(about.payload);
        self.error_quoting(kind, code, quote[..quoted].to_vec())
    }

    /// An error whose quote is cut behind so many bytes.
    pub fn error_cut(self, about: &Self, bytes: usize) -> Self {
        let (kind, code) = if Family::of(self.src) == Family::V4 { (3, 3) } else { (1, 4) };
        self.error_quoting(kind, code, about.network()[..bytes].to_vec())
    }

    /// An error that quotes anything.
    pub fn error_quoting(self, kind: u8, code: u8, quote: Vec<u8>) -> Self {
        Self { body: Body::Icmp { kind, code, rest: [0; 4], data: quote }, payload: 0, ..self }
    }
}
