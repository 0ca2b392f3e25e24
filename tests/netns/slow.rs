//! Clients that are slow, and many: nobody keeps others from the control socket for long.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use enforcer_tests::{Daemon, Host, wait};

use crate::control::exchange;

/// More than the daemon serves at once, which is 64.
const CROWD: usize = 70;

const QUESTION: &[u8] = b"GET /v1/status HTTP/1.1\r\nhost: e\r\n\r\n";

#[test]
fn who_never_ends_his_request_is_sent_away() {
    let host = Host::new("slowloris");
    let daemon = Daemon::start(&host);
    let mut crowd: Vec<UnixStream> =
        (0..CROWD).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    for stream in &mut crowd {
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nx-slow: ").unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    let started = Instant::now();
    let answer = exchange(&daemon.socket(), QUESTION);
    assert!(answer.starts_with("HTTP/1.1 200 "), "after {:?}: {answer:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(15), "answered after {:?}", started.elapsed());
    wait::until("all of the crowd are sent away", Duration::from_secs(15), || {
        crowd.retain_mut(|stream| {
            // A byte now and then buys no time.
            stream.write_all(b"x").is_ok()
                && stream
                    .read(&mut [0; 64])
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        });
        crowd.is_empty().then_some(())
    });
}

#[test]
fn who_does_not_read_his_answer_holds_up_nobody() {
    let host = Host::new("slowreader");
    let daemon = Daemon::start(&host);
    let networks =
        (0..8000).map(|n| format!("[network.n{n}]\nprefixes = [\"10.{}.{}.0/24\"]\n", n / 250, n % 250));
    daemon.apply(&format!("version = 1\n{}", networks.collect::<String>()));
    let question = b"GET /v1/policy HTTP/1.1\r\nhost: e\r\n\r\n";
    let size = exchange(&daemon.socket(), question).len();
    assert!(size > 256 * 1024, "{size} bytes would fit the socket's buffer");
    let readers: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.write_all(question).unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        let started = Instant::now();
        let answer = exchange(&daemon.socket(), QUESTION);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        // A machine that is busy writing their answers is slow; one that waits for them to read takes a minute.
        assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    }
    drop(readers);
}

#[test]
fn two_hundred_at_once_are_all_answered() {
    let host = Host::new("crowd");
    let daemon = Daemon::start(&host);
    let socket = daemon.socket();
    let answers: Vec<String> = thread::scope(|scope| {
        let asking: Vec<_> = (0..200).map(|_| scope.spawn(|| exchange(&socket, QUESTION))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let refused: Vec<&String> =
        answers.iter().filter(|answer| !answer.starts_with("HTTP/1.1 200 ")).collect();
    assert!(refused.is_empty(), "{} of 200 were not answered, one so: {:?}", refused.len(), refused[0]);
}
