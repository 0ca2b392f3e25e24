//! What a TCP segment says about its connection.

use etherparse::TcpHeader;

use super::Packet;

/// The flags of a TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flags(u8);

impl Flags {
    const FIN: u8 = 0x01;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    /// Of a segment that opens a connection.
    pub(super) const SYN: Self = Self(0x02);

    /// Of what a receiver sends back: it acknowledges, and a SYN with a SYN.
    pub(super) const fn answer(self) -> Self {
        Self(if self.0 == Self::SYN.0 { self.0 | Self::ACK } else { Self::ACK })
    }

    pub(super) fn on(self, header: TcpHeader) -> TcpHeader {
        let has = |flag| self.0 & flag != 0;
        let (fin, syn, rst, ack) = (has(Self::FIN), has(Self::SYN.0), has(Self::RST), has(Self::ACK));
        TcpHeader { fin, syn, rst, ack, ..header }
    }
}

/// Which segment of its connection it is; unless said, the first.
impl Packet {
    /// It only acknowledges, as everything behind the handshake.
    pub fn ack(self) -> Self {
        self.with_flags(Flags::ACK)
    }

    /// It is the last of its side.
    pub fn fin(self) -> Self {
        self.with_flags(Flags::FIN | Flags::ACK)
    }

    /// It ends the connection.
    pub fn rst(self) -> Self {
        self.with_flags(Flags::RST)
    }

    /// It says nothing at all.
    pub fn no_flags(self) -> Self {
        self.with_flags(0)
    }

    fn with_flags(self, flags: u8) -> Self {
        Self { flags: Flags(flags), ..self }
    }
}
