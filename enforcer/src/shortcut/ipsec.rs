//! Policies of IPsec: what they are about has to be encrypted, or to have been.

use std::io;

use netlink_sys::protocols::NETLINK_XFRM;

use super::{Barrier, Kinds};
use crate::netlink::{self, Scope, attributes};

/// `XFRM_MSG_NEWSPDINFO` and `XFRM_MSG_GETSPDINFO`; the question has four bytes of flags.
const NEW_INFO: u16 = 0x24;
const GET_INFO: u16 = 0x25;
const FLAGS: usize = 4;

/// `XFRMA_SPD_INFO`: `struct xfrmu_spdinfo`, of which the first three words count policies in, out and forward.
const COUNTS: u16 = 1;

/// `XFRM_MSG_GETDEFAULT`, which is also its answer: `struct xfrm_userpolicy_default`, a byte each for in, forward
/// and out, of which 1 blocks what no policy is about. Kernels before 5.15 always let it go on.
const DEFAULT: u16 = 0x28;
const BLOCK: u8 = 1;

/// What is on the way now.
pub fn barriers() -> Vec<Barrier> {
    let found = policies().and_then(|count| Ok((count, blocks_by_default()?)));
    match found {
        Ok((0, false)) => Vec::new(),
        Ok((count, blocks)) => {
            let default = if blocks { ", and a default that blocks" } else { "" };
            vec![Barrier::new(Kinds::ROUTED, format!("{count} policies of IPsec{default}"))]
        }
        Err(error) => vec![Barrier::unseen("IPsec", &error)],
    }
}

fn blocks_by_default() -> io::Result<bool> {
    let mut blocks = false;
    let asked = netlink::ask(NETLINK_XFRM, DEFAULT, Scope::One, &[0; 3], |kind, payload| {
        blocks |= kind == DEFAULT && payload.iter().take(3).any(|action| *action == BLOCK);
    });
    let code = asked.as_ref().err().and_then(io::Error::raw_os_error);
    if matches!(code, Some(libc::EINVAL | libc::EPROTONOSUPPORT)) {
        Ok(false)
    } else {
        asked.map(|()| blocks)
    }
}

fn policies() -> io::Result<u32> {
    let mut count = 0;
    let asked = netlink::ask(NETLINK_XFRM, GET_INFO, Scope::One, &[0; FLAGS], |kind, payload| {
        if kind == NEW_INFO {
            count += policies_in(payload);
        }
    });
    // A kernel without IPsec has no such protocol.
    let is_absent = asked.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPROTONOSUPPORT));
    if is_absent { Ok(0) } else { asked.map(|()| count) }
}

fn policies_in(payload: &[u8]) -> u32 {
    let mut read = attributes(payload.get(FLAGS..).unwrap_or_default());
    let counts = read.find(|(kind, _)| *kind == COUNTS).map_or(&[][..], |(_, counts)| counts);
    let words = counts.chunks_exact(4).take(3).filter_map(|word| word.try_into().ok());
    words.map(u32::from_ne_bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_every_direction_count() {
        let mut answer = vec![0; FLAGS];
        answer.extend(28_u16.to_ne_bytes());
        answer.extend(COUNTS.to_ne_bytes());
        for word in [1_u32, 2, 4, 99, 99, 99] {
            answer.extend(word.to_ne_bytes());
        }
        assert_eq!(policies_in(&answer), 7);
        assert_eq!(policies_in(&[0; FLAGS]), 0);
        assert_eq!(policies_in(&[]), 0);
    }
}
