//! Enforcement begins under traffic: what went on before goes on.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use enforcer_tests::connection::{Connection, hears};
use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::traffic::{ECHO_PORT, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host, Workload};

/// Only web may open, and only ssh.
const POLICY: &str = r#"
version = 1
[network.web]
prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
[network.db]
prefixes = ["10.9.0.0/24", "2001:db8:9::/64"]
[[rule]]
name = "ssh"
from = ["web"]
to = ["db"]
allow = ["tcp/22"]
"#;

/// What makes the kernel track connections: any rule that asks for it.
const TRACKED: &str = "add table inet track; \
    add chain inet track forward { type filter hook forward priority 0; }; \
    add rule inet track forward ct state new,established counter";

/// How long a byte may take that passes; and one that TCP repeats while it does not.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connections from before there was an enforcer, whose clients are idle.
struct Before {
    host: Host,
    web: Workload,
    db: Workload,
    /// The ones that the policy will admit, in both families.
    ssh: [Connection; 2],
    /// One that it will not.
    telnet: Connection,
}

impl Before {
    #[track_caller]
    fn build(tracked: bool, name: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let db = host.workload("db").at("10.9.0.5/24").at("2001:db8:9::5/64").routed();
        if tracked {
            let output = host.netns().run("nft", &[TRACKED]);
            assert!(output.status.success(), "{output:?}");
        }
        let open = |address, port| {
            let connection = Connection::open(&web, &db, SocketAddr::new(address, port)).unwrap();
            connection.upload(1).unwrap();
            connection.download(1).unwrap();
            connection
        };
        let ssh = [db.ipv4(), db.ipv6()].map(|address| open(address, 22));
        let telnet = open(db.ipv4(), 23);
        Self { host, web, db, ssh, telnet }
    }
}

/// The daemon's very first start on this host, with a policy in its files.
fn enforce(host: &Host, workloads: [&Workload; 2]) -> (Daemon, tempfile::NamedTempFile) {
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), POLICY).unwrap();
    let files = format!("policy = [\"{}\"]", policy.path().display());
    let daemon = Daemon::start_with(host, &DEFAULT_CONFIG.replace("policy = []", &files));
    daemon.wait_ready(&workloads.map(Workload::interface));
    (daemon, policy)
}

#[test]
fn a_tracked_conversation_goes_on_although_its_client_is_idle() {
    let Before { host, web, db, ssh, mut telnet } = Before::build(true, "adopted");
    let (daemon, _policy) = enforce(&host, [&web, &db]);
    for mut connection in ssh {
        connection.server.write_all(b"!").unwrap();
        assert!(hears(&connection.client, PATIENCE), "the server speaks first:\n{}", daemon.log());
        connection.upload(1).unwrap();
    }
    assert!(!tcp_soon(&db, web.ipv4(), ECHO_PORT), "and nothing else of its");
    telnet.server.write_all(b"!").unwrap();
    assert!(!hears(&telnet.client, Duration::from_secs(1)), "no rule admits this one");
    telnet.client.write_all(b"?").unwrap();
    assert!(!hears(&telnet.server, Duration::from_secs(1)), "nor its other direction");
    assert!(daemon.log().contains("connection tracking knows"), "{}", daemon.log());
}

#[test]
fn an_untracked_one_goes_on_once_its_client_speaks() {
    let Before { host, web, db, ssh: [mut connection, _], .. } = Before::build(false, "unadopted");
    let (_daemon, _policy) = enforce(&host, [&web, &db]);
    connection.server.write_all(b"!").unwrap();
    assert!(!hears(&connection.client, Duration::from_secs(1)), "nobody knows who opened it");
    // The packet that the rule admits says so, and what waited is sent again.
    connection.client.write_all(b"?").unwrap();
    assert!(hears(&connection.client, Duration::from_secs(10)));
}

#[test]
fn the_guide_leads_from_drops_to_a_policy_under_which_they_pass() {
    let host = Host::new("guide");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
    let db = host.workload("db").at("10.9.0.5/24").bridged();
    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[&web, &api, &db].map(Workload::interface));
    let talks = || {
        let pairs = [(&web, &api, api.ipv4()), (&api, &web, web.ipv6()), (&web, &db, db.ipv4())];
        pairs.map(|(from, _, address)| tcp_soon(from, address, ECHO_PORT))
    };
    assert_eq!(talks(), [false; 3]);
    let advice = daemon.json(&["adopt"]);
    assert_eq!(advice["next"][0]["command"], "enforcer mode observe", "{advice}");
    let file = daemon.directory().join("adopted.toml");
    let path = file.to_str().unwrap();
    for (command, succeeds) in [
        (&["adopt", "--write", path][..], true),
        (&["adopt", "--write", path], false),
        (&["check", path], true),
        (&["plan", path], true),
        (&["apply", path], true),
    ] {
        let output = daemon.cli(command);
        assert_eq!(output.status.success(), succeeds, "{command:?}: {output:?}");
    }
    assert_eq!(talks(), [true; 3], "{}", std::fs::read_to_string(&file).unwrap());
    assert!(!tcp_soon(&db, web.ipv4(), ECHO_PORT), "and nothing that was never seen");
    let denied = &daemon.json(&["adopt"])["denied"];
    assert_eq!((&denied[0]["src"], &denied[0]["dst"]), (&"veth-db".into(), &"veth-web".into()), "{denied}");
    daemon.json(&["adopt"]);
}

#[test]
fn a_first_day_in_observe_drops_nothing_and_ends_enforced() {
    let host = Host::new("firstday");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let db = host.workload("db").at("10.9.0.5/24").bridged();
    let daemon = Daemon::start_with(&host, &format!("mode = \"observe\"\n{DEFAULT_CONFIG}"));
    daemon.wait_ready(&[&web, &db].map(Workload::interface));
    let talks = || [tcp_soon(&web, db.ipv4(), ECHO_PORT), tcp_soon(&db, web.ipv4(), ECHO_PORT)];
    assert!(tcp(&web, db.ipv4(), ECHO_PORT), "nothing is dropped");
    let file = daemon.directory().join("adopted.toml");
    let path = file.to_str().unwrap();
    for command in [&["adopt", "--write", path][..], &["check", path], &["apply", path]] {
        let output = daemon.cli(command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    let draft = std::fs::read_to_string(&file).unwrap();
    let rule = "from = [\"10.1.0.5/32\"]\nto = [\"10.9.0.5/32\"]\nallow = [\"tcp/5432\"]";
    assert!(draft.contains(rule), "one direction, one service: {draft}");
    let advice = daemon.json(&["adopt"]);
    assert_eq!((&advice["denied"], &advice["draft"]), (&serde_json::json!([]), &serde_json::Value::Null));
    assert_eq!(advice["next"][0]["command"], "enforcer mode audit --for 1h", "{advice}");
    assert!(daemon.cli(&["mode", "audit", "--for", "1h"]).status.success());
    assert_eq!(talks(), [true, true], "what the policy denies passes, counted");
    let denied = &daemon.json(&["adopt"])["denied"];
    assert_eq!((&denied[0]["src"], &denied[0]["dst"]), (&"veth-db".into(), &"veth-web".into()), "{denied}");
    assert!(daemon.cli(&["mode", "enforce", "--for", "10m"]).status.success());
    assert_eq!(talks(), [true, false]);
}
