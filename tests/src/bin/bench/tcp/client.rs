//! What clients ask for, each for a slice of time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use enforcer_tests::packet::{BLUE_B, Family};

use super::{CHUNK, ECHO, PORT, STREAM, STREAMS};
use crate::pair::Pair;
use crate::statistics::quantile;

/// How long each is measured in a round.
const SLICE: Duration = Duration::from_millis(150);

/// Gigabits per second.
pub fn stream(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    together(pair, family, 1)
}

/// Gigabits per second of all together.
pub fn streams(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    together(pair, family, STREAMS)
}

fn together(pair: &Pair, family: Family, count: usize) -> Result<Vec<f64>> {
    let connections: Vec<TcpStream> =
        (0..count).map(|_| connect(pair, family, STREAM)).collect::<Result<_>>()?;
    let start = Instant::now();
    let bytes = thread::scope(|scope| {
        let sending: Vec<_> =
            connections.into_iter().map(|connection| scope.spawn(move || send(connection, start))).collect();
        sending.into_iter().map(|thread| thread.join().expect("it told why")).sum::<Result<usize>>()
    })?;
    Ok(vec![bytes as f64 * 8.0 / start.elapsed().as_nanos() as f64])
}

/// Sends until the slice is over; returns how many bytes, all of which have arrived.
fn send(mut connection: TcpStream, start: Instant) -> Result<usize> {
    let chunk = vec![0; CHUNK];
    let mut bytes = 0;
    while start.elapsed() < SLICE {
        bytes += connection.write(&chunk)?;
    }
    connection.shutdown(Shutdown::Write)?;
    // The server says when it has all.
    connection.read_exact(&mut [0])?;
    Ok(bytes)
}

/// Answers per second, and how long half of them took at most, and 99 of 100; microseconds.
pub fn requests(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    let mut connection = connect(pair, family, ECHO)?;
    let (start, mut waits) = (Instant::now(), Vec::new());
    let mut before = Duration::ZERO;
    while before < SLICE {
        connection.write_all(&[0])?;
        connection.read_exact(&mut [0])?;
        let now = start.elapsed();
        waits.push(now.saturating_sub(before).as_nanos() as f64 / 1e3);
        before = now;
    }
    Ok(vec![waits.len() as f64 / before.as_secs_f64(), quantile(&waits, 0.5), quantile(&waits, 0.99)])
}

/// Connections per second, each with one question and one answer.
pub fn connections(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    pair.a.netns().enter(|| {
        let (start, mut count) = (Instant::now(), 0.0);
        while start.elapsed() < SLICE {
            let mut connection = TcpStream::connect((BLUE_B.on(family), PORT))?;
            connection.write_all(&[ECHO, 0])?;
            connection.read_exact(&mut [0])?;
            count += 1.0;
        }
        Ok(vec![count / start.elapsed().as_secs_f64()])
    })
}

fn connect(pair: &Pair, family: Family, first: u8) -> Result<TcpStream> {
    let to = SocketAddr::from((BLUE_B.on(family), PORT));
    let connection = pair.a.netns().enter(|| TcpStream::connect(to));
    let mut connection = connection.with_context(|| format!("no connection to {to}"))?;
    connection.set_nodelay(true)?;
    connection.write_all(&[first])?;
    Ok(connection)
}
