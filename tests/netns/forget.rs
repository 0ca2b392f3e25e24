//! What an endpoint learned of itself, forgotten on order; and endpoints told by more than their name.

use enforcer_tests::daemon::{DEFAULT_CONFIG, PATIENCE};
use enforcer_tests::traffic::{ECHO_PORT, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host, Workload, wait};
use serde_json::{Value, json};

const POLICY: &str = "version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\", \"10.2.0.0/24\"]\n";

struct Scene {
    web: Workload,
    api: Workload,
    daemon: Daemon,
    host: Host,
}

impl Scene {
    #[track_caller]
    fn build(name: &str, more: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").routed();
        let api = host.workload("api").at("10.2.0.5/24").bridged();
        let daemon = Daemon::start_with(&host, &format!("{DEFAULT_CONFIG}{more}"));
        daemon.wait_ready(&["veth-web", "veth-api"]);
        daemon.apply(POLICY);
        assert!(tcp(&api, web.ipv4(), ECHO_PORT));
        Self { web, api, daemon, host }
    }

    fn endpoint(&self, name: &str) -> Value {
        self.daemon.json(&["endpoints", name])[0].clone()
    }

    /// Whether api speaks, asked again as long as neighbours may still believe in its old MAC.
    fn speaks(&self) -> bool {
        wait::within(PATIENCE / 3, || tcp_soon(&self.api, self.web.ipv4(), ECHO_PORT).then_some(())).is_some()
    }
}

#[test]
fn who_got_another_address_is_learned_anew_on_order() {
    let scene = Scene::build("forget", "");
    let Scene { api, daemon, .. } = &scene;
    let gateway = "route add default via 10.2.0.1 dev eth0";
    // As a DHCP server does it when a lease is over.
    api.netns()
        .ip(&format!("address del 10.2.0.5/24 dev eth0\naddress add 10.2.0.77/24 dev eth0\n{gateway}"));
    wait::until("the new address is refused", PATIENCE, || {
        (scene.endpoint("veth-api")["conflicts"] == json!(["10.2.0.77"])).then_some(())
    });
    assert!(!tcp_soon(api, scene.web.ipv4(), ECHO_PORT), "an address that comes later is not its own");
    let forgotten = daemon.json(&["endpoints", "forget", "veth-api"]);
    assert_eq!((&forgotten["endpoint"], &forgotten["addresses"]), (&json!("veth-api"), &json!(["10.2.0.5"])));
    wait::until("the new address is learned", PATIENCE, || {
        (scene.endpoint("veth-api")["addresses"] == json!(["10.2.0.77"])).then_some(())
    });
    assert!(scene.speaks());
    assert_eq!(scene.endpoint("veth-web")["addresses"], json!(["10.1.0.5"]), "others keep theirs");
    let unknown = daemon.cli(&["endpoints", "forget", "veth-nobody"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
}

#[test]
fn the_mac_is_learned_anew_too() {
    let scene = Scene::build("forgetmac", "");
    let Scene { api, daemon, .. } = &scene;
    api.netns().ip("link set eth0 address 02:00:00:00:77:77\nneigh flush dev eth0");
    assert!(!tcp_soon(api, scene.web.ipv4(), ECHO_PORT), "another MAC is not its own");
    daemon.json(&["endpoints", "forget", "veth-api"]);
    wait::until("the new MAC is learned", PATIENCE, || {
        (scene.endpoint("veth-api")["mac"] == "02:00:00:00:77:77").then_some(())
    });
    api.netns().ip("neigh flush dev eth0");
    assert!(scene.speaks());
}

#[test]
fn who_may_use_any_mac_uses_any() {
    let scene = Scene::build("anymac", "[[endpoint]]\nmatch = \"veth-api\"\nmacs = \"any\"\n");
    assert_eq!(scene.endpoint("veth-api")["mac"], Value::Null, "none is learned");
    scene.api.netns().ip("link set eth0 address 02:00:00:00:77:77\nneigh flush dev eth0");
    assert!(scene.speaks());
    scene.api.netns().ip("address add 10.2.0.66/32 dev eth0");
    let before = scene.daemon.dropped("spoofed-source");
    scene.api.netns().enter(|| {
        let socket = std::net::UdpSocket::bind("10.2.0.66:0").unwrap();
        socket.send_to(b"forged", (scene.web.ipv4(), 9)).unwrap();
    });
    assert_eq!(scene.daemon.dropped("spoofed-source") - before, 1, "its addresses are checked as ever");
}

#[test]
fn an_endpoint_is_told_by_its_alias_its_mac_or_its_namespace() {
    let scene = Scene::build("subjects", "");
    let Scene { web, api, daemon, host } = &scene;
    host.netns().ip("link set veth-web alias tenant-a");
    let mac = scene.endpoint("veth-api")["mac"].as_str().unwrap().to_owned();
    let declare = |subject: &str| format!("[[endpoint]]\nmatch = \"{subject}\"\nmode = \"audit\"\n");
    for (subject, is) in [
        ("alias:tenant-*".to_owned(), "veth-web"),
        (format!("mac:{mac}"), "veth-api"),
        (format!("netns:{}", web.netns().name()), "veth-web"),
        (format!("netns:{}", api.netns().name()), "veth-api"),
    ] {
        daemon.configure(&format!("{DEFAULT_CONFIG}{}", declare(&subject)));
        daemon.signal(nix::sys::signal::Signal::SIGHUP);
        wait::until(&format!("{subject} means {is}"), PATIENCE, || {
            let modes = daemon.json(&["mode"]);
            let endpoints = modes["endpoints"].as_array().unwrap();
            (endpoints.len() == 1 && endpoints[0]["endpoint"] == is).then_some(())
        });
    }
}
