//! A server that says back whatever it hears, over TCP and UDP, at every address of its namespace.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::socket::{
    self, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::netns::NetNs;

/// Wildcard of both families: IPv4 arrives as IPv4-mapped addresses.
const EVERYWHERE: &str = "::";

/// No datagram is longer.
const DATAGRAM_MAX: usize = 1 << 16;

/// A running echo server; it and all its connections end when the value goes.
#[derive(Debug)]
pub struct Echo {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the server's threads share.
#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    datagrams: UdpSocket,
    connections: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Echo {
    /// Starts a server at a TCP and a UDP port.
    #[track_caller]
    pub fn start(netns: &NetNs, port: u16) -> Self {
        let bound = netns.enter(|| Shared::bind(port));
        let shared = match bound {
            Ok(shared) => Arc::new(shared),
            Err(error) => panic!("failed to listen at port {port} in {}: {error}", netns.name()),
        };
        let (streams, datagrams) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || streams.answer_streams()),
            thread::spawn(move || datagrams.answer_datagrams()),
        ];
        Self { shared, threads }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.end();
        for thread in self.threads.drain(..) {
            // A panic in it has been printed already.
            thread.join().ok();
        }
    }
}

impl Shared {
    /// Opens both sockets in the calling thread's namespace.
    fn bind(port: u16) -> io::Result<Self> {
        let datagrams = UdpSocket::bind((EVERYWHERE, port))?;
        setsockopt(&datagrams, sockopt::Ipv6RecvPacketInfo, &true)?;
        Ok(Self {
            listener: TcpListener::bind((EVERYWHERE, port))?,
            datagrams,
            connections: Mutex::default(),
            is_over: AtomicBool::new(false),
        })
    }

    /// Wakes every thread that waits on a socket, for good.
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        let how = socket::Shutdown::Both;
        // Linux wakes those who wait also on sockets without a peer, and then reports that there is none.
        socket::shutdown(self.listener.as_raw_fd(), how).ok();
        socket::shutdown(self.datagrams.as_raw_fd(), how).ok();
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be closed already.
            connection.shutdown(Shutdown::Both).ok();
        }
    }

    /// Accepts connections, each with a thread of its own.
    fn answer_streams(&self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let Ok(mut writer) = stream.try_clone() else { continue };
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            // Forget those whose peer is gone.
            connections.retain(|connection| connection.peer_addr().is_ok());
            let Ok(mut reader) = stream.try_clone() else { continue };
            connections.push(stream);
            drop(connections);
            thread::spawn(move || {
                // Ends with the connection, however that ends.
                echo_stream(&mut reader, &mut writer).ok();
                writer.shutdown(Shutdown::Both).ok();
            });
        }
    }

    /// Answers datagrams until the end.
    fn answer_datagrams(&self) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while !self.is_over.load(Ordering::Acquire) {
            // An answer that the kernel would not send, say for want of a route, is the client's to miss.
            echo_datagram(&self.datagrams, &mut buffer).ok();
        }
    }
}

/// Sends back what arrives until the peer closes.
fn echo_stream(reader: &mut TcpStream, writer: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        writer.write_all(&buffer[..length])?;
    }
}

/// Receives one datagram and sends it back from the address it was sent to, as a server with several addresses must.
fn echo_datagram(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
    let asked_at = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
        _ => None,
    });
    let (Some(client), Some(mut asked_at)) = (message.address, asked_at) else { return Ok(()) };
    let length = message.bytes;
    // The way back is the routing table's choice.
    asked_at.ipi6_ifindex = 0;
    let answer = [IoSlice::new(&buffer[..length])];
    sendmsg(fd, &answer, &[ControlMessage::Ipv6PacketInfo(&asked_at)], MsgFlags::empty(), Some(&client))?;
    Ok(())
}
