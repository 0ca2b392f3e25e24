//! Questions to the kernel over netlink for which no crate has words: byte for byte, answer by answer.

use std::{
    io, iter,
    time::{Duration, Instant},
};

use netlink_sys::{Socket, SocketAddr};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::TimeVal,
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST`, with `NLM_F_ACK` or with `NLM_F_DUMP`: either way the kernel says when it has said all.
const ONE: u16 = 0x005;
const ALL: u16 = 0x301;

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// The kernel is never silent for longer, nor ever speaks for longer.
const SILENCE: i64 = 2;
const PATIENCE: Duration = Duration::from_secs(5);

/// The kind of an attribute without its flags (nested, network byte order).
const KIND: u16 = 0x3fff;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One thing.
    One,
    /// A list of all.
    All,
}

/// Asks, and hands each answer to `heard`: its type, and what is behind its header.
pub fn ask(
    protocol: isize,
    kind: u16,
    scope: Scope,
    payload: &[u8],
    mut heard: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let socket = Socket::new(protocol)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(SILENCE, 0))?;
    socket.send_to(&request(kind, scope, payload), &SocketAddr::new(0, 0), 0)?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let (datagram, _) = socket.recv_from_full()?;
        if read(&datagram, &mut heard)? == Progress::Done {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn request(kind: u16, scope: Scope, payload: &[u8]) -> Vec<u8> {
    let flags = if scope == Scope::All { ALL } else { ONE };
    let mut request = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(payload);
    request
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    More,
    Done,
}

/// The messages of one datagram.
fn read(mut datagram: &[u8], heard: &mut impl FnMut(u16, &[u8])) -> io::Result<Progress> {
    while let Some((header, _)) = datagram.split_at_checked(HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let payload = datagram.get(HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
        match u16::from_ne_bytes([header[4], header[5]]) {
            NLMSG_DONE | NLMSG_ERROR => return refused(payload),
            kind => heard(kind, payload),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The end of a list says whether it is whole; an error of number 0 is the end of what was asked for alone.
fn refused(payload: &[u8]) -> io::Result<Progress> {
    let code = payload.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code >= 0 { Ok(Progress::Done) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// Attributes by their kind, as far as they are whole.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    iter::from_fn(move || {
        let (header, _) = rest.split_at_checked(4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & KIND;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// An attribute that is a number in network byte order.
pub fn number(value: &[u8]) -> Option<u32> {
    value.get(..4)?.try_into().ok().map(u32::from_be_bytes)
}

/// An attribute that is a word.
pub fn word(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
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
    fn an_answer_ends_with_done_or_an_error() {
        let mut heard = Vec::new();
        let mut hear = |kind, payload: &[u8]| heard.push((kind, payload.to_vec()));
        assert_eq!(read(&message(256, &[2, 0, 0, 0]), &mut hear).unwrap(), Progress::More);
        assert_eq!(read(&message(NLMSG_DONE, &[0; 4]), &mut hear).unwrap(), Progress::Done);
        assert_eq!(read(&message(NLMSG_ERROR, &[0; 4]), &mut hear).unwrap(), Progress::Done);
        let refused = read(&message(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes()), &mut hear).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        let cut = read(&message(NLMSG_DONE, &(-libc::ENOMEM).to_ne_bytes()), &mut hear).unwrap_err();
        assert_eq!(cut.raw_os_error(), Some(libc::ENOMEM), "a list that is not whole");
        assert!(read(&[255; 20], &mut hear).is_err(), "longer than the datagram");
        assert_eq!(heard, [(256, vec![2, 0, 0, 0])]);
    }

    #[test]
    fn attributes_are_read_as_far_as_they_are_whole() {
        let bytes =
            [&[8, 0, 1, 0x80, 0, 0, 1, 2][..], &[7, 0, 3, 0, b'a', b'b', 0, 0], &[9, 0, 4, 0, 1]].concat();
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(1, &[0, 0, 1, 2][..]), (3, &b"ab\0"[..])]);
        assert_eq!(number(read[0].1), Some(0x0102));
        assert_eq!(word(read[1].1), "ab");
    }
}
