//! A TCP connection of which the test holds both ends: it sees what each direction carries, and when.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::netns::NetNs;
use crate::traffic::DUE;
use crate::wait;

/// What is handed to the kernel at once: as much as one GSO packet holds.
const WRITE: usize = 64 << 10;
/// How long a stream that goes on may pause: retransmissions included, one lost packet costs seconds at worst.
const STALL: Duration = Duration::from_secs(20);

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// The end that opened it.
    pub client: TcpStream,
    /// The end that was asked.
    pub server: TcpStream,
}

impl Connection {
    /// Connects two namespaces, by way of an address of the second one.
    pub fn open(
        client: &impl AsRef<NetNs>,
        server: &impl AsRef<NetNs>,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let listener = server.as_ref().enter(|| TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let client = client.as_ref().enter(|| TcpStream::connect_timeout(&address, wait::scaled(DUE)))?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_write_timeout(Some(STALL))?;
        }
        Ok(Self { client, server })
    }

    /// Sends so many bytes from the client to the server, and waits for all of them.
    pub fn upload(&self, bytes: usize) -> io::Result<()> {
        carry(&self.client, &self.server, bytes)
    }

    /// Sends so many bytes from the server to the client, and waits for all of them.
    pub fn download(&self, bytes: usize) -> io::Result<()> {
        carry(&self.server, &self.client, bytes)
    }
}

/// Whether a byte that waits at the far side of `stream`, or is under way to it, arrives within
/// `patience`, or longer on a slow machine.
pub fn hears(mut stream: &TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(wait::scaled(patience))).is_ok() && stream.read_exact(&mut [0]).is_ok()
}

/// Writes at one end while the other one reads.
fn carry(mut from: &TcpStream, mut to: &TcpStream, bytes: usize) -> io::Result<()> {
    to.set_read_timeout(Some(STALL))?;
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let chunk = vec![0x5a; WRITE];
            let mut left = bytes;
            while left > 0 {
                let length = left.min(WRITE);
                from.write_all(&chunk[..length])?;
                left -= length;
            }
            Ok(())
        });
        let mut buffer = vec![0; WRITE];
        let mut left = bytes;
        while left > 0 {
            let room = left.min(WRITE);
            match to.read(&mut buffer[..room])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => left -= length,
            }
        }
        writer.join().expect("a writing thread panicked")
    })
}
