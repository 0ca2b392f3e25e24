//! The host of the trial, and policies that differ in everything but who reaches whom.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::route::{Fate, PORT, Route};
use crate::daemon::Daemon;
use crate::host::Host;
use crate::workload::Workload;

/// Four workloads under an enforcer: web and api share a network, client reaches server by a rule.
#[derive(Debug)]
pub struct Scene {
    /// Dropped first: when a test fails, it dumps what it knows of the others.
    pub daemon: Daemon,
    web: Workload,
    api: Workload,
    client: Workload,
    server: Workload,
    #[expect(dead_code, reason = "the others are on it")]
    host: Host,
    programs: TempDir,
}

impl Scene {
    /// Builds it, under the first policy.
    #[track_caller]
    pub fn build(name: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
        let client = host.workload("client").at("10.3.0.5/24").at("2001:db8:3::5/64").routed();
        let server = host.workload("server").at("10.4.0.5/24").at("2001:db8:4::5/64").bridged();
        let daemon = Daemon::start(&host);
        daemon.wait_ready(&[web.interface(), api.interface(), client.interface(), server.interface()]);
        daemon.apply(&policy(0));
        let programs = TempDir::new().expect("failed to create a directory");
        Self { daemon, web, api, client, server, host, programs }
    }

    /// Copies of the program that take turns as the next version.
    #[track_caller]
    pub fn versions(&self) -> [PathBuf; 2] {
        ["this", "next"].map(|version| {
            let program = self.programs.path().join(version);
            fs::copy(self.daemon.binary(), &program).expect("failed to copy the program");
            program
        })
    }

    /// Who sends what to whom all the time.
    pub fn routes(&self) -> Vec<Route<'_>> {
        let pairs = [
            ("shared network", Fate::Allowed, &self.web, &self.api),
            ("by a rule", Fate::Allowed, &self.client, &self.server),
            ("against the rule", Fate::Denied, &self.server, &self.client),
            ("strangers", Fate::Denied, &self.client, &self.web),
        ];
        let routes = pairs.into_iter().enumerate().flat_map(|(seat, (name, fate, from, to))| {
            [to.ipv4(), to.ipv6()].map(|address| Route { name, fate, from, to, address, seat })
        });
        routes.collect()
    }

    /// Every workload.
    pub fn workloads(&self) -> [&Workload; 4] {
        [&self.web, &self.api, &self.client, &self.server]
    }
}

/// One of ever other policies. The network that web and api share, its prefixes, who else is a member, how the rule is
/// written and what is around it change; who reaches whom does not.
pub fn policy(number: usize) -> String {
    let shared = ["blue", "indigo", "cyan"][number % 3];
    let web = ["10.1.0.0/24\", \"2001:db8:1::/64", "10.1.0.5/32\", \"2001:db8:1::5/128"][number % 2];
    let mut text = format!(
        "version = 1\n\
         [network.{shared}]\nprefixes = [\"{web}\", \"10.2.0.0/24\", \"2001:db8:2::/64\"]\n\
         [network.clients]\nprefixes = [\"10.3.0.0/24\", \"2001:db8:3::/64\"]\n\
         [group.servers]\nprefixes = [\"10.4.0.0/24\", \"2001:db8:4::/64\"]\n"
    );
    // Other memberships, and so other sets, ids and sizes of every table.
    for extra in 0..number % 7 {
        let prefixes = format!("\"10.{}.0.0/24\", \"10.60.{extra}.0/24\"", 1 + extra % 2);
        write!(text, "[network.extra-{extra}]\nprefixes = [{prefixes}]\n").expect("a string");
    }
    let mut services: Vec<_> = (0..number % 5).map(|port| format!("tcp/{}", 8000 + 2 * port)).collect();
    services.extend([format!("udp/{PORT}"), format!("tcp/{PORT}")]);
    let to = ["\"servers\"", "\"10.4.0.0/24\", \"2001:db8:4::/64\""][number / 2 % 2];
    write!(
        text,
        "[[rule]]\nname = \"clients use servers\"\nfrom = [\"clients\"]\nto = [{to}]\n\
         allow = {services:?}\n"
    )
    .expect("a string");
    text
}
