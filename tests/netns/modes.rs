//! How seriously verdicts are taken: ordered, configured, for a while, for one endpoint, with and without a
//! daemon.

use std::time::{Duration, Instant};

use enforcer::datapath::pins::Pins;
use enforcer::datapath::tables::{Tables, boottime};
use enforcer_common::mode::ModeRecord;
use enforcer_tests::daemon::{DEFAULT_CONFIG, PATIENCE};
use enforcer_tests::traffic::{ECHO_PORT, ping_soon, tcp, tcp_soon};
use enforcer_tests::{Daemon, Numbered, wait};
use rstest::rstest;
use serde_json::{Value, json};

use crate::town::{POLICY, Town};

/// How long a packet may take to get through once observing was ordered. It takes a few milliseconds; the machine
/// may be busy.
const RESTORED: Duration = Duration::from_secs(1);

impl Town {
    /// Orders a mode, or asks for it.
    #[track_caller]
    fn mode(&self, words: &[&str]) -> Value {
        self.daemon.json(&[&["mode"], words].concat())
    }

    fn gate(&self) -> Value {
        self.daemon.json(&["status"])["gate"]["state"].clone()
    }

    /// Whether what the policy denies passes, from *blue* to *green*.
    fn is_open(&self) -> bool {
        let [v4, v6] =
            [self.db.ipv4(), self.db.ipv6()].map(|address| tcp_soon(&self.web, address, ECHO_PORT));
        assert_eq!(v4, v6, "both families are judged alike");
        v4
    }
}

fn pass(time: Duration) {
    let end = Instant::now() + time;
    wait::until("time has passed", time * 10, || (Instant::now() >= end).then_some(()));
}

#[rstest]
#[case::alive(false)]
#[case::dead(true)]
fn observing_restores_what_was_cut_at_once(#[case] dead: bool) {
    let mut town = Town::governed(if dead { "obsdead" } else { "obsalive" });
    assert!(!town.is_open());
    assert_eq!(town.gate(), "on");
    if dead {
        town.daemon.kill();
    }
    let cut = Numbered::new(&town.web, &town.db, town.db.ipv4()).rate(1000).start();
    pass(Duration::from_millis(50));
    let ordered = Instant::now();
    let modes = town.mode(&["observe"]);
    let done = ordered.elapsed();
    pass(Duration::from_millis(200));
    let report = cut.finish();
    let first = report.first.expect("nothing passes");
    assert!(first >= ordered, "it was open before");
    let first = first - ordered;
    println!(
        "daemon dead: {dead}; the first packet came {first:?} after the command began, which took {done:?}"
    );
    assert!(first < RESTORED, "the first packet came after {first:?}");
    assert_eq!((&modes["host"]["mode"], &modes["host"]["by"]), (&json!("observe"), &json!("ordered")));
    assert!(town.is_open());
    assert_eq!(town.gate(), "off");
    // Not even a workload that nothing is attached to is held back.
    let late = town.host.workload("late").at("10.9.0.5/24").at("2001:db8:9::5/64").routed();
    assert!(tcp(&late, town.web.ipv4(), ECHO_PORT) && tcp(&late, town.db.ipv6(), ECHO_PORT));
    drop(late);
    assert_eq!(
        town.mode(&["configured"])["host"],
        json!({
            "mode": "enforce", "by": "host file", "seconds_left": null, "then": null
        })
    );
    assert!(!town.is_open());
    if dead {
        town.daemon.start_again();
    }
    assert_eq!(town.gate(), "on");
}

#[test]
fn auditing_drops_what_is_forged_and_nothing_else() {
    let town = Town::governed("audit");
    town.mode(&["audit"]);
    assert!(town.is_open());
    assert_eq!(town.gate(), "on");
    let stolen = town.api.ipv4();
    town.web.netns().ip(&format!("address add {stolen}/32 dev lo"));
    let before = town.daemon.dropped("spoofed-source");
    let target = std::net::SocketAddr::new(town.db.ipv4(), 9);
    town.web.netns().enter(|| {
        let socket = std::net::UdpSocket::bind((stolen, 0)).unwrap();
        socket.send_to(b"forged", target).unwrap();
    });
    assert_eq!(town.daemon.dropped("spoofed-source") - before, 1);
}

#[rstest]
#[case::alive(false)]
#[case::dead(true)]
fn an_order_for_a_while_ends_by_itself(#[case] dead: bool) {
    let mut town = Town::governed(if dead { "fordead" } else { "foralive" });
    let modes = town.mode(&["observe", "--for", "3s"]);
    assert_eq!(modes["host"]["then"], "enforce");
    assert!(modes["host"]["seconds_left"].as_u64().is_some_and(|left| (1..=3).contains(&left)), "{modes}");
    let tables = Tables::open_pinned(&Pins::new(town.daemon.bpffs())).unwrap();
    let until = tables.mode(0).unwrap().until;
    let end = Instant::now() + Duration::from_nanos(until - boottime());
    let open = Numbered::new(&town.web, &town.db, town.db.ipv4()).rate(1000).start();
    if dead {
        town.daemon.kill();
    }
    let over = until + Duration::from_millis(300).as_nanos() as u64;
    wait::until("the order is over", PATIENCE, || (boottime() > over).then_some(()));
    let last = open.finish().last.expect("nothing passed");
    println!(
        "daemon dead: {dead}; the last packet passed {:?} after the end",
        last.saturating_duration_since(end)
    );
    assert!(last < end + RESTORED, "it went on for {:?}", last - end);
    assert!(last + RESTORED > end, "it ended before its time");
    assert!(!town.is_open());
    assert_eq!(town.mode(&[])["host"]["by"], "host file");
    if dead {
        town.daemon.start_again();
    }
    wait::until("the gate is closed again", PATIENCE, || (town.gate() == "on").then_some(()));
}

#[test]
fn an_endpoint_has_a_mode_of_its_own_until_the_host_is_given_one() {
    let mut town = Town::governed("modeof");
    town.mode(&["observe", "--endpoint", "veth-web"]);
    assert!(!town.is_open(), "whoever receives enforces");
    let modes = town.mode(&["audit", "--endpoint", "veth-db"]);
    assert!(town.is_open());
    let differ: Vec<_> = modes["endpoints"].as_array().unwrap().iter().map(|it| &it["endpoint"]).collect();
    assert_eq!(differ, ["veth-db", "veth-web"]);
    assert!(
        !tcp_soon(&town.web, town.api.ipv4(), 1) && !ping_soon(&town.api, town.db.ipv4()),
        "api enforces"
    );
    let status = town.daemon.json(&["status"]);
    assert_eq!((&status["mode"]["mode"], &status["endpoints_other_mode"]), (&json!("enforce"), &json!(2)));
    assert_eq!(town.daemon.json(&["endpoints", "veth-web"])[0]["mode"], "observe");
    town.daemon.restart();
    assert!(town.is_open(), "orders outlive the daemon");
    town.mode(&["enforce"]);
    assert!(!town.is_open(), "the latest order wins");
    assert_eq!(town.mode(&[])["endpoints"], json!([]));
    let unknown = town.daemon.cli(&["mode", "audit", "--endpoint", "veth-nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no endpoint veth-nobody"), "{unknown:?}");
}

#[test]
fn a_reload_changes_the_configured_mode_and_no_order() {
    let mut town = Town::build_with("modeconf", &format!("mode = \"observe\"\n{DEFAULT_CONFIG}"));
    town.daemon.apply(POLICY);
    assert!(town.is_open());
    assert_eq!(town.gate(), "off");
    town.daemon.restart();
    assert!(town.is_open());
    town.daemon.reload(DEFAULT_CONFIG);
    assert!(!town.is_open());
    assert_eq!(town.gate(), "on");
    town.mode(&["observe"]);
    town.daemon.reload(&format!("mode = \"audit\"\n{DEFAULT_CONFIG}"));
    assert_eq!(town.mode(&[])["host"]["mode"], "observe");
    assert_eq!(town.mode(&["configured"])["host"]["mode"], "audit");
    let endpoint = "[[endpoint]]\nmatch = \"veth-db\"\nmode = \"enforce\"\n";
    town.daemon.reload(&format!("mode = \"audit\"\n{DEFAULT_CONFIG}{endpoint}"));
    assert!(!town.is_open());
    assert_eq!(
        town.mode(&[])["endpoints"][0],
        json!({
            "endpoint": "veth-db", "mode": "enforce", "by": "host file", "seconds_left": null, "then": null
        })
    );
    town.daemon.reload(&format!("mode = \"audit\"\n{DEFAULT_CONFIG}"));
    assert!(town.is_open());
}

#[test]
fn what_the_host_file_says_of_modes_is_mended() {
    let town =
        Town::build_with("modemend", &format!("inspection = \"200ms\"\nmode = \"audit\"\n{DEFAULT_CONFIG}"));
    town.daemon.apply(POLICY);
    let mut tables = Tables::open_writable(&Pins::new(town.daemon.bpffs())).unwrap();
    tables.set_mode(0, ModeRecord::default()).unwrap();
    wait::until("the mode is mended", PATIENCE, || (town.mode(&[])["host"]["mode"] == "audit").then_some(()));
    assert_eq!(town.daemon.json(&["status"])["last_repair"], "the mode of the host");
}

#[test]
fn only_admins_order_modes_and_every_order_is_logged() {
    let town = Town::governed("modelog");
    town.mode(&["audit"]);
    assert!(town.daemon.log().contains("path=\"/v1/mode\""), "{}", town.daemon.log());
    let text = town.daemon.cli(&["mode", "observe", "--for", "15m"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.starts_with("host:  observe, ordered, 15m left, then enforce")
            || text.starts_with("host:  observe, ordered, 14m left, then enforce"),
        "{text}"
    );
    let status = town.daemon.cli(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("mode:         observe, ordered"), "{status:?}");
}

/// A daemon that does not run is not started by an order.
#[test]
fn without_daemon_and_tables_nobody_takes_an_order() {
    let host = enforcer_tests::Host::new("modenone");
    let daemon = Daemon::prepare(&host, DEFAULT_CONFIG);
    assert_eq!(daemon.cli(&["mode", "observe"]).status.code(), Some(3));
}
