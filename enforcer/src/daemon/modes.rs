//! How seriously verdicts are taken: what somebody orders, and what follows from a mode that changes. The
//! order itself is one write; it holds from the next packet on, whoever runs or does not.

use std::time::Duration;

use anyhow::Context;
use enforcer_common::mode::{Mode, ModeRecord, in_force};

use super::{core::Core, disk::Disk, kernel::Kernel, op::Op, policies::PolicyTables};
use crate::{
    datapath::tables::{TableError, Tables},
    report::ModeRequest,
};

/// How long before the end of an order the daemon prepares for what is stricter.
const AHEAD: Duration = Duration::from_secs(1);

/// The kernel, as far as modes go.
pub trait ModeTable {
    /// The record of the host or of an endpoint.
    fn mode(&self, slot: u32) -> Result<ModeRecord, TableError>;
    /// Changes it, from the next packet on.
    fn set_mode(&mut self, slot: u32, record: ModeRecord) -> Result<(), TableError>;
}

impl ModeTable for Tables {
    fn mode(&self, slot: u32) -> Result<ModeRecord, TableError> {
        Self::mode(self, slot)
    }

    fn set_mode(&mut self, slot: u32, record: ModeRecord) -> Result<(), TableError> {
        Self::set_mode(self, slot, record)
    }
}

/// What somebody orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModeOrder {
    /// Of whom: [`ModeRecord::HOST`], or an endpoint's id.
    pub slot: u32,
    /// The mode; `None` takes an earlier order back.
    pub mode: Option<Mode>,
    /// For how long; `None` until the next order.
    pub length: Option<Duration>,
}

impl ModeOrder {
    fn applied(self, record: ModeRecord, now: u64) -> ModeRecord {
        let length = self.length.map(|length| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
        let until = length.filter(|_| self.mode.is_some()).map_or(0, |length| now.saturating_add(length));
        ModeRecord { until, ordered: Mode::number(self.mode), ..record }
    }
}

/// Says what the host file says; an order stays.
pub fn configure(table: &mut impl ModeTable, slot: u32, mode: Option<Mode>) -> Result<(), TableError> {
    let record = table.mode(slot)?;
    let configured = Mode::number(mode);
    if record.configured == configured {
        Ok(())
    } else {
        table.set_mode(slot, ModeRecord { configured, ..record })
    }
}

/// Carries an order out. One for the host takes those for `endpoints` back, so the latest order wins.
pub fn order(
    table: &mut impl ModeTable,
    order: ModeOrder,
    endpoints: &[u32],
    now: u64,
) -> Result<(), TableError> {
    let record = order.applied(table.mode(order.slot)?, now);
    table.set_mode(order.slot, record)?;
    if order.slot != ModeRecord::HOST {
        return Ok(());
    }
    for &slot in endpoints {
        let record = table.mode(slot)?;
        if record.ordered != 0 {
            table.set_mode(slot, ModeRecord { until: 0, ordered: 0, ..record })?;
        }
    }
    Ok(())
}

/// How long an order holds.
pub fn length(request: &ModeRequest) -> Option<Duration> {
    request.seconds.map(Duration::from_secs)
}

/// What an operation that configures a mode makes stricter.
fn tightens(table: &impl ModeTable, op: &Op, now: u64) -> Result<bool, TableError> {
    let Op::ConfigureMode { slot, mode } = op else { return Ok(false) };
    let (host, record) = (table.mode(ModeRecord::HOST)?, table.mode(*slot)?);
    let after = ModeRecord { configured: Mode::number(*mode), ..record };
    let [before, after] = if *slot == ModeRecord::HOST {
        let nobody = ModeRecord::default();
        [in_force(&host, &nobody, now), in_force(&after, &nobody, now)]
    } else {
        [in_force(&host, &record, now), in_force(&host, &after, now)]
    };
    Ok(after < before)
}

impl<K: Kernel, D: Disk> Core<K, D> {
    /// Gives the host or an endpoint a mode, or takes an order back.
    pub fn order_mode(&mut self, request: &ModeRequest) -> anyhow::Result<()> {
        let mode = request.mode;
        let slot = match request.endpoint.as_deref() {
            None => ModeRecord::HOST,
            Some(name) => self.endpoint_named(name)?.1,
        };
        let endpoints: Vec<u32> = self.state.endpoints.values().map(|endpoint| endpoint.id.0).collect();
        if mode != Some(Mode::Observe) {
            self.seed_conversations();
        }
        let table = self.kernel.policy();
        let now = table.boottime();
        order(table, ModeOrder { slot, mode, length: length(request) }, &endpoints, now)?;
        Ok(())
    }

    /// The interface and the id of the endpoint with this name.
    pub fn endpoint_named(&self, name: &str) -> anyhow::Result<(u32, u32)> {
        let mut endpoints = self.state.endpoints.iter();
        let found = endpoints.find(|(_, endpoint)| endpoint.name == name);
        let (ifindex, endpoint) = found.with_context(|| format!("there is no endpoint {name}"))?;
        Ok((*ifindex, endpoint.id.0))
    }

    /// The mode of the host at this moment; where it cannot be read nothing is relaxed.
    pub fn host_mode(&mut self) -> Mode {
        let table = self.kernel.policy();
        let now = table.boottime();
        let host = table.mode(ModeRecord::HOST).unwrap_or_default();
        in_force(&host, &ModeRecord::default(), now)
    }

    /// Prepares for what is about to be stricter: operations that configure, and orders that end soon.
    pub(super) fn expect_stricter(&mut self, ops: &[Op]) {
        let table = self.kernel.policy();
        let now = table.boottime();
        if ops.iter().any(|op| tightens(table, op, now).unwrap_or(true)) {
            self.seed_conversations();
        }
    }

    /// Prepares for the end of orders; to be called from time to time.
    pub fn expect_expiry(&mut self) {
        let table = self.kernel.policy();
        let now = table.boottime();
        let slots = self.state.endpoints.values().map(|endpoint| endpoint.id.0).chain([ModeRecord::HOST]);
        let ends_soon = |record: ModeRecord| {
            record.is_timed() && record.until > now && record.until - now <= AHEAD.as_nanos() as u64
        };
        if slots.into_iter().any(|slot| table.mode(slot).is_ok_and(ends_soon)) {
            self.seed_conversations();
        }
    }
}
