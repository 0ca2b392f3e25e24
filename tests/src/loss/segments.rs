//! What one end of a TCP connection sent and received, as its kernel counts.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Segments of one end: of data and without, those sent again and received again included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    sent: u32,
    received: u32,
}

impl Segments {
    /// Asks the kernel (`TCP_INFO`, `tcp(7)`).
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `info`, and the length to `length`; both outlive the call.
        let result = unsafe {
            let (info, length) = (info.as_mut_ptr().cast(), &raw mut length);
            libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, length)
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // Since Linux 4.2.
        let end = mem::offset_of!(libc::tcp_info, tcpi_segs_in) + size_of::<u32>();
        assert!(length as usize >= end, "this kernel does not count the segments of a connection");
        // SAFETY: zeroed, and every bit pattern is an instance: all of its members are integers.
        let info = unsafe { info.assume_init() };
        Ok(Self { sent: info.tcpi_segs_out, received: info.tcpi_segs_in })
    }

    /// What was added since; the kernel's counts wrap around.
    pub fn since(self, before: Self) -> Self {
        let sent = self.sent.wrapping_sub(before.sent);
        Self { sent, received: self.received.wrapping_sub(before.received) }
    }

    /// How many of those that this end sent have not reached the other one, or too often; one of each is not seen.
    pub fn lost_before(self, other: Self) -> u64 {
        self.sent.abs_diff(other.received).into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::wait;

    #[test]
    fn both_ends_count_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (mut server, _) = listener.accept().expect("a connection");
        let ends = |client: &TcpStream, server: &TcpStream| {
            [client, server].map(|end| Segments::of(end).expect("its counts"))
        };
        let before = ends(&client, &server);
        client.write_all(b"one").expect("room");
        server.read_exact(&mut [0; 3]).expect("three bytes");
        server.write_all(b"two").expect("room");
        client.read_exact(&mut [0; 3]).expect("three bytes");
        // An acknowledgement may be under way for a while.
        wait::until("both ends count the same", Duration::from_secs(5), || {
            let [now_client, now_server] = ends(&client, &server);
            let (client, server) = (now_client.since(before[0]), now_server.since(before[1]));
            (client.lost_before(server) == 0 && server.lost_before(client) == 0).then_some(())
        });
        assert!(ends(&client, &server)[1].since(before[1]).received > 0, "nothing was counted");
        let lost = Segments { sent: 3, received: 0 }.lost_before(Segments { sent: 0, received: 1 });
        assert_eq!(lost, 2);
    }
}
