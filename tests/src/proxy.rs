//! What Docker's proxy does: a program on a host takes connections, and opens one to somebody else for each.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::netns::NetNs;

/// How long it takes to connect at most.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running proxy. It ends with the process.
#[derive(Debug)]
pub struct Proxy(Arc<AtomicUsize>);

impl Proxy {
    /// Leads from a TCP port of all of the host's addresses to `to`.
    #[track_caller]
    pub fn start(host: &NetNs, port: u16, to: SocketAddr) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        // A thread is where its parent is.
        host.enter(|| {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("the port is free");
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    counter.fetch_add(1, Ordering::Relaxed);
                    thread::spawn(move || lead(&client, to));
                }
            });
        });
        Self(accepted)
    }

    /// Connections that it took.
    pub fn accepted(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Carries bytes both ways until one of them has no more.
fn lead(client: &TcpStream, to: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&to, PATIENCE) else { return };
    thread::scope(|scope| {
        scope.spawn(|| io::copy(&mut &*client, &mut &server));
        io::copy(&mut &server, &mut &*client).ok();
    });
}
