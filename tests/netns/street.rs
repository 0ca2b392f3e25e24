//! Two workloads of a host whose packets may pass its stack by, routed or over a bridge, and by which way they go.

use std::net::IpAddr;
use std::time::Duration;

use enforcer_tests::command::transcript;
use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{ECHO_PORT, udp_soon};
use enforcer_tests::{Daemon, Host, Workload, wait};
use serde_json::Value;

/// Longer than the daemon takes to notice anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Questions to find out by which way their packets go; each is a packet there and one back.
pub const QUESTIONS: u64 = 20;

/// The network of all.
pub const NETWORK: &str = "version = 1\n[network.all]\nprefixes = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n";

/// Two workloads of one network that the daemon knows.
pub struct Street {
    /// Dropped first: when a test fails, it dumps what it knows of the others.
    pub daemon: Daemon,
    pub asking: Workload,
    pub answering: Workload,
    pub host: Host,
}

/// How the two are connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One has a link of its own, the other hangs on a bridge: between them the host routes.
    Routed,
    /// Both are on one bridge.
    Bridged,
}

impl Street {
    #[track_caller]
    pub fn build(name: &str, layout: Layout) -> Self {
        Self::build_with(name, layout, DEFAULT_CONFIG)
    }

    /// The same with a host file of its own.
    #[track_caller]
    pub fn build_with(name: &str, layout: Layout, config: &str) -> Self {
        let host = Host::new(name);
        let (asking, answering) = (host.workload("asking"), host.workload("answering"));
        let answering = answering.at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
        let asking = match layout {
            Layout::Routed => asking.at("10.1.0.5/24").at("2001:db8:1::5/64").routed(),
            Layout::Bridged => asking.at("10.2.0.6/24").at("2001:db8:2::6/64").bridged(),
        };
        let daemon = Daemon::start_with(&host, config);
        daemon.wait_ready(&[asking.interface(), answering.interface()]);
        daemon.apply(NETWORK);
        Self { daemon, asking, answering, host }
    }

    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.answering.ipv4(),
            Family::V6 => self.answering.ipv6(),
        }
    }

    /// Packets that the host's stack has given to a workload.
    pub fn delivered(&self, workload: &Workload) -> u64 {
        let arguments = ["-j", "-s", "link", "show", "dev", workload.interface()];
        let output = self.host.netns().run("ip", &arguments);
        let shown: Value = serde_json::from_slice(&output.stdout).expect("ip writes JSON");
        shown[0]["stats64"]["tx"]["packets"].as_u64().expect("packets are counted")
    }

    /// How many of the packets of some questions and of their answers went by the stack; `None` if not all were
    /// answered.
    pub fn by_stack(&self, family: Family) -> Option<[u64; 2]> {
        let both = || [&self.answering, &self.asking].map(|workload| self.delivered(workload));
        let before = both();
        let to = self.address(family);
        let answered = (0..QUESTIONS).all(|_| udp_soon(&self.asking, to, ECHO_PORT));
        let after = both();
        answered.then(|| [after[0] - before[0], after[1] - before[1]])
    }

    /// A bridge hears of everybody from time to time, and neighbours ask for each other.
    pub fn goes_straight(&self, family: Family) -> bool {
        self.by_stack(family).is_some_and(|packets| packets.iter().all(|packets| *packets < QUESTIONS / 2))
    }

    pub fn goes_by_stack(&self, family: Family) -> bool {
        self.by_stack(family).is_some_and(|packets| packets.iter().all(|packets| *packets >= QUESTIONS))
    }

    #[track_caller]
    pub fn wait_straight(&self, family: Family) {
        wait::until("packets go straight", PATIENCE, || self.goes_straight(family).then_some(()));
    }

    #[track_caller]
    pub fn wait_by_stack(&self, family: Family) {
        wait::until("packets go by the stack", PATIENCE, || self.goes_by_stack(family).then_some(()));
    }

    #[track_caller]
    pub fn on_host(&self, command: &str) {
        let command = command
            .replace("ANSWERING", self.answering.interface())
            .replace("ASKING", self.asking.interface());
        let output = self.host.netns().run("sh", &["-ec", &command]);
        assert!(output.status.success(), "{command}: {}", transcript(&output));
    }

    pub fn fastpath(&self) -> Value {
        self.daemon.json(&["status"])["fastpath"].clone()
    }
}
