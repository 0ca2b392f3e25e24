//! What hangs on the tc hooks of an interface, however it was attached.

use enforcer::datapath::attach::FILTER_MINOR;
use enforcer::datapath::bpf::{TcxHook, tcx_programs};
use enforcer::datapath::filters;

use crate::netns::NetNs;

/// How many programs there are on the ingress and on the egress hook: all on tcx links, and of filters ours.
#[track_caller]
pub fn programs(netns: &NetNs, ifindex: u32) -> [usize; 2] {
    netns.enter(|| {
        // Where there is no tcx, there is none of them.
        let links = [TcxHook::Ingress, TcxHook::Egress]
            .map(|hook| tcx_programs(ifindex, hook).map_or(0, |programs| programs.len()));
        let filters = filters::with_minor(FILTER_MINOR, &[ifindex]).expect("filters are listed");
        [0, 1].map(|hook| links[hook] + usize::from(filters[0][hook].is_some()))
    })
}
