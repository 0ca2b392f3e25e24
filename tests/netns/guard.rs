//! The early guard: at a veth it drops what the endpoint must not send, at an uplink what is not for here.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use aya::programs::XdpMode;
use enforcer::datapath::load::{Datapath, Options};
use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::traffic::{ECHO_PORT, ping, ping_soon, tcp, tcp_soon, udp};
use enforcer_tests::{Daemon, Host, NetNs, Workload, wait};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

/// The outside shares *blue* with web, nothing with db.
const POLICY: &str = r#"
version = 1
[network.blue]
prefixes = ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:1::/64", "2001:db8:2::/64", "198.51.100.0/24", "2001:db8:99::/64"]
[network.green]
prefixes = ["10.3.0.0/24", "2001:db8:3::/64"]
"#;

/// A host with a way out, guarded at the interfaces named.
struct Scene {
    web: Workload,
    api: Workload,
    db: Workload,
    /// Whoever is beyond the uplink `up0`.
    outside: Workload,
    daemon: Daemon,
    host: Host,
}

impl Scene {
    #[track_caller]
    fn guarded(name: &str, interface: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
        let db = host.workload("db").at("10.3.0.5/24").at("2001:db8:3::5/64").routed();
        let outside =
            host.workload("outside").at("198.51.100.9/24").at("2001:db8:99::9/64").behind("up0").routed();
        let daemon = Daemon::start_with(&host, &config(interface));
        daemon.wait_ready(&[web.interface(), api.interface(), db.interface()]);
        daemon.apply(POLICY);
        Self { web, api, db, outside, daemon, host }
    }
}

fn config(guarded: &str) -> String {
    format!("{DEFAULT_CONFIG}[guard]\nmatch = [\"{guarded}\"]\n")
}

/// Sends datagrams that nobody answers, from an address that is the sender's or not.
fn send(from: &NetNs, source: SocketAddr, to: IpAddr, count: usize) {
    from.enter(|| {
        let socket = UdpSocket::bind(source).expect("the address is configured");
        for _ in 0..count {
            socket.send_to(b"counted", SocketAddr::new(to, 9)).expect("a datagram can be sent");
        }
    });
}

/// Gives a namespace somebody else's address, for sending.
fn steal(thief: &Workload, address: IpAddr) {
    let (length, nodad) = if address.is_ipv4() { (32, "") } else { (128, " nodad") };
    thief.netns().ip(&format!("address add {address}/{length} dev lo{nodad}"));
}

/// Interface, role and mode of every guard.
fn guards(daemon: &Daemon) -> Value {
    let status = daemon.json(&["status"]);
    let guards = status["guards"].as_array().unwrap().iter();
    guards.map(|guard| json!([guard["interface"], guard["role"], guard["mode"]])).collect()
}

fn endpoint(daemon: &Daemon, workload: &Workload) -> Value {
    daemon.json(&["endpoints", workload.interface()])[0].clone()
}

/// The latest drop of a reason.
fn latest(daemon: &Daemon, reason: &str) -> Value {
    wait::until(&format!("a drop with reason {reason} is told"), PATIENCE, || {
        let drops = daemon.json(&["drops"]);
        drops["recent"].as_array().unwrap().iter().find(|drop| drop["reason"] == reason).cloned()
    })
}

#[test]
fn the_guard_of_a_veth_drops_what_its_endpoint_must_not_send() {
    let scene = Scene::guarded("guardveth", "veth-web");
    let Scene { web, api, db, daemon, .. } = &scene;
    assert_eq!(guards(daemon), json!([["veth-web", "veth", "native"]]));
    for (to, count) in [(db.ipv4(), 20), (db.ipv6(), 30)] {
        let (denied, before) = (daemon.dropped("default-deny"), endpoint(daemon, web));
        let own = if to.is_ipv4() { web.ipv4() } else { web.ipv6() };
        send(web.netns(), SocketAddr::new(own, 45001), to, count as usize);
        assert_eq!(daemon.dropped("default-deny") - denied, count, "to {to}");
        let after = endpoint(daemon, web);
        let sent_dropped = |report: &Value| report["counters"]["sent_dropped"]["packets"].as_u64().unwrap();
        assert_eq!(sent_dropped(&after) - sent_dropped(&before), count);
    }
    let told = latest(daemon, "default-deny");
    assert_eq!((&told["hook"], &told["endpoint"]), (&json!("guard"), &json!("veth-web")));
    for stolen in [api.ipv4(), api.ipv6()] {
        let before = daemon.dropped("spoofed-source");
        steal(web, stolen);
        let target = if stolen.is_ipv4() { db.ipv4() } else { db.ipv6() };
        send(web.netns(), SocketAddr::new(stolen, 45002), target, 25);
        assert_eq!(daemon.dropped("spoofed-source") - before, 25, "as {stolen}");
    }
    assert_eq!(latest(daemon, "spoofed-source")["hook"], "guard");
}

#[test]
fn what_a_guard_drops_is_told_as_a_flow_and_as_a_drop() {
    let scene = Scene::guarded("guardtold", "*");
    let Scene { web, db, outside, daemon, .. } = &scene;
    for (from, endpoint) in [(web, "veth-web"), (outside, "veth-db")] {
        for (own, to) in [(from.ipv4(), db.ipv4()), (from.ipv6(), db.ipv6())] {
            let source = SocketAddr::new(own, 45007);
            send(from.netns(), source, to, 20);
            let flows = daemon.json(&["flows", "--src", &own.to_string(), "--port", "45007"]);
            let told = ["dst", "verdict", "reason", "packets_fwd", "packets_rev"].map(|key| &flows[0][key]);
            assert_eq!(json!(told), json!([to, "drop", "default-deny", 20, 0]), "{source}: {flows}");
            wait::until(&format!("a drop of {source} is told"), PATIENCE, || {
                let drops = daemon.json(&["drops"]);
                let mut recent = drops["recent"].as_array().unwrap().iter();
                let drop = recent.find(|drop| drop["src"] == json!(own) && drop["src_port"] == 45007)?;
                let told = ["hook", "endpoint", "dst", "reason"].map(|key| &drop[key]);
                assert_eq!(json!(told), json!(["guard", endpoint, to, "default-deny"]), "{drop}");
                Some(())
            });
        }
    }
}

#[test]
fn what_the_guard_lets_through_is_counted_once() {
    let scene = Scene::guarded("guardonce", "veth-web");
    let Scene { web, api, daemon, .. } = &scene;
    for (own, to) in [(web.ipv4(), api.ipv4()), (web.ipv6(), api.ipv6())] {
        assert!(tcp(web, to, ECHO_PORT) && udp(web, to, ECHO_PORT) && ping(web, to), "{to}");
        assert!(tcp(api, own, ECHO_PORT) && udp(api, own, ECHO_PORT) && ping(api, own), "{own}");
        send(web.netns(), SocketAddr::new(own, 45003), to, 40);
        let flows = daemon.json(&["flows", "--port", "45003", "--src", &own.to_string()]);
        assert_eq!(flows.as_array().unwrap().len(), 1, "{flows}");
        assert_eq!((&flows[0]["packets_fwd"], &flows[0]["verdict"]), (&json!(40), &json!("pass")));
    }
}

#[test]
fn the_guard_of_an_uplink_lets_nobody_outside_pretend_to_be_from_here() {
    let scene = Scene::guarded("guarduplink", "up0");
    let Scene { web, api, outside, daemon, .. } = &scene;
    assert_eq!(guards(daemon)[0][1], "uplink", "{}", guards(daemon));
    for (stolen, local, host) in
        [(web.ipv4(), api.ipv4(), IpAddr::from(HOST_IPV4)), (web.ipv6(), api.ipv6(), IpAddr::from(HOST_IPV6))]
    {
        // Neighbour discovery passes, and what is for the host itself.
        assert!(ping(outside, host) && ping(outside, local), "outside reaches {host} and {local}");
        steal(outside, stolen);
        for to in [local, host] {
            let before = daemon.dropped("spoofed-outside");
            send(outside.netns(), SocketAddr::new(stolen, 45004), to, 15);
            assert_eq!(daemon.dropped("spoofed-outside") - before, 15, "as {stolen} to {to}");
        }
        outside.netns().ip(&format!("address del {stolen} dev lo"));
    }
    assert_eq!(latest(daemon, "spoofed-outside")["hook"], "guard");
}

#[test]
fn the_guard_of_an_uplink_judges_what_is_for_endpoints_and_nothing_else() {
    let scene = Scene::guarded("guardjudge", "up0");
    let Scene { web, db, outside, daemon, .. } = &scene;
    for (web_at, db_at, outside_at) in
        [(web.ipv4(), db.ipv4(), outside.ipv4()), (web.ipv6(), db.ipv6(), outside.ipv6())]
    {
        assert!(tcp(outside, web_at, ECHO_PORT) && udp(outside, web_at, ECHO_PORT), "outside to {web_at}");
        assert!(tcp(web, outside_at, ECHO_PORT) && udp(web, outside_at, ECHO_PORT), "web to {outside_at}");
        let before = daemon.dropped("default-deny");
        send(outside.netns(), SocketAddr::new(outside_at, 45005), db_at, 35);
        assert_eq!(daemon.dropped("default-deny") - before, 35, "to {db_at}");
    }
    let told = latest(daemon, "default-deny");
    assert_eq!((&told["hook"], &told["endpoint"]), (&json!("guard"), &json!("veth-db")));
    let status = daemon.json(&["status"]);
    assert_eq!((&status["endpoints_ready"], &status["endpoints_quarantined"]), (&json!(3), &json!(0)));
    let endpoints = daemon.json(&["endpoints"]);
    assert!(endpoints.as_array().unwrap().iter().all(|endpoint| endpoint["name"] != "up0"), "{endpoints}");
}

#[test]
fn where_the_driver_cannot_the_guard_runs_behind_it() {
    let mut scene = Scene::guarded("guardgeneric", "nothing");
    // More than fits a page beside the headroom that a native program needs.
    scene.web.netns().ip("link set eth0 mtu 9000");
    scene.host.netns().ip("link set veth-web mtu 9000");
    scene.daemon.configure(&config("veth-web"));
    scene.daemon.restart();
    let Scene { web, api, db, daemon, .. } = &scene;
    assert_eq!(guards(daemon), json!([["veth-web", "veth", "generic"]]));
    assert!(tcp(web, api.ipv4(), ECHO_PORT) && tcp(web, api.ipv6(), ECHO_PORT));
    let before = daemon.dropped("default-deny");
    send(web.netns(), SocketAddr::new(web.ipv4(), 45006), db.ipv4(), 20);
    assert_eq!(daemon.dropped("default-deny") - before, 20);
    assert_eq!(latest(daemon, "default-deny")["hook"], "guard");
}

#[test]
fn guards_outlive_their_daemon_and_go_with_their_pattern() {
    let mut scene = Scene::guarded("guardlife", "*");
    let expected = json!([
        ["up0", "uplink", "native"],
        ["veth-api", "veth", "native"],
        ["veth-db", "veth", "native"],
        ["veth-web", "veth", "native"]
    ]);
    assert_eq!(guards(&scene.daemon), expected, "neither the loopback nor a bridge is an uplink");
    scene.daemon.kill();
    assert_eq!(guards(&scene.daemon), expected, "read from the pins");
    assert!(!tcp_soon(&scene.outside, scene.db.ipv4(), ECHO_PORT));
    assert!(tcp(&scene.outside, scene.web.ipv4(), ECHO_PORT));
    scene.daemon.configure(&config("veth-web"));
    scene.daemon.start_again();
    assert_eq!(guards(&scene.daemon), json!([["veth-web", "veth", "native"]]));
    assert!(ping(&scene.outside, HOST_IPV4.into()), "up0 has neither guard nor record");
    scene.daemon.configure(DEFAULT_CONFIG);
    scene.daemon.restart();
    assert_eq!(guards(&scene.daemon), json!([]));
    let links = scene.host.netns().run("ip", &["-details", "link"]);
    assert!(!String::from_utf8_lossy(&links.stdout).contains("xdp"), "{links:?}");
}

#[test]
fn restarts_lose_no_packet_of_a_guarded_uplink() {
    let mut scene = Scene::guarded("guardrestart", "up0");
    let Scene { web, outside, daemon, .. } = &mut scene;
    let stream = enforcer_tests::Numbered::new(outside, web, web.ipv4()).rate(2000).start();
    // A program that goes may take a frame along that the kernel has queued for it.
    for guarded in ["up0", "up*", "up0"] {
        daemon.configure(&config(guarded));
        daemon.restart();
    }
    let report = stream.finish();
    assert_eq!(report.lost().len(), 0, "lost {:?} of {}", report.lost(), report.sent);
}

#[test]
fn a_guarded_interface_may_come_and_go() {
    let host = Host::new("guardlate");
    let daemon = Daemon::start_with(&host, &config("up*"));
    for name in ["first", "second"] {
        let outside = host.workload(name).at("198.51.100.9/24").behind("up0").routed();
        wait::until("the uplink is guarded", PATIENCE, || {
            (guards(&daemon) == json!([["up0", "uplink", "native"]])).then_some(())
        });
        assert!(ping(&outside, HOST_IPV4.into()));
        drop(outside);
        wait::until("its guard is forgotten", PATIENCE, || (guards(&daemon) == json!([])).then_some(()));
    }
    let pins = std::fs::read_dir(daemon.bpffs().join("links")).unwrap().count();
    assert_eq!(pins, 0, "no pin of a guard is left");
}

#[test]
fn somebody_elses_xdp_program_is_left_alone_and_told() {
    let host = Host::new("guardforeign");
    let outside = host.workload("outside").at("198.51.100.9/24").behind("up0").routed();
    // Not connected to any enforcer's tables: it stands for whatever else one may load.
    let mut foreign = Datapath::load(&Options::default()).unwrap();
    host.netns().enter(|| foreign.guard().unwrap().attach("up0", XdpMode::Skb)).unwrap();
    let daemon = Daemon::start_with(&host, &config("up0"));
    let status = daemon.json(&["status"]);
    let warning = "up0 is not guarded: another XDP program runs on up0 and is left alone";
    assert_eq!((&status["warnings"][1], &status["guards"]), (&json!(warning), &json!([])), "{status}");
    assert!(!ping_soon(&outside, HOST_IPV4.into()), "the other program still decides");
    drop(foreign);
    wait::until("the guard takes the free place", PATIENCE, || {
        (guards(&daemon) == json!([["up0", "uplink", "native"]])).then_some(())
    });
    assert!(ping(&outside, HOST_IPV4.into()));
    assert!(!daemon.json(&["status"])["warnings"].to_string().contains("not guarded"));
}

#[test]
fn clean_removes_guards_and_check_finds_them() {
    let mut scene = Scene::guarded("guardclean", "*");
    let left = scene.daemon.cli(&["clean", "--check"]);
    let text = String::from_utf8_lossy(&left.stdout);
    assert_eq!(text.matches("guard on interface").count(), 4, "{left:?}");
    scene.daemon.stop();
    let cleaned = scene.daemon.cli(&["clean"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    let check = scene.daemon.cli(&["clean", "--check"]);
    assert!(check.status.success(), "{check:?}");
    assert!(tcp(&scene.outside, scene.db.ipv4(), ECHO_PORT), "nobody guards any more");
}
