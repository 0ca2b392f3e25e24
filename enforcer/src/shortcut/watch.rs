//! Looks at what interfaces do not tell of.

use std::{collections::BTreeMap, fs};

use super::{
    Barrier, Kinds, ipsec,
    netfilter::Chains,
    queues::{self, Wayside},
    taps::Taps,
};
use crate::datapath::attach::Mechanism;

/// What stands on the way, besides what is to be seen of the interfaces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// For everybody.
    pub host: Vec<Barrier>,
    /// At one interface. Who is not in it was not looked at.
    pub interfaces: BTreeMap<u32, Vec<Barrier>>,
    /// Where somebody listens.
    pub taps: Taps,
}

/// Looks, and remembers what need not be looked at again.
#[derive(Debug, Default)]
pub struct Watch {
    chains: Chains,
}

impl Watch {
    /// What is there at this moment.
    pub fn look(&mut self, interfaces: &BTreeMap<u32, Wayside>, mechanism: Mechanism) -> Surroundings {
        let mut host = self.chains.barriers();
        host.extend(ipsec::barriers());
        host.extend(forwarding());
        let mut barriers = queues::barriers(interfaces, mechanism).unwrap_or_else(|error| {
            host.push(Barrier::unseen("queueing disciplines", &error));
            BTreeMap::new()
        });
        if let Some(barrier) = way_back() {
            let outside = barriers.iter_mut().filter(|(ifindex, _)| interfaces[*ifindex].is_outside);
            outside.for_each(|(_, barriers)| barriers.push(barrier.clone()));
        }
        let taps = Taps::look().unwrap_or_else(|error| {
            host.push(Barrier::unseen("packet sockets", &error));
            Taps::default()
        });
        host.extend(taps.everywhere());
        Surroundings { host, interfaces: barriers, taps }
    }
}

/// Whether all interfaces ask where answers would go; each may besides (Documentation/networking/ip-sysctl.rst).
fn way_back() -> Option<Barrier> {
    match fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter") {
        Ok(filter) if filter.trim() != "1" => None,
        _ => Some(Barrier::new(Kinds::ROUTED_V4, "every interface filters by the way back (rp_filter)")),
    }
}

/// Whether IPv6 is forwarded is one question for the whole host; of IPv4 each interface is asked.
fn forwarding() -> Option<Barrier> {
    match fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding") {
        Ok(on) if on.trim() != "0" => None,
        _ => Some(Barrier::new(Kinds::ROUTED_V6, "IPv6 forwarding is off")),
    }
}
