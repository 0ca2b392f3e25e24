//! Where the early guard runs.

use super::View;
use crate::report::GuardReport;

impl View<'_> {
    /// Every interface with a guard, by name. Its pin outlives the interface only until the next look.
    pub(super) fn guards(&self) -> anyhow::Result<Vec<GuardReport>> {
        let uplinks = self.tables.uplinks()?;
        let guards = self.pins.list_guards()?.into_iter().filter_map(|(ifindex, mode)| {
            // Of an interface that is gone nix says the empty name.
            let name = nix::net::if_::if_indextoname(ifindex).ok().filter(|name| !name.is_empty())?;
            Some(GuardReport {
                interface: name.to_string_lossy().into_owned(),
                ifindex,
                mode,
                role: if uplinks.contains_key(&ifindex) { "uplink" } else { "veth" }.to_owned(),
            })
        });
        let mut guards: Vec<GuardReport> = guards.collect();
        guards.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(guards)
    }
}
