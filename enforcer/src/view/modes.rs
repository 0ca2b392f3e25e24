//! The modes in force, and who says so.

use std::collections::BTreeMap;

use enforcer_common::{
    endpoint::Endpoint,
    mode::{Mode, ModeRecord, in_force},
};

use super::{View, endpoint_name};
use crate::{
    config::Trust,
    datapath::tables::{TableError, boottime},
    report::{EndpointMode, ExplainReport, ModeState, ModesReport, UplinkReport},
};

impl View<'_> {
    /// The modes of the host, and of the endpoints that differ.
    pub fn modes(&self) -> anyhow::Result<ModesReport> {
        let now = boottime();
        let host = self.tables.mode(ModeRecord::HOST)?;
        let host_state = state(&host, None, now);
        let mut endpoints = Vec::new();
        for (_, endpoint) in self.tables.endpoints()? {
            let state = state(&host, Some(&self.tables.mode(endpoint.id.0)?), now);
            if state.mode != host_state.mode {
                endpoints.push(EndpointMode { endpoint: endpoint_name(&endpoint), state });
            }
        }
        endpoints.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        Ok(ModesReport { host: host_state, endpoints })
    }

    /// The mode of one endpoint.
    pub(super) fn mode_of(&self, endpoint: &Endpoint) -> Result<Mode, TableError> {
        let host = self.tables.mode(ModeRecord::HOST)?;
        Ok(in_force(&host, &self.tables.mode(endpoint.id.0)?, boottime()))
    }

    /// Interfaces that lead outside, by name.
    pub(super) fn uplinks(&self) -> Result<Vec<UplinkReport>, TableError> {
        let uplinks = self.tables.uplinks()?.into_iter().map(|(ifindex, record)| UplinkReport {
            interface: endpoint_name(&record),
            ifindex,
            trust: if record.flags & Endpoint::EXTERNAL == 0 { Trust::Fabric } else { Trust::External },
        });
        let mut uplinks: Vec<UplinkReport> = uplinks.collect();
        uplinks.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(uplinks)
    }
}

/// Tells of the ends that are endpoints how seriously their verdicts are taken, unless all are enforced.
pub(super) fn told(mut report: ExplainReport, modes: &ModesReport) -> ExplainReport {
    let of = |name: &String| {
        let own = modes.endpoints.iter().find(|it| it.endpoint == *name);
        (name.clone(), own.map_or(modes.host.mode, |own| own.state.mode))
    };
    let names = [&report.src, &report.dst].into_iter().filter_map(|end| end.endpoint.as_ref());
    let ends = names.filter(|name| *name != "host").map(of);
    let ends: BTreeMap<String, Mode> = ends.collect();
    if ends.values().any(|mode| *mode != Mode::Enforce) {
        report.modes = ends;
    }
    report
}

/// The mode in force at `now`, and where it comes from; `endpoint` is `None` for the host itself.
fn state(host: &ModeRecord, endpoint: Option<&ModeRecord>, now: u64) -> ModeState {
    let none = ModeRecord::default();
    let own = endpoint.unwrap_or(&none);
    let unordered = |record: &ModeRecord| ModeRecord { ordered: 0, until: 0, ..*record };
    let (by, deciding, then) = if own.order(now).is_some() {
        ("ordered", Some(own), in_force(host, &unordered(own), own.until))
    } else if host.order(now).is_some() {
        let by = if endpoint.is_some() { "host" } else { "ordered" };
        (by, Some(host), in_force(&unordered(host), own, host.until))
    } else {
        let by = if endpoint.is_some() && own.configured == 0 { "host" } else { "host file" };
        (by, None, Mode::Enforce)
    };
    let ends = deciding.filter(|record| record.is_timed());
    ModeState {
        mode: in_force(host, own, now),
        by: by.to_owned(),
        seconds_left: ends.map(|record| record.until.saturating_sub(now).div_ceil(1_000_000_000)),
        then: ends.map(|_| then),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn ends_are_told_with_their_modes_unless_all_enforce() {
        let in_mode = |mode| ModeState { mode, ..ModeState::default() };
        let modes = |host, web| {
            let web = EndpointMode { endpoint: "veth-web".to_owned(), state: in_mode(web) };
            told(samples::denied(), &ModesReport { host: in_mode(host), endpoints: vec![web] }).modes
        };
        assert!(modes(Mode::Enforce, Mode::Enforce).is_empty());
        let told = modes(Mode::Enforce, Mode::Observe);
        assert_eq!((told["veth-web"], told["veth-db"]), (Mode::Observe, Mode::Enforce));
    }

    fn record(ordered: Option<Mode>, until: u64, configured: Option<Mode>) -> ModeRecord {
        let (ordered, configured) = (Mode::number(ordered), Mode::number(configured));
        ModeRecord { until, ordered, configured, ..ModeRecord::default() }
    }

    #[test]
    fn it_is_told_who_says_so_and_what_comes_after() {
        let host = record(Some(Mode::Observe), 90 * SECOND, Some(Mode::Enforce));
        let said = state(&host, None, 30 * SECOND);
        assert_eq!((said.mode, &*said.by), (Mode::Observe, "ordered"));
        assert_eq!((said.seconds_left, said.then), (Some(60), Some(Mode::Enforce)));
        let audited = record(None, 0, Some(Mode::Audit));
        let said = state(&host, Some(&audited), 30 * SECOND);
        assert_eq!((said.mode, &*said.by, said.then), (Mode::Observe, "host", Some(Mode::Audit)));
        let said = state(&host, Some(&audited), 90 * SECOND);
        assert_eq!((said.mode, &*said.by, said.then), (Mode::Audit, "host file", None));
        assert_eq!(state(&host, None, 90 * SECOND).by, "host file");
        assert_eq!(state(&host, Some(&ModeRecord::default()), 90 * SECOND).by, "host");
    }
}
