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
        let mut buffer = [0; LOOKED_AT];
        let mut found = Vec::new();
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            let frame = &buffer[..length];
            let has = |sequence: &&[u8]| frame.windows(sequence.len()).any(|window| window == *sequence);
            if sequences.iter().any(has) {
                found.push(frame.to_vec());
            }
        }
        found
    }
}
