//! The daemon as systemd sees it: ready, reloading, alive, stopping; and what it logs.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use enforcer_tests::daemon::{DEFAULT_CONFIG, PATIENCE};
use enforcer_tests::{Daemon, Host, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::town::POLICY;

/// Stands in for systemd.
struct Supervisor {
    socket: UnixDatagram,
}

impl Supervisor {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// Whether nobody can tell anything more until something is read.
    fn is_full(&self) -> bool {
        let address = self.socket.local_addr().unwrap();
        let teller = UnixDatagram::unbound().unwrap();
        teller.set_nonblocking(true).unwrap();
        let told = teller.send_to(b"WATCHDOG=1", address.as_pathname().unwrap());
        told.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What the daemon says next, but for the watchdog's sake.
    #[track_caller]
    fn hear(&self) -> String {
        loop {
            let heard = self.hear_anything();
            if heard != "WATCHDOG=1" {
                return heard;
            }
        }
    }

    #[track_caller]
    fn hear_anything(&self) -> String {
        let mut message = [0; 512];
        let length = self.socket.recv(&mut message).expect("the daemon says something in time");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    }
}

/// A daemon that tells the supervisor, with further words of the environment.
fn supervised(host: &Host, environment: &[&str]) -> (Daemon, Supervisor) {
    let mut daemon = Daemon::prepare(host, DEFAULT_CONFIG);
    let path = daemon.directory().join("notify");
    let supervisor = Supervisor::listen(&path);
    let address = format!("NOTIFY_SOCKET={}", path.display());
    daemon.wrap(&[&["env", &address], environment].concat());
    daemon.start_again();
    (daemon, supervisor)
}

#[test]
fn readiness_reloads_and_the_end_are_told() {
    let host = Host::new("notify");
    let (mut daemon, supervisor) = supervised(&host, &[]);
    assert_eq!(supervisor.hear(), "READY=1");
    daemon.configure("no TOML");
    for _ in 0..2 {
        daemon.signal(Signal::SIGHUP);
        let reloading = supervisor.hear();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{reloading:?}");
        assert_eq!(supervisor.hear(), "READY=1");
        daemon.configure(DEFAULT_CONFIG);
    }
    daemon.stop();
    assert_eq!(supervisor.hear(), "STOPPING=1");
}

#[test]
fn ready_means_that_the_saved_policy_decides_at_every_workload() {
    let host = Host::new("notifyready");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let (mut daemon, supervisor) = supervised(&host, &[]);
    supervisor.hear();
    daemon.apply(POLICY);
    daemon.stop();
    supervisor.hear();
    // As after a reboot: nothing is pinned.
    let pins = fs::read_dir(daemon.bpffs()).unwrap().flatten().map(|entry| entry.path());
    pins.filter(|path| path.is_dir()).for_each(|path| fs::remove_dir_all(path).unwrap());
    let links = daemon.bpffs().join("links");
    let socket = daemon.socket();
    let found = std::thread::scope(|scope| {
        let found = scope.spawn(|| {
            assert_eq!(supervisor.hear(), "READY=1");
            (fs::read_dir(&links).unwrap().count(), socket.exists())
        });
        daemon.start_again();
        found.join().unwrap()
    });
    assert_eq!(found, (2, true), "programs attached to {}, and the socket", web.interface());
    assert!(daemon.log().contains("policy applied"), "{}", daemon.log());
}

#[test]
fn the_watchdog_is_told_twice_as_often_as_it_wants() {
    let host = Host::new("notifydog");
    let (daemon, supervisor) = supervised(&host, &["WATCHDOG_USEC=400000"]);
    let heard = [(); 20].map(|()| (supervisor.hear_anything() == "WATCHDOG=1", Instant::now()));
    assert_eq!(heard.iter().filter(|(is_alive, _)| *is_alive).count(), 19, "all but that it is ready");
    // Those of the start wait in the socket already, into which ten fit.
    let fresh = &heard[12..];
    let took = fresh[7].1 - fresh[0].1;
    assert!(took.as_millis() > 700, "{took:?} for seven pauses");
    // Most come in time, whatever else the machine does.
    let mut pauses: Vec<Duration> = fresh.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    pauses.sort_unstable();
    let often = wait::scaled(Duration::from_millis(300));
    assert!(pauses[3] < often, "400 ms are wanted, 200 ms are half of it: {pauses:?}");
    drop(daemon);
}

/// A supervisor that hangs must not take the daemon with it. Ten messages fit into its socket.
#[test]
fn a_supervisor_that_does_not_listen_stops_nothing() {
    let host = Host::new("notifydeaf");
    let (mut daemon, supervisor) = supervised(&host, &["WATCHDOG_USEC=20000"]);
    wait::until("the socket is full", Duration::from_secs(10), || supervisor.is_full().then_some(()));
    daemon.apply(POLICY);
    assert_eq!(daemon.json(&["status"])["generation"], 1);
    daemon.stop();
}

#[test]
fn the_log_is_text_or_json() {
    let host = Host::new("logs");
    let words = ["sh", "-c", "exec \"$@\" --log-format json", "sh"];
    let mut daemon = Daemon::start_through(&host, DEFAULT_CONFIG, &words);
    daemon.apply(POLICY);
    let log = daemon.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let applied = lines.iter().find(|line| line["fields"]["message"] == "policy applied");
    assert_eq!(applied.map(|line| &line["fields"]["generation"]), Some(&Value::from(1)), "{log}");
    daemon.stop();
    daemon.wrap(&[]);
    daemon.start_again();
    let text = &daemon.log()[log.len()..];
    assert!(text.contains("INFO enforcer::daemon: enforcing endpoints=0 generation=1"), "{text}");
}

/// systemd's journal is at one place only; the daemon sees ours there.
#[test]
fn what_systemd_starts_logs_to_the_journal() {
    let host = Host::new("journal");
    let mut daemon = Daemon::prepare(&host, DEFAULT_CONFIG);
    let run = daemon.directory().join("run");
    fs::create_dir_all(run.join("systemd/journal")).unwrap();
    let journal = Supervisor::listen(&run.join("systemd/journal/socket"));
    let started =
        "mount --bind \"$0\" /run && export JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr) && exec \"$@\"";
    let run = run.to_str().unwrap();
    daemon.wrap(&["unshare", "--mount", "--propagation", "private", "sh", "-c", started, run]);
    daemon.start_again();
    let said = std::iter::repeat_with(|| journal.hear()).find(|message| message.contains("F_GENERATION"));
    let said = said.unwrap();
    assert!(["PRIORITY", "MESSAGE", "enforcing"].iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(daemon.log(), "", "and nowhere else");
}
