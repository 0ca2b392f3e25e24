//! Whoever applies a policy over SSH is not cut off by it.

use std::process::Output;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::host::HOST_IPV4;
use enforcer_tests::{Daemon, Host, Workload};

struct Scene {
    _web: Workload,
    _outside: Workload,
    daemon: Daemon,
    _host: Host,
}

const OPEN: &str = "version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\"]\n\
                    [[rule]]\nname = \"admin\"\nfrom = [\"blue\"]\nto = [\"host\"]\nallow = [\"tcp/22\"]\n";
const CLOSED: &str = "version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\"]\n";
const COVERED: &str = "version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\", \"198.51.100.0/24\"]\n";

impl Scene {
    #[track_caller]
    fn build(name: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").routed();
        let outside = host.workload("outside").at("198.51.100.9/24").behind("up0").routed();
        let uplink = "[[uplink]]\nmatch = \"up0\"\ntrust = \"external\"\n";
        let daemon = Daemon::start_with(&host, &format!("{DEFAULT_CONFIG}{uplink}"));
        daemon.wait_ready(&["veth-web"]);
        Self { _web: web, _outside: outside, daemon, _host: host }
    }

    /// Applies a policy from a session of this client.
    fn apply(&self, client: &str, port: u16, policy: &str, more: &[&str]) -> Output {
        let session = format!("SSH_CONNECTION={client} 4711 {HOST_IPV4} {port}");
        self.daemon.cli_through(&["env", &session], &[&["apply", "-"], more].concat(), policy)
    }

    #[track_caller]
    fn refuses(&self, client: &str, port: u16, policy: &str, parts: &[&str]) {
        let generation = self.daemon.json(&["status"])["generation"].clone();
        let output = self.apply(client, port, policy, &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let session = format!("tcp from {client} port 4711 to {HOST_IPV4} port {port}");
        for part in [&*session, "--confirm 60s", "--force"].iter().chain(parts) {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert_eq!(self.daemon.json(&["status"])["generation"], generation);
    }
}

#[test]
fn a_workload_does_not_cut_itself_off() {
    let scene = Scene::build("sessionown");
    let accepts = |client, policy, more: &[&str]| {
        let output = scene.apply(client, 22, policy, more);
        assert!(output.status.success(), "{output:?}");
    };
    accepts("10.1.0.5", OPEN, &[]);
    scene.refuses("10.1.0.5", 22, CLOSED, &["a host allows its workloads"]);
    accepts("10.1.0.5", CLOSED, &["--confirm", "60s"]);
    assert!(scene.daemon.cli(&["rollback"]).status.success());
    accepts("198.51.100.9", CLOSED, &[]);
    accepts("10.1.0.5", OPEN, &[]);
    accepts("10.1.0.5", CLOSED, &["--force"]);
    accepts("10.1.0.5", OPEN, &[]);
    // Nobody is cut while nothing is enforced.
    scene.daemon.json(&["mode", "audit"]);
    accepts("10.1.0.5", CLOSED, &[]);
}

#[test]
fn nobody_beyond_an_external_uplink_makes_himself_a_member() {
    let scene = Scene::build("sessionout");
    assert!(scene.apply("198.51.100.9", 2222, CLOSED, &[]).status.success());
    scene.refuses("198.51.100.9", 2222, COVERED, &["member of blue", "external"]);
    let failsafe = scene.apply("198.51.100.9", 22, COVERED, &[]);
    assert!(failsafe.status.success(), "what is failsafe stays open: {failsafe:?}");
}
