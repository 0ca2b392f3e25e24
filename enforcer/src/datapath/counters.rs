//! Totals: per reason, per endpoint, per network, per rule. Summed over the CPUs; they are never lost.

use aya::maps::{MapData, MapError, PerCpuArray};
use enforcer_common::{
    counter::{Counter, EndpointCounters},
    endpoint::EndpointId,
    verdict::{DropReason, PassReason, Verdict},
};

use super::tables::{TableError, Tables, sum};

impl Tables {
    /// Packets per reason, passes first; every reason is listed, counted or not.
    pub fn reasons(&self) -> Result<Vec<(Verdict, Counter)>, TableError> {
        let passes = PassReason::ALL.iter().map(|reason| Verdict::Pass(*reason));
        let drops = DropReason::ALL.iter().map(|reason| Verdict::Drop(*reason));
        passes
            .chain(drops)
            .map(|verdict| {
                let values = self.reasons.get(&u32::from(verdict.code()), 0);
                let values = values.map_err(|source| TableError::Map { name: "REASONS", source })?;
                Ok((verdict, sum(&values)))
            })
            .collect()
    }

    /// Packets that went on because of a mode, per reason that they would have been dropped for; every
    /// reason is listed, counted or not.
    pub fn would_drops(&self) -> Result<Vec<(Verdict, Counter)>, TableError> {
        let reasons = DropReason::ALL.iter().map(|reason| {
            let slot = Verdict::strict_code(Verdict::WouldDrop(*reason).code());
            let values = self.would_drops.get(&u32::from(slot), 0);
            let values = values.map_err(|source| TableError::Map { name: "WOULD_DROPS", source })?;
            Ok((Verdict::WouldDrop(*reason), sum(&values)))
        });
        reasons.collect()
    }

    /// Packets per verdict: [`Tables::reasons`], then [`Tables::would_drops`].
    pub fn verdicts(&self) -> Result<Vec<(Verdict, Counter)>, TableError> {
        let mut all = self.reasons()?;
        all.extend(self.would_drops()?);
        Ok(all)
    }

    /// What one endpoint sent and received.
    pub fn endpoint_counters(&self, id: EndpointId) -> Result<EndpointCounters, TableError> {
        let values = self.endpoint_counters.get(&id.0, 0);
        Ok(sum(&values.map_err(|source| TableError::Map { name: "ENDPOINT_COUNTERS", source })?))
    }

    /// What passed because of one network.
    pub fn network_counter(&self, network: u32) -> Result<Counter, TableError> {
        of_id(&self.network_counters, "NETWORK_COUNTERS", network)
    }

    /// What one rule decided.
    pub fn rule_counter(&self, rule: u32) -> Result<Counter, TableError> {
        of_id(&self.rule_counters, "RULE_COUNTERS", rule)
    }

    /// Drop events that never reached the ring: over the rate, or the ring was full.
    pub fn lost_events(&self) -> Result<u64, TableError> {
        let values = self.event_budget.get(&0, 0);
        let values = values.map_err(|source| TableError::Map { name: "EVENT_BUDGET", source })?;
        Ok(values.iter().map(|budget| budget.lost).sum())
    }
}

/// Nothing is counted by ids that there is no room for, [`super::sizes::Sizes`].
fn of_id(
    counters: &PerCpuArray<MapData, Counter>,
    name: &'static str,
    id: u32,
) -> Result<Counter, TableError> {
    match counters.get(&id, 0) {
        Err(MapError::OutOfBounds { .. }) => Ok(Counter::default()),
        values => Ok(sum(&values.map_err(|source| TableError::Map { name, source })?)),
    }
}
