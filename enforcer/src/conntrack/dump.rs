//! Asks the kernel for all entries of this network namespace. `CAP_NET_ADMIN` is enough.

use std::{io, time::Duration};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::TimeVal,
};

use super::Entry;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`, and the answers' `IPCTNL_MSG_CT_NEW`.
const CT_GET: u16 = 1 << 8 | 1;
const CT_NEW: u16 = 1 << 8;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const REQUEST: u16 = 0x301;

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// The kernel is never silent for longer.
const PATIENCE: i64 = 2;

/// Everything that connection tracking knows. An error is where the kernel has none, for example.
pub fn dump() -> io::Result<Vec<Entry>> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
    socket.send_to(&request(), &SocketAddr::new(0, 0), 0)?;
    let mut entries = Vec::new();
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        let (datagram, _) = socket.recv_from_full()?;
        if read(&datagram, &mut entries)? == Progress::Done {
            return Ok(entries);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn request() -> [u8; HEADER + GENERIC] {
    let mut request = [0; HEADER + GENERIC];
    request[..4].copy_from_slice(&((HEADER + GENERIC) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&CT_GET.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    request
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    More,
    Done,
}

/// The messages of one datagram.
fn read(mut datagram: &[u8], entries: &mut Vec<Entry>) -> io::Result<Progress> {
    while let Some((header, _)) = datagram.split_at_checked(HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let payload = datagram.get(HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
        match u16::from_ne_bytes([header[4], header[5]]) {
            NLMSG_DONE => return Ok(Progress::Done),
            NLMSG_ERROR => {
                let code =
                    payload.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                return Err(io::Error::from_raw_os_error(-code));
            }
            CT_NEW => entries.extend(payload.get(GENERIC..).and_then(Entry::parse)),
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(payload);
        message
    }

    #[test]
    fn a_dump_ends_with_done_or_an_error() {
        let mut entries = Vec::new();
        assert_eq!(read(&message(CT_NEW, &[2, 0, 0, 0]), &mut entries).unwrap(), Progress::More);
        assert_eq!(read(&message(NLMSG_DONE, &[0; 4]), &mut entries).unwrap(), Progress::Done);
        let refused = read(&message(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes()), &mut entries).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(read(&[255; 20], &mut entries).is_err(), "longer than the datagram");
        assert_eq!(entries, []);
    }
}
