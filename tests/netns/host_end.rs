//! The host as an end of conversations, as its file says.

use std::net::IpAddr;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::echo::Echo;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::traffic::{ECHO_PORT, ping, ping_soon, tcp_soon};
use enforcer_tests::{Daemon, Host, Workload};

const POLICY: &str = "version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\", \"2001:db8:1::/64\"]\n";
const CHECKED: &str =
    "[[rule]]\nname = \"health\"\nfrom = [\"host\"]\nto = [\"blue\"]\nallow = [\"tcp/5432\"]\n";

struct Scene {
    web: Workload,
    daemon: Daemon,
    _echo: Echo,
    host: Host,
}

impl Scene {
    #[track_caller]
    fn build(name: &str, host_table: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let daemon = Daemon::start_with(&host, &format!("{DEFAULT_CONFIG}{host_table}"));
        daemon.wait_ready(&["veth-web"]);
        daemon.apply(POLICY);
        let echo = Echo::start(host.netns(), ECHO_PORT);
        Self { web, daemon, _echo: echo, host }
    }

    /// Whether the workload may ask the host; both families alike.
    fn may_ask(&self) -> bool {
        let [v4, v6] =
            [IpAddr::from(HOST_IPV4), HOST_IPV6.into()].map(|host| tcp_soon(&self.web, host, ECHO_PORT));
        assert_eq!(v4, v6, "both families are judged alike");
        v4
    }

    /// Whether the host may ask the workload; both families alike.
    fn is_asked(&self) -> bool {
        let [v4, v6] = [self.web.ipv4(), self.web.ipv6()].map(|to| tcp_soon(&self.host, to, ECHO_PORT));
        assert_eq!(v4, v6, "both families are judged alike");
        v4
    }

    #[track_caller]
    fn reload(&self, host_table: &str) {
        self.daemon.reload(&format!("{DEFAULT_CONFIG}{host_table}"));
    }
}

#[test]
fn workloads_ask_what_the_file_lists_and_nothing_else() {
    let mut scene = Scene::build("hostallow", "");
    assert!(!scene.may_ask() && ping(&scene.web, HOST_IPV4.into()));
    scene.reload("[host]\nallow = [\"tcp/5000-5999\"]\n");
    assert!(scene.may_ask() && !ping_soon(&scene.web, HOST_IPV4.into()), "the list is the whole list");
    scene.daemon.restart();
    assert!(scene.may_ask());
    scene.reload("");
    assert!(!scene.may_ask(), "a conversation is asked for again with the next list");
    assert_eq!(scene.daemon.json(&["status"])["repairs"], 0);
}

#[test]
fn the_host_asks_by_rules_where_the_file_says_so() {
    let scene = Scene::build("hostrules", "");
    assert!(scene.is_asked());
    scene.reload("[host]\nto_workloads = \"rules\"\n");
    assert!(!scene.is_asked());
    assert!(ping(&scene.web, HOST_IPV4.into()), "what is on the list is answered");
    scene.daemon.apply(&format!("{POLICY}{CHECKED}"));
    assert!(scene.is_asked());
    assert!(!ping_soon(&scene.host, scene.web.ipv4()), "a rule allows what it says");
    scene.daemon.json(&["mode", "audit"]);
    assert!(ping(&scene.host, scene.web.ipv4()));
}
