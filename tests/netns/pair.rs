//! The host for rules: a client and a server that share no network, so that only rules admit anything.

use enforcer_tests::{Daemon, Host, Workload};

/// Who is who. Nobody shares anything with anybody, and nothing beyond the host is in a network.
pub const NETWORKS: &str = r#"
version = 1
[network.clients]
prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
[network.servers]
prefixes = ["10.2.0.0/24", "2001:db8:2::/64"]
"#;

/// One rule that admits services from one end to another.
pub fn allow(from: &str, to: &str, services: &[&str]) -> String {
    rule(from, to, "allow", services)
}

/// One rule that denies services from one end to another.
pub fn deny(from: &str, to: &str, services: &[&str]) -> String {
    rule(from, to, "deny", services)
}

fn rule(from: &str, to: &str, action: &str, services: &[&str]) -> String {
    let name = format!("{action} {from} {to} {}", services.join(" ")).replace(['/', ':'], " ");
    format!("[[rule]]\nname = {name:?}\nfrom = [{from:?}]\nto = [{to:?}]\n{action} = {services:?}\n")
}

/// Two workloads and an enforcer that knows them.
pub struct Pair {
    /// Dropped first: when a test fails, it dumps what it knows of the others.
    pub daemon: Daemon,
    /// In *clients*, routed.
    pub client: Workload,
    /// In *servers*, on a bridge.
    pub server: Workload,
    /// Where both of them are.
    pub host: Host,
}

impl Pair {
    /// Builds the pair; nothing passes without a rule.
    #[track_caller]
    pub fn build(name: &str) -> Self {
        let host = Host::new(name);
        let client = host.workload("client").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let server = host.workload("server").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
        let daemon = Daemon::start(&host);
        daemon.wait_ready(&[client.interface(), server.interface()]);
        daemon.apply(NETWORKS);
        Self { daemon, client, server, host }
    }

    /// Replaces the rules.
    #[track_caller]
    pub fn govern(&self, rules: &[String]) {
        self.daemon.apply(&(NETWORKS.to_owned() + &rules.concat()));
    }
}
