//! Orders that are carried out with no daemon: to keep what awaits confirmation, to go back, and to take
//! verdicts less seriously. The night on which they are needed may be the one on which the daemon does not
//! start.

use std::path::Path;

use anyhow::{Context, bail};
use enforcer_common::{
    ABI_VERSION,
    mode::{Mode, ModeRecord, in_force},
};

use super::{
    modes::{self, ModeOrder},
    place::Place,
    policies::{Outcome, Policies},
    store::Store,
};
use crate::{
    datapath::{
        gate,
        nft::NftError,
        pins::Pins,
        tables::{Tables, boottime},
    },
    report::ModeRequest,
    view::endpoint_name,
};

/// The place of a daemon, taken.
pub struct Offline {
    pins: Pins,
    tables: Tables,
    store: Store,
    _place: Place,
}

impl Offline {
    /// Takes the daemon's place; none may run, and none can start until this is dropped.
    pub fn open(bpffs: &Path, state_dir: &Path, socket: &Path) -> anyhow::Result<Self> {
        let pins = Pins::new(bpffs.to_owned());
        if pins.ours().is_empty() {
            bail!("nothing is pinned at {}", bpffs.display());
        }
        let place = Place::take(socket, bpffs)?;
        let tables = Tables::open_writable(&pins)?;
        Ok(Self { pins, tables, store: Store::new(state_dir.to_owned()), _place: place })
    }

    /// See [`Policies::confirm`].
    pub fn confirm(&mut self) -> anyhow::Result<Outcome> {
        self.policies()?.confirm(&mut self.tables)
    }

    /// See [`Policies::rollback`].
    pub fn rollback(&mut self, to: Option<u64>) -> anyhow::Result<Outcome> {
        self.policies()?.rollback(&mut self.tables, to)
    }

    /// How seriously verdicts are taken on this host.
    pub fn mode(&self) -> anyhow::Result<Mode> {
        Ok(in_force(&self.tables.mode(ModeRecord::HOST)?, &ModeRecord::default(), boottime()))
    }

    /// Opened late: a mode needs none of them, and all versions share its table.
    fn policies(&self) -> anyhow::Result<Policies> {
        refuse_beside_others(&self.pins)?;
        Ok(Policies::stand_in(&self.tables, self.store.clone())?)
    }

    /// Gives the host or an endpoint a mode, or takes an order back. A host that observes has no gate; it is
    /// closed again by the daemon.
    pub fn order_mode(&mut self, request: &ModeRequest) -> anyhow::Result<()> {
        let endpoints = self.tables.endpoints()?;
        let slot = match &request.endpoint {
            None => ModeRecord::HOST,
            Some(name) => {
                let found = endpoints.iter().find(|(_, endpoint)| endpoint_name(endpoint) == *name);
                found.with_context(|| format!("there is no endpoint {name}"))?.1.id.0
            }
        };
        let ids: Vec<u32> = endpoints.iter().map(|(_, endpoint)| endpoint.id.0).collect();
        let order = ModeOrder { slot, mode: request.mode, length: modes::length(request) };
        modes::order(&mut self.tables, order, &ids, boottime())?;
        if self.mode()? == Mode::Observe {
            match gate::remove() {
                // Without the program there was never a gate.
                Ok(_) | Err(NftError::Missing) => {}
                Err(error) => {
                    return Err(error).context("the host observes, but the gate cannot be opened");
                }
            }
        }
        Ok(())
    }
}

/// Programs may still run that look into another version's tables, and would not follow.
fn refuse_beside_others(pins: &Pins) -> anyhow::Result<()> {
    let versions = pins.versions()?;
    let Some(other) = versions.iter().find(|version| **version != ABI_VERSION) else { return Ok(()) };
    bail!(
        "tables of layout {other} are still pinned beside those of layout {ABI_VERSION}: some interfaces may go by them, \
         and would not follow; finish what was begun with `enforcer upgrade` of the newer version, or start its daemon"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn half_way_between_versions_no_policy_is_ordered() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::new(root.path().to_owned());
        fs::create_dir(pins.maps()).unwrap();
        refuse_beside_others(&pins).unwrap();
        fs::create_dir(pins.maps_of(ABI_VERSION - 1)).unwrap();
        let refused = refuse_beside_others(&pins).unwrap_err().to_string();
        assert!(
            refused.contains("tables of layout 3") && refused.contains("`enforcer upgrade`"),
            "{refused}"
        );
    }
}
