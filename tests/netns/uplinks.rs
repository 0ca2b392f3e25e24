//! What comes from outside, at interfaces that the host file calls uplinks.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::traffic::{ECHO_PORT, ping, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host, NetNs, Workload, wait};
use serde_json::json;

/// The outside bears addresses of *blue*.
const POLICY: &str = r#"
version = 1
[network.blue]
prefixes = ["10.1.0.0/24", "2001:db8:1::/64", "198.51.100.0/24", "2001:db8:99::/64"]
"#;

struct Scene {
    web: Workload,
    outside: Workload,
    daemon: Daemon,
    host: Host,
}

fn config(trust: &str) -> String {
    format!(
        "{DEFAULT_CONFIG}[[uplink]]\nmatch = \"*up0\"\ntrust = \"{trust}\"\n[host]\nfailsafe = [\"tcp/2222\"]\n"
    )
}

impl Scene {
    /// The uplink's name would make it a workload's.
    #[track_caller]
    fn build(name: &str, trust: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let outside = host.workload("outside").at("198.51.100.9/24").at("2001:db8:99::9/64");
        let outside = outside.behind("veth-up0").routed();
        let daemon = Daemon::start_with(&host, &config(trust));
        daemon.wait_ready(&["veth-web"]);
        daemon.apply(POLICY);
        Self { web, outside, daemon, host }
    }

    /// Whether the outside reaches a workload of its network; both families alike.
    fn reaches_web(&self) -> bool {
        let [v4, v6] = [self.web.ipv4(), self.web.ipv6()].map(|to| tcp_soon(&self.outside, to, ECHO_PORT));
        assert_eq!(v4, v6, "both families are judged alike");
        v4
    }
}

/// Sends datagrams that nobody answers.
fn send(from: &NetNs, source: IpAddr, to: IpAddr, count: usize) {
    from.enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(source, 45001)).expect("the address is configured");
        for _ in 0..count {
            socket.send_to(b"counted", SocketAddr::new(to, 9)).expect("a datagram can be sent");
        }
    });
}

#[test]
fn an_uplink_is_no_workload_and_told_with_its_trust() {
    let scene = Scene::build("upword", "fabric");
    let endpoints = scene.daemon.json(&["endpoints"]);
    assert_eq!(endpoints.as_array().unwrap().len(), 1, "{endpoints}");
    let uplinks = &scene.daemon.json(&["status"])["uplinks"];
    assert_eq!((&uplinks[0]["interface"], &uplinks[0]["trust"]), (&json!("veth-up0"), &json!("fabric")));
    assert!(scene.reaches_web(), "members may be on other hosts");
    assert!(ping(&scene.outside, HOST_IPV4.into()) && ping(&scene.outside, HOST_IPV6.into()));
    assert_eq!(scene.daemon.json(&["status"])["repairs"], 0);
}

#[test]
fn nobody_outside_pretends_to_be_from_here() {
    let scene = Scene::build("upspoof", "fabric");
    for (stolen, host) in [(scene.web.ipv4(), IpAddr::from(HOST_IPV4)), (scene.web.ipv6(), HOST_IPV6.into())]
    {
        // Else the kernel would ask for its gateway in the stolen name, and get no answer.
        assert!(ping(&scene.outside, host), "{host}");
        let (length, nodad) = if stolen.is_ipv4() { (32, "") } else { (128, " nodad") };
        scene.outside.netns().ip(&format!("address add {stolen}/{length} dev lo{nodad}"));
        let before = scene.daemon.dropped("spoofed-outside");
        send(scene.outside.netns(), stolen, host, 15);
        wait::until(&format!("15 as {stolen} are dropped"), Duration::from_secs(5), || {
            (scene.daemon.dropped("spoofed-outside") - before == 15).then_some(())
        });
    }
    let recent = scene.daemon.json(&["drops"])["recent"].clone();
    assert!(recent.to_string().contains("from-uplink"), "{recent}");
}

#[test]
fn nobody_beyond_an_external_uplink_is_a_member_but_failsafe_services_stay_open() {
    let scene = Scene::build("upext", "external");
    assert!(!scene.reaches_web());
    assert!(scene.daemon.dropped("spoofed-outside") > 0);
    let _echoes = [ECHO_PORT, 2222].map(|port| enforcer_tests::echo::Echo::start(scene.host.netns(), port));
    for host in [IpAddr::from(HOST_IPV4), HOST_IPV6.into()] {
        assert!(!tcp_soon(&scene.outside, host, ECHO_PORT), "{host}");
        assert!(tcp(&scene.outside, host, 2222), "{host}");
    }
    // Trust is a fact: it counts with the reload, both ways.
    scene.daemon.reload(&config("fabric"));
    assert!(scene.reaches_web());
    scene.daemon.reload(&config("external"));
    assert!(!scene.reaches_web());
    scene.daemon.json(&["mode", "observe"]);
    assert!(scene.reaches_web(), "observing drops nothing at uplinks either");
}

#[test]
fn uplinks_outlive_their_daemon_are_mended_and_go_with_their_table() {
    let mut scene = Scene::build("uplife", "external");
    scene.daemon.kill();
    assert!(!scene.reaches_web());
    scene.daemon.start_again();
    assert!(!scene.reaches_web());
    scene.daemon.reload(DEFAULT_CONFIG);
    // It is a workload now, and its addresses are its own: a member like others.
    scene.daemon.wait_ready(&["veth-up0"]);
    assert!(scene.reaches_web());
    assert_eq!(scene.daemon.json(&["status"])["uplinks"], json!([]));
    scene.daemon.stop();
    assert!(scene.daemon.cli(&["clean"]).status.success());
    let check = scene.daemon.cli(&["clean", "--check"]);
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn guard_and_uplink_share_one_record() {
    let guarded = format!("{}[guard]\nmatch = [\"veth-up0\"]\n", config("external"));
    let scene = Scene::build("upguard", "external");
    scene.daemon.reload(&guarded);
    assert_eq!(scene.daemon.json(&["status"])["guards"][0]["role"], "uplink");
    assert!(!scene.reaches_web());
    scene
        .daemon
        .reload(&format!("{DEFAULT_CONFIG}exclude = [\"veth-up0\"]\n[guard]\nmatch = [\"veth-up0\"]\n"));
    assert!(scene.reaches_web(), "the guard alone trusts members");
    assert!(ping(&scene.outside, HOST_IPV4.into()), "its record is still there");
    scene.daemon.reload(&config("external"));
    assert!(!scene.reaches_web());
    assert_eq!(scene.daemon.json(&["status"])["guards"], json!([]));
}
