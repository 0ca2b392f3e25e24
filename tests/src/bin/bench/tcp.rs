//! What TCP between two workloads makes of a host: bytes of one stream, questions and answers, and new connections, each
//! with plain sockets and the receiver on another processor than the sender. Rungs are compared within a round.

use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use enforcer_tests::packet::{BLUE_A, BLUE_B, Family};
use enforcer_tests::{Host, NetNs, Workload};

use crate::Thoroughness;
use crate::ladder::Rung;
use crate::results::{Goal, Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{processor, rounds};

const RUNGS: [Rung; 4] = [Rung::Routing, Rung::IptablesLegacy(10), Rung::IptablesNft(10), Rung::Enforcer(2)];
/// How long each is measured in a round.
const SLICE: Duration = Duration::from_millis(150);
const ROUNDS: usize = 40;
const PORT: u16 = 5001;
const CHUNK: usize = 128 * 1024;
/// What a client begins with: it will send a stream, or bytes to be echoed.
const STREAM: u8 = b's';
const ECHO: u8 = b'e';

/// Measures one rung once.
type Measure = fn(&Standing, Family) -> io::Result<f64>;

/// What is measured, and how many times plain routing it should be.
const MEASURES: [(&str, Unit, Measure, f64); 3] = [
    ("one stream", Unit::GigabitsPerSecond, stream, 1.0),
    ("requests and responses", Unit::PerSecond, requests, 1.05),
    ("connections", Unit::PerSecond, connections, 1.1),
];

/// A rung with its host and its workloads.
struct Standing {
    rung: Rung,
    a: Workload,
    _b: Workload,
    _kept: Option<Box<dyn Any>>,
    _host: Host,
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\ntcp: between two workloads, and times plain routing");
    processor::stay_on(processor::OTHERS);
    let standings: Vec<Standing> =
        RUNGS.into_iter().enumerate().map(|(number, rung)| stand(number, rung)).collect();
    processor::stay_on(processor::SENDER);
    for family in Family::BOTH {
        for (what, unit, measure, goal) in MEASURES {
            let mut values = vec![Vec::new(); standings.len()];
            for round in 0..thoroughness.of(ROUNDS) {
                for at in rounds::order(round, standings.len()) {
                    let value = measure(&standings[at], family);
                    values[at]
                        .push(value.unwrap_or_else(|error| {
                            panic!("{what}, {}: {error}", standings[at].rung.name())
                        }));
                }
            }
            report(what, unit, family, &values, goal, results);
        }
    }
}

fn stand(number: usize, rung: Rung) -> Standing {
    let host = Host::new(&format!("tcp{number}"));
    let workload = |name, party: enforcer_tests::packet::Party| {
        let [v4, v6] = Family::BOTH.map(|family| party.on(family));
        host.workload(name).at(&format!("{v4}/24")).at(&format!("{v6}/64")).routed()
    };
    let (a, b) = (workload("a", BLUE_A), workload("b", BLUE_B));
    // A client that closes leaves its port behind for a minute.
    a.netns().sysctls(&[("net/ipv4/tcp_tw_reuse", "1"), ("net/ipv4/ip_local_port_range", "1024 65535")]);
    for family in Family::BOTH {
        serve(b.netns(), BLUE_B.on(family)).unwrap_or_else(|error| panic!("no server: {error}"));
    }
    let kept = rung.set_up(&host, &[a.interface(), b.interface()]);
    Standing { rung, a, _b: b, _kept: kept, _host: host }
}

fn report(what: &str, unit: Unit, family: Family, values: &[Vec<f64>], goal: f64, results: &mut Results) {
    let routing = &values[0];
    println!("  {family:?}, {what}");
    for (rung, own) in RUNGS.into_iter().zip(values) {
        let times = Estimate::of(own.iter().zip(routing).map(|(own, routing)| own / routing));
        let value = Estimate::of(own.iter().copied());
        let of = format!("{what}, {family:?}");
        let row = Row {
            part: "tcp".into(),
            of: of.clone(),
            what: rung.name(),
            unit,
            value,
            times,
            of_what: "plain routing".into(),
        };
        println!("    {row}");
        results.rows.push(row);
        if rung == Rung::Enforcer(2) {
            results.goals.push(Goal::at_least(
                "tcp",
                format!("TCP: {of}, against {}", Rung::Routing.name()),
                goal,
                times,
            ));
        }
    }
}

/// Gigabits per second.
fn stream(standing: &Standing, family: Family) -> io::Result<f64> {
    let mut connection = connect(standing, family, STREAM)?;
    let chunk = vec![0; CHUNK];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < SLICE {
        bytes += connection.write(&chunk)?;
    }
    connection.shutdown(Shutdown::Write)?;
    // The server says when it has all.
    connection.read_exact(&mut [0])?;
    Ok(bytes as f64 * 8.0 / start.elapsed().as_nanos() as f64)
}

fn requests(standing: &Standing, family: Family) -> io::Result<f64> {
    let mut connection = connect(standing, family, ECHO)?;
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < SLICE {
        connection.write_all(&[0])?;
        connection.read_exact(&mut [0])?;
        count += 1.0;
    }
    Ok(count / start.elapsed().as_secs_f64())
}

/// Each with one question and one answer.
fn connections(standing: &Standing, family: Family) -> io::Result<f64> {
    standing.a.netns().enter(|| {
        let (start, mut count) = (Instant::now(), 0.0);
        while start.elapsed() < SLICE {
            let mut connection = TcpStream::connect((BLUE_B.on(family), PORT))?;
            connection.write_all(&[ECHO, 0])?;
            connection.read_exact(&mut [0])?;
            count += 1.0;
        }
        Ok(count / start.elapsed().as_secs_f64())
    })
}

fn connect(standing: &Standing, family: Family, first: u8) -> io::Result<TcpStream> {
    let to = SocketAddr::from((BLUE_B.on(family), PORT));
    let mut connection = standing.a.netns().enter(|| TcpStream::connect(to))?;
    connection.set_nodelay(true)?;
    connection.write_all(&[first])?;
    Ok(connection)
}

/// Serves one connection after the other, for as long as the benchmark runs.
fn serve(netns: &NetNs, address: IpAddr) -> io::Result<()> {
    let listener = netns.enter(|| TcpListener::bind((address, PORT)))?;
    thread::spawn(move || {
        processor::stay_on(processor::OTHERS);
        for connection in listener.incoming() {
            // Who goes away is not served to the end.
            connection.and_then(answer).ok();
        }
    });
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
