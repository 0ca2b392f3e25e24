//! An order at the daemon's socket: the whole policy, with an address more or without it.

use std::net::IpAddr;

use enforcer::cli::client::Client;
use enforcer::policy::Source;
use enforcer::report::{ApplyReport, ApplyRequest};
use enforcer_tests::Daemon;
use enforcer_tests::cost::NETWORKS;

use super::scene::alone;

/// The policy, and what else is in it: without the address, and with it.
pub struct Order<'a> {
    client: Client,
    others: [&'a str; 2],
}

impl<'a> Order<'a> {
    pub fn new(daemon: &Daemon, others: [&'a str; 2]) -> Self {
        Self { client: Client::new(daemon.socket()), others }
    }

    /// Returns when the daemon says that it is in force.
    pub fn give(&self, address: Option<IpAddr>) {
        let more = address.map_or_else(String::new, |address| format!("\"{}\", ", alone(address)));
        let networks = NETWORKS.replacen("prefixes = [", &format!("prefixes = [{more}"), 1);
        let others = self.others[usize::from(address.is_some())];
        give(&self.client, format!("{networks}{others}"));
    }
}

/// Makes this the policy, which is another one than before.
pub fn give(client: &Client, policy: String) {
    let source = Source { name: "policy.toml".to_owned(), text: policy };
    let request = ApplyRequest {
        sources: vec![source],
        force: false,
        confirm_seconds: None,
        session: None,
        max_cut: None,
    };
    let report: ApplyReport = client.post("/v1/apply", &request).expect("the policy is applied");
    assert!(!report.unchanged, "it is another policy");
}
