//! Frames in a namespace, told by a sequence of bytes in them.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

use crate::netns::NetNs;

/// Room for what comes between two looks, in bytes.
const ROOM: usize = 1 << 24;
/// As much of a frame as is looked at.
const LOOKED_AT: usize = 256;

/// Everything that passes any interface of a namespace, in or out, from now on.
#[derive(Debug)]
pub struct Capture(OwnedFd);

impl Capture {
    /// Begins.
    #[track_caller]
    pub fn start(netns: &NetNs) -> Self {
        let raw = netns.enter(|| {
            let kind = (AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC);
            let raw = socket(kind.0, kind.1, kind.2, SockProtocol::EthAll)?;
            setsockopt(&raw, sockopt::RcvBufForce, &ROOM)?;
            Ok::<_, nix::Error>(raw)
        });
        Self(raw.expect("failed to open a socket for a capture"))
    }

    /// Those of the frames since the last look that have one of these sequences in them.
    pub fn find(&self, sequences: &[&[u8]]) -> Vec<Vec<u8>> {
        let has =
            |frame: &[u8], sequence: &[u8]| frame.windows(sequence.len()).any(|window| window == sequence);
        let mut found = Vec::new();
        self.look(|frame, _| {
            if sequences.iter().any(|sequence| has(frame, sequence)) {
                found.push(frame.to_vec());
            }
        });
        found
    }

    /// Bytes of each of the frames since the last look, those of a super-packet as long as it is whole.
    pub fn lengths(&self) -> Vec<usize> {
        let mut lengths = Vec::new();
        self.look(|_, length| lengths.push(length));
        lengths
    }

    /// Shows the beginning of each frame since the last look, and how long it is.
    fn look(&self, mut show: impl FnMut(&[u8], usize)) {
        let mut buffer = [0; LOOKED_AT];
        // With `MSG_TRUNC` the length is that of the frame, whatever fits into the buffer.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, flags) {
            show(&buffer[..length.min(LOOKED_AT)], length);
        }
    }
}
