//! Where what is known, what the kernel holds and what is saved meet; one at a time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use enforcer_common::{endpoint::EndpointId, event::DropEvent, limits::MAX_ENDPOINTS, mode::Mode};
use tracing::warn;

use super::{
    claims::Origin,
    disk::{Directory, Disk},
    event::Event,
    gate::Gate,
    kernel::{Kernel, LiveKernel, OpError, perform_each},
    members::UNFOLLOWED,
    op::{Op, Owned},
    policies::{Outcome, Policies, PolicyTables, Prepared},
    repairs::Broken,
    snapshot::Snapshot,
    step::{EndpointState, State},
    store::Store,
};
use crate::{
    config::Config, datapath::migrate, foreign::Watch, policy::world::IntoWorld, report::ForgetReport,
    unenforced::Unenforced,
};

/// Repairs of one inspection that make a line each in the log.
const TOLD_REPAIRS: usize = 8;

/// Drop events remembered.
const REMEMBERED_DROPS: usize = 4096;

/// The daemon's whole knowledge and its hands.
pub struct Core<K = LiveKernel, D = Directory> {
    /// What is known of the host.
    pub state: State,
    pub(super) kernel: K,
    pub(super) policies: Policies<D>,
    /// Addresses of which the kernel refused to hear whose they are.
    pub(super) doubtful: BTreeSet<Owned>,
    /// Whose the addresses were when this daemon began.
    pub(super) inherited: BTreeMap<Owned, EndpointId>,
    /// What was wrong with the last reload.
    pub(super) last_reload: Option<String>,
    /// Why the policy's members are not what they should be.
    pub(super) unfollowed: Option<String>,
    drops: VecDeque<DropEvent>,
    gate: Gate,
    foreign: Arc<Watch>,
    /// What the state believes done may not be: the kernel refused it, or changes went by unseen.
    pub(super) diverged: bool,
    started_at: SystemTime,
}

impl<K: Kernel, D: Disk> Core<K, D> {
    /// Takes over what the kernel holds already.
    pub fn new(config: Arc<Config>, mut kernel: K, store: Store<D>) -> Result<Self, OpError> {
        let policies = Policies::open(kernel.policy(), store)?;
        let mut state = State::new(config);
        let facts = kernel.facts()?;
        let inherited = facts.addresses.iter().map(|(network, owner)| (*network, owner.endpoint));
        let inherited = inherited.collect();
        let mut ops = state.adopt(&facts);
        let mut core = Self {
            state,
            kernel,
            policies,
            doubtful: BTreeSet::new(),
            inherited,
            last_reload: None,
            unfollowed: None,
            drops: VecDeque::new(),
            gate: Gate::Unwanted,
            foreign: Arc::default(),
            diverged: false,
            started_at: SystemTime::now(),
        };
        core.forget_members(&mut ops);
        core.perform(&ops);
        Ok(core)
    }

    /// Leaves the kernel with the policy that ought to decide.
    pub fn restore_policy(&mut self, config: &Config) {
        self.policies.restore(self.kernel.policy(), config);
    }

    /// Holds back what comes from workloads that are not attached to, unless the host only observes.
    pub fn close_gate(&mut self, config: &Config) {
        let observes = self.host_mode() == Mode::Observe;
        self.gate = if observes { Gate::observe() } else { Gate::establish(config) };
    }

    /// Opens the gate when the host begins to observe only, and closes it when that is over.
    pub fn follow_gate(&mut self) {
        let observes = self.host_mode() == Mode::Observe;
        if observes != matches!(self.gate, Gate::Observing { .. }) {
            let config = self.state.config.clone();
            self.close_gate(&config);
        }
    }

    /// One step of the core, and its consequences in the kernel.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Observed(_) if self.diverged => {
                self.diverged = false;
                self.inspect();
            }
            // An index may be another's by now.
            Event::Glimpsed(_) if self.diverged => return,
            _ => {}
        }
        let learns =
            !matches!(event, Event::Appeared { .. } | Event::Vanished { .. } | Event::LookedAround(_));
        let mut ops = self.state.step(event);
        self.forget_members(&mut ops);
        self.perform(&ops);
        if learns {
            self.learn_members();
        }
    }

    /// Compares what the kernel holds with what it should, and mends it.
    pub fn inspect(&mut self) {
        self.policies.restore(self.kernel.policy(), &self.state.config);
        match self.kernel.facts() {
            Ok(facts) => {
                self.doubt_less(&facts);
                self.handle(Event::Inspected(facts.into()));
            }
            Err(error) => {
                warn!(error = &error as &dyn Error, "cannot read back what the kernel holds");
                self.diverged = true;
                return;
            }
        }
        if let Err(error) = self.inspect_policy() {
            warn!("cannot mend what somebody else did to the policy: {error:#}");
        }
        let mut mended = self.state.repairs.latest();
        for broken in mended.by_ref().take(TOLD_REPAIRS) {
            warn!("somebody else changed {}; mended", self.state.describe(broken));
        }
        match mended.count() {
            0 => {}
            more => warn!("somebody else changed {more} things more; mended"),
        }
    }

    fn inspect_policy(&mut self) -> anyhow::Result<()> {
        let Some(damage) = self.policies.damage(self.kernel.policy())? else { return Ok(()) };
        if self.state.repairs.mends(&Broken::Policy(damage)) {
            self.policies.mend(self.kernel.policy(), damage)?;
            // Flows may remember what was judged meanwhile.
            self.perform(&[Op::FactsChanged]);
        }
        Ok(())
    }

    pub(super) fn perform(&mut self, ops: &[Op]) {
        self.expect_stricter(ops);
        let failures = perform_each(&mut self.kernel, ops);
        self.diverged |= failures.refused > 0;
        self.doubt(ops, &failures.addresses);
        for ifindex in failures.gone {
            // Whatever has its index by the next look inherits nothing.
            let mut ops = self.state.step(Event::Vanished { ifindex });
            self.forget_members(&mut ops);
            self.perform(&ops);
        }
        for ifindex in failures.unattached {
            // Tried again with the next look; until then nobody takes a shortcut there.
            let ops = self.state.step(Event::AttachFailed { ifindex });
            self.perform(&ops);
        }
        for (ifindex, reason) in failures.unattached_uplinks {
            if self.state.uplinks.refusal(ifindex) != Some(&reason) {
                warn!(ifindex, "what comes from an uplink is not judged until this works: {reason}");
            }
            let ops = self.state.step(Event::UplinkFailed { ifindex, reason });
            self.perform(&ops);
        }
        for (ifindex, reason) in failures.unguarded {
            if self.state.guards.refusal(ifindex) != Some(&reason) {
                warn!(ifindex, "an interface stays unguarded until this works: {reason}");
            }
            let ops = self.state.step(Event::GuardFailed { ifindex, reason });
            self.perform(&ops);
        }
    }

    /// What an endpoint learned of itself counts no more; the next look learns anew.
    pub fn relearn(&mut self, name: &str) -> anyhow::Result<ForgetReport> {
        let (ifindex, _) = self.endpoint_named(name)?;
        let endpoint = &self.state.endpoints[&ifindex];
        let learned = endpoint.owned.iter().filter(|(_, origin)| **origin == Origin::Learned);
        let report = ForgetReport {
            endpoint: name.to_owned(),
            addresses: learned.map(|(network, _)| network.text()).collect(),
            mac: endpoint.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
        };
        self.handle(Event::Relearn { ifindex });
        Ok(report)
    }

    /// Changes of the host went by unseen: with the next look everything is compared.
    pub const fn distrust(&mut self) {
        self.diverged = true;
    }

    /// Makes a prepared policy decide; see [`Policies::apply`].
    pub fn apply(&mut self, prepared: Prepared, confirm: Option<Duration>) -> anyhow::Result<Outcome> {
        self.policies.restore(self.kernel.policy(), &self.state.config);
        self.policies.apply(self.kernel.policy(), prepared, confirm)
    }

    /// What awaits confirmation stays; see [`Policies::confirm`].
    pub fn confirm(&mut self) -> anyhow::Result<Outcome> {
        self.policies.confirm(self.kernel.policy())
    }

    /// Goes back to an earlier policy; see [`Policies::rollback`].
    pub fn rollback(&mut self, to: Option<u64>) -> anyhow::Result<Outcome> {
        self.policies.restore(self.kernel.policy(), &self.state.config);
        self.policies.rollback(self.kernel.policy(), to)
    }

    /// Ends what was not confirmed in time; see [`Policies::expire`].
    pub fn expire(&mut self) {
        if let Err(error) = self.policies.expire(self.kernel.policy()) {
            warn!("the kernel obeys the fallback, but it cannot be made final: {error:#}");
        }
    }

    /// How long what decides has left unless it is confirmed.
    pub fn time_left(&mut self) -> Option<Duration> {
        let deadline = self.policies.deadline()?;
        Some(Duration::from_nanos(deadline.saturating_sub(self.kernel.policy().boottime())))
    }

    /// Refuses a policy that would open addresses to rules about the world.
    pub fn check_world(&self, prepared: &Prepared) -> Result<(), IntoWorld> {
        self.policies.check_world(prepared)
    }

    pub(super) const fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Policies, as they stand.
    pub const fn policies(&self) -> &Policies<D> {
        &self.policies
    }

    /// Every workload has an address.
    pub fn is_settled(&self) -> bool {
        self.state.endpoints.values().all(|endpoint| !endpoint.owned.is_empty())
    }

    /// Keeps drop events for `drops`.
    pub fn remember_drops(&mut self, batch: Vec<DropEvent>) {
        self.drops.extend(batch);
        let surplus = self.drops.len().saturating_sub(REMEMBERED_DROPS);
        self.drops.drain(..surplus);
    }

    /// What somebody should look at, and only the daemon knows.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.gate.warnings();
        warnings.extend(self.last_reload.clone());
        if !self.state.unregistered.is_empty() {
            let (count, limit) = (self.state.unregistered.len(), MAX_ENDPOINTS - 1);
            warnings.push(format!("{count} workloads beyond the first {limit} stay closed"));
        }
        if self.diverged {
            warnings.push("the kernel refuses facts, the log says which; they are tried again".to_owned());
        }
        if self.policies.is_unsettled() {
            warnings.push(
                "the state directory is not as it ought to be, the log says why; this is tried again"
                    .to_owned(),
            );
        }
        let number = self.policies.generations().published().generation();
        if number > 0 && self.policies.saved().is_none() {
            warnings.push(format!("generation {number} is not saved: `enforcer apply` the policy again"));
        }
        if let Some(reason) = &self.unfollowed {
            warnings.push(format!("{UNFOLLOWED}: {reason}"));
        }
        for endpoint in self.state.endpoints.values() {
            let name = &endpoint.name;
            if !endpoint.conflicts.is_empty() {
                let claims = conflicts(endpoint).join(", ");
                warnings.push(format!(
                    "{name} claims {claims}: refused, somebody else's or not among its first addresses; \
                     declare it in the host file if it is meant"
                ));
            }
            if !endpoint.attached {
                let consequence = self.gate.consequence();
                warnings.push(format!("{name} could not be attached to: {consequence}"));
            }
        }
        for (broken, times) in self.state.repairs.contested() {
            let broken = self.state.describe(broken);
            warnings
                .push(format!("{broken}: mended {times} times in a row, somebody else keeps changing it"));
        }
        for (name, reason) in self.state.uplinks.failing() {
            warnings.push(format!("what comes from {name} is not judged: {reason}"));
        }
        for (name, reason) in self.state.guards.failing() {
            warnings.push(format!("{name} is not guarded: {reason}"));
        }
        warnings
    }
}

impl Core {
    /// The ABI version whose tables were taken over.
    pub const fn migrated_from(&self) -> Option<u32> {
        self.kernel.datapath.migrated_from
    }

    /// Whether the programs that still run look into other tables than ours.
    pub const fn replaces_others(&self) -> bool {
        self.kernel.datapath.replaces_others
    }

    /// Once no program of another version runs any more its tables go.
    pub fn forget_other_versions(&mut self) {
        let replaced = self.state.endpoints.values().all(|endpoint| endpoint.attached);
        let is_refused = self.state.guards.failing().chain(self.state.uplinks.failing()).next().is_some();
        if !replaced || is_refused {
            return;
        }
        if let Err(error) = self.kernel.datapath.tables.forget_other_kind() {
            warn!(error = &error as &dyn Error, "prefixes of another kind stay in memory");
        }
        if let Err(error) = migrate::forget_others(&self.kernel.pins) {
            warn!(error = &error as &dyn Error, "pins of another version stay behind");
        }
    }

    /// Installs the gate again where somebody took it away or changed it.
    pub fn inspect_gate(&mut self) {
        if self.gate.is_whole() || !self.state.repairs.mends(&Broken::Gate) {
            return;
        }
        if matches!(self.gate, Gate::Refused(_)) {
            warn!("there is no gate yet; trying again");
        } else {
            warn!("somebody else changed the gate; mended");
        }
        let config = self.state.config.clone();
        self.close_gate(&config);
    }

    /// Everything that questions are answered from, without holding the core.
    pub fn snapshot(&self) -> Snapshot {
        let endpoints = self.state.endpoints.iter();
        Snapshot {
            tables: self.kernel.reader.clone(),
            pins: self.kernel.pins.clone(),
            saved: self.policies.saved().cloned(),
            labels: self.policies.resolved().cloned(),
            store: self.policies.store().clone(),
            mechanism: self.kernel.mechanism,
            gate: self.gate.clone(),
            foreign: self.foreign.clone(),
            fastpath: self.state.fastpath(),
            config: self.state.config.clone(),
            unenforced: self
                .state
                .unenforced()
                .into_iter()
                .map(|(name, why)| Unenforced { name, why })
                .collect(),
            started_at: self.started_at,
            warnings: self.warnings(),
            repairs: self.state.repairs.count(),
            last_repair: self.state.repairs.last().map(|broken| self.state.describe(broken)),
            conflicts: endpoints.clone().map(|(ifindex, endpoint)| (*ifindex, conflicts(endpoint))).collect(),
            names: endpoints.map(|(_, endpoint)| (endpoint.id, endpoint.name.clone())).collect(),
            drops: self.drops.iter().copied().collect(),
        }
    }
}

fn conflicts(endpoint: &EndpointState) -> Vec<String> {
    endpoint.conflicts.iter().map(|conflict| conflict.text()).collect()
}
