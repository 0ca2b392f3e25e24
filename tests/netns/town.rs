//! The host that most tests play on: web and api share *blue* over two subnets, db is in *green*, and
//! tool is a member of both.

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::{Daemon, Host, Workload};

/// The policy of the town.
pub const POLICY: &str = r#"
version = 1
[network.blue]
prefixes = ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:1::/64", "2001:db8:2::/64", "10.4.0.9/32", "2001:db8:4::9/128"]
[network.green]
prefixes = ["10.3.0.0/24", "2001:db8:3::/64", "10.4.0.0/24", "2001:db8:4::/64"]
"#;

/// Four workloads and an enforcer that knows them.
pub struct Town {
    /// In *blue*, routed.
    pub web: Workload,
    /// In *blue*, another subnet, on a bridge.
    pub api: Workload,
    /// In *green*, routed.
    pub db: Workload,
    /// In both, on another bridge.
    pub tool: Workload,
    /// Dropped before the host: it dumps its state when a test fails.
    pub daemon: Daemon,
    /// Where all of them are.
    pub host: Host,
}

impl Town {
    /// Builds the town; no policy is applied.
    #[track_caller]
    pub fn build(name: &str) -> Self {
        Self::build_with(name, DEFAULT_CONFIG)
    }

    /// Builds the town with a host file of its own; no policy is applied.
    #[track_caller]
    pub fn build_with(name: &str, config: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
        let db = host.workload("db").at("10.3.0.5/24").at("2001:db8:3::5/64").routed();
        let tool = host.workload("tool").at("10.4.0.9/24").at("2001:db8:4::9/64").bridged();
        let daemon = Daemon::start_with(&host, config);
        let town = Self { web, api, db, tool, daemon, host };
        town.daemon.wait_ready(&town.interfaces());
        town
    }

    /// Builds the town under its [`POLICY`].
    #[track_caller]
    pub fn governed(name: &str) -> Self {
        let town = Self::build(name);
        town.daemon.apply(POLICY);
        town
    }

    /// Its workloads.
    pub fn workloads(&self) -> [&Workload; 4] {
        [&self.web, &self.api, &self.db, &self.tool]
    }

    /// Their host-side interfaces.
    pub fn interfaces(&self) -> [&str; 4] {
        self.workloads().map(Workload::interface)
    }
}
