//! Looks at what netlink does not tell of by itself.

use std::{collections::BTreeMap, fs};

use super::{Barrier, Kinds, ipsec, netfilter::Chains, queues};
use crate::datapath::attach::Mechanism;

/// What stands on the way, besides what is to be seen of the interfaces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// For everybody.
    pub host: Vec<Barrier>,
    /// At one interface. Who is not in it was not looked at.
    pub interfaces: BTreeMap<u32, Vec<Barrier>>,
}

/// Looks, and remembers what need not be looked at again.
#[derive(Debug, Default)]
pub struct Watch {
    chains: Chains,
}

impl Watch {
    /// What is there at this moment.
    pub fn look(&mut self, interfaces: &BTreeMap<u32, usize>, mechanism: Mechanism) -> Surroundings {
        let mut host = self.chains.barriers();
        host.extend(ipsec::barriers());
        host.extend(forwarding());
        let interfaces = queues::barriers(interfaces, mechanism).unwrap_or_else(|error| {
            host.push(Barrier::unseen("queueing disciplines", &error));
            BTreeMap::new()
        });
        Surroundings { host, interfaces }
    }
}

/// Whether IPv6 is forwarded is one question for the whole host; of IPv4 each interface is asked.
fn forwarding() -> Option<Barrier> {
    match fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding") {
        Ok(on) if on.trim() != "0" => None,
        _ => Some(Barrier::new(Kinds::ROUTED_V6, "IPv6 forwarding is off")),
    }
}
