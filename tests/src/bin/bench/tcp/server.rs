//! Who serves all clients, for as long as the benchmark runs.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::thread;

use enforcer_tests::{NetNs, processor};

use super::{CHUNK, ECHO, PORT, STREAM, STREAMS};

/// Serves as many connections at a time as there are streams. No thread is made for a connection: that would be measured.
pub fn start(netns: &NetNs, address: IpAddr) -> io::Result<()> {
    let listener = netns.enter(|| TcpListener::bind((address, PORT)))?;
    for _ in 0..STREAMS {
        let listener = listener.try_clone()?;
        thread::spawn(move || {
            processor::stay_on(processor::OTHERS);
            for connection in listener.incoming() {
                // Who goes away is not served to the end.
                connection.and_then(answer).ok();
            }
        });
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut first = [0];
    connection.read_exact(&mut first)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match connection.read(&mut chunk)? {
            0 => break,
            count if first[0] == ECHO => connection.write_all(&chunk[..count])?,
            _ => {}
        }
    }
    // Who sent a stream waits until all is here; of others, a client that is gone would answer with a reset.
    if first[0] == STREAM { connection.write_all(&[0]) } else { Ok(()) }
}
