//! Two workloads behind a rung: what real programs talk through.

use std::any::Any;

use enforcer_tests::packet::{BLUE_A, BLUE_B, Family, Party};
use enforcer_tests::{Host, Workload};

use crate::ladder::{Doors, Rung};

/// A rung with its host and its workloads: `a`, who asks, and `b`, who serves.
pub struct Pair {
    pub rung: Rung,
    pub a: Workload,
    pub b: Workload,
    // It goes before its host.
    _kept: Option<Box<dyn Any>>,
    pub host: Host,
}

impl Pair {
    /// Makes both, and lets the rung decide between them.
    pub fn stand(name: &str, rung: Rung) -> Self {
        let host = Host::new(name);
        let workload = |name, party: Party| {
            let [v4, v6] = Family::BOTH.map(|family| party.on(family));
            host.workload(name).at(&format!("{v4}/24")).at(&format!("{v6}/64")).routed()
        };
        let (a, b) = (workload("a", BLUE_A), workload("b", BLUE_B));
        // A client that closes leaves its port behind for a minute.
        a.netns().sysctls(&[("net/ipv4/tcp_tw_reuse", "1"), ("net/ipv4/ip_local_port_range", "1024 65535")]);
        let kept = rung.set_up(&host, Doors { endpoints: &[a.interface(), b.interface()], uplinks: &[] });
        Self { rung, a, b, _kept: kept, host }
    }
}
