//! What questions are answered from: handles of the tables and what only the daemon knows, at one moment.
//! Answering may take long on a busy host; nothing waits for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use enforcer_common::{
    endpoint::EndpointId,
    event::{DropEvent, Hook},
    flow::FlowKey,
    verdict::Verdict,
};

use tracing::warn;

use super::{
    gate::Gate,
    store::{Saved, Store},
};
use crate::{
    config::Config,
    datapath::{
        attach::Mechanism,
        flows::{Clock, protocol_name},
        pins::Pins,
        tables::Tables,
    },
    foreign::Watch,
    policy::Labels,
    report::{DaemonStatus, Drops, EndpointReport, FastpathReport, GenerationReport, RecentDrop, Status},
    unenforced::{self, Unenforced},
    view::{View, newest_per_endpoint},
};

/// Stands in for a policy that was never applied.
static NOTHING_SAVED: LazyLock<Saved> = LazyLock::new(Saved::default);

/// See the module.
pub struct Snapshot {
    pub(super) tables: Arc<Tables>,
    pub(super) pins: Pins,
    pub(super) saved: Option<Arc<Saved>>,
    /// What the kernel's tables were resolved with, where that is known.
    pub(super) labels: Option<Labels>,
    pub(super) store: Store,
    pub(super) mechanism: Mechanism,
    pub(super) gate: Gate,
    pub(super) foreign: Arc<Watch>,
    pub(super) fastpath: FastpathReport,
    pub(super) config: Arc<Config>,
    /// Containers that no veth leads to.
    pub(super) unenforced: Vec<Unenforced>,
    pub(super) started_at: SystemTime,
    pub(super) warnings: Vec<String>,
    pub(super) repairs: u64,
    pub(super) last_repair: Option<String>,
    pub(super) conflicts: BTreeMap<u32, Vec<String>>,
    pub(super) names: BTreeMap<EndpointId, String>,
    pub(super) drops: Vec<DropEvent>,
}

impl Snapshot {
    /// What the kernel holds.
    pub fn view(&self) -> View<'_> {
        View { tables: &self.tables, pins: &self.pins, saved: self.saved(), labels: self.labels.as_ref() }
    }

    fn saved(&self) -> &Saved {
        self.saved.as_deref().unwrap_or(&NOTHING_SAVED)
    }

    /// What the kernel knows and what only the daemon knows.
    pub fn status(&self) -> anyhow::Result<Status> {
        let mut status = self.view().status(self.mechanism, self.gate.report())?;
        status.daemon = Some(DaemonStatus {
            pid: std::process::id(),
            started_at: humantime::format_rfc3339_seconds(self.started_at).to_string(),
        });
        status.unenforced = self.unenforced();
        status.fastpath = Some(self.fastpath.clone());
        status.tell_foreign(self.foreign.findings());
        status.repairs = self.repairs;
        status.last_repair.clone_from(&self.last_repair);
        status.warnings.extend(self.warnings.iter().cloned());
        Ok(status)
    }

    /// Workloads that nothing is enforced for, as of now.
    fn unenforced(&self) -> Vec<Unenforced> {
        let mut all = self.unenforced.clone();
        match unenforced::look() {
            Ok(found) => all.extend(unenforced::interfaces(&found, &self.config)),
            Err(error) => warn!(%error, "cannot list interfaces that are not enforced"),
        }
        all.sort();
        all
    }

    /// See [`View::generations`].
    pub fn generations(&self) -> anyhow::Result<Vec<GenerationReport>> {
        self.view().generations(&self.store)
    }

    /// Endpoints with what they claim in vain.
    pub fn endpoints(&self) -> anyhow::Result<Vec<EndpointReport>> {
        let mut reports = self.view().endpoints()?;
        for report in &mut reports {
            report.conflicts = self.conflicts.get(&report.ifindex).cloned().unwrap_or_default();
        }
        Ok(reports)
    }

    /// Totals, and the latest drops: packets where their events arrived, which knows more than flows.
    pub fn drops(&self) -> anyhow::Result<Drops> {
        let mut drops = self.view().drops()?;
        if !self.drops.is_empty() {
            let clock = Clock::now();
            drops.recent = newest_per_endpoint(self.drops.iter().map(|event| self.recent(event, &clock)));
        }
        Ok(drops)
    }

    fn recent(&self, event: &DropEvent, clock: &Clock) -> RecentDrop {
        let key = &event.key;
        let understood = *key != FlowKey::default();
        let proto = || if is_arp(key) { "arp".to_owned() } else { protocol_name(key.protocol) };
        let rule = (event.rule != 0).then(|| self.saved().ids.rules.name(event.rule)).flatten();
        RecentDrop {
            time: clock.text(event.time),
            endpoint: self.names.get(&event.endpoint).cloned(),
            hook: hook_name(event.hook),
            verdict: Verdict::from_code(event.verdict).map_or("unknown", Verdict::name).to_owned(),
            reason: Verdict::from_code(event.verdict).map_or("unknown", Verdict::slug).to_owned(),
            rule: rule.map(ToString::to_string),
            proto: understood.then(proto),
            src: understood.then(|| key.src.into()),
            src_port: u16::from_be(key.src_port),
            dst: understood.then(|| key.dst.into()),
            dst_port: u16::from_be(key.dst_port),
            generation: event.generation,
        }
    }
}

/// A hook of another version of the datapath has no name.
fn hook_name(hook: u8) -> Option<String> {
    let names = [
        (Hook::FromEndpoint, "from-endpoint"),
        (Hook::ToEndpoint, "to-endpoint"),
        (Hook::Guard, "guard"),
        (Hook::FromUplink, "from-uplink"),
    ];
    names.into_iter().find(|(known, _)| *known as u8 == hook).map(|(_, name)| name.to_owned())
}

/// ARP is told in the words of a flow, but has no IP protocol; no IPv4 packet has protocol 0.
fn is_arp(key: &FlowKey) -> bool {
    key.protocol == 0 && key.src.is_v4()
}
