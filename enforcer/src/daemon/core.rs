//! Where what is known, what the kernel holds and what is saved meet; one at a time.

use std::{
    collections::VecDeque,
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use enforcer_common::{
    endpoint::{AddressOwner, Endpoint, EndpointId},
    event::DropEvent,
    limits::MAX_ENDPOINTS,
};
use tracing::{info, warn};

use super::{
    event::{Event, NewPolicy},
    guards::Role,
    kernel::{LiveKernel, perform_all, perform_each},
    op::Owned,
    snapshot::Snapshot,
    step::{EndpointState, State},
    store::{Saved, Store},
};
use crate::{
    config::Config,
    datapath::{
        attach::{self, Mechanism},
        guard,
        load::Datapath,
        pins::Pins,
        tables::Tables,
    },
    policy::{
        self, Capacity, Ids, Policy, Source,
        world::{self, IntoWorld},
    },
    report::{ApplyReport, digest_text},
};

/// Drop events remembered.
const REMEMBERED_DROPS: usize = 4096;

/// The daemon's whole knowledge and its hands.
pub struct Core {
    /// What is known.
    pub state: State,
    kernel: LiveKernel,
    store: Store,
    saved: Option<Arc<Saved>>,
    /// Handles of the tables for whoever only reads.
    reader: Arc<Tables>,
    drops: VecDeque<DropEvent>,
    /// The kernel refused something that the state believes done.
    diverged: bool,
    /// Changes went by unseen: what the state believes done may be undone.
    doubtful: bool,
    started_at: SystemTime,
}

/// A policy that is ready for the kernel.
pub struct Prepared {
    saved: Saved,
    tables: policy::Tables,
    digest: [u8; 32],
}

/// The policy of the host's own files; `None` when there are none.
fn policy_files(config: &Config) -> Option<anyhow::Result<Prepared>> {
    let paths: Vec<PathBuf> = config.policy.iter().filter(|path| path.exists()).cloned().collect();
    let sources = (!paths.is_empty()).then(|| policy::read(&paths))?;
    Some(sources.map_err(anyhow::Error::from).and_then(|sources| prepare(&sources, &Ids::default())))
}

/// From text to tables: everything that can be refused, before anything is touched.
pub fn prepare(sources: &[Source], ids: &Ids) -> anyhow::Result<Prepared> {
    let policy = Policy::parse(sources)?;
    compile(policy, ids)
}

fn compile(policy: Policy, ids: &Ids) -> anyhow::Result<Prepared> {
    let ids = ids.assign(&policy)?;
    let tables = policy::compile(&policy, &ids, Capacity::default())?;
    let digest = policy.digest();
    Ok(Prepared { saved: Saved { policy, ids }, tables, digest })
}

impl Core {
    /// Takes over what the kernel holds already.
    pub fn new(config: Arc<Config>, datapath: Datapath, pins: Pins, store: Store) -> anyhow::Result<Self> {
        let generation = datapath.tables.generation()?.unwrap_or_default();
        let mechanism = config.datapath.attach;
        let saved = store.load().unwrap_or_else(|error| {
            warn!(
                error = &error as &dyn Error,
                "the saved policy cannot be used; the kernel keeps what it has"
            );
            None
        });
        let mut core = Self {
            state: State::new(config, generation),
            saved: saved.map(Arc::new),
            reader: Arc::new(Tables::open_pinned(&pins)?),
            kernel: LiveKernel { datapath, pins, mechanism },
            store,
            drops: VecDeque::new(),
            diverged: false,
            doubtful: false,
            started_at: SystemTime::now(),
        };
        core.adopt()?;
        Ok(core)
    }

    /// Endpoints of an earlier daemon whose interface is still the same one.
    fn adopt(&mut self) -> anyhow::Result<()> {
        let tables = &mut self.kernel.datapath.tables;
        let (known, stale): (Vec<_>, Vec<_>) =
            tables.endpoints()?.into_iter().partition(|(ifindex, endpoint)| {
                is_alive(&self.kernel.pins, self.kernel.mechanism, *ifindex, endpoint)
            });
        let mut addresses: Vec<(Owned, AddressOwner)> = Vec::new();
        for (address, bits, owner) in tables.addresses()? {
            let known = owner.endpoint == EndpointId::HOST
                || known.iter().any(|(ifindex, _)| *ifindex == owner.ifindex);
            if known {
                addresses.push((Owned { address, bits }, owner));
            } else {
                tables.remove_address(address, bits)?;
            }
        }
        for (ifindex, _) in stale {
            tables.remove_endpoint(ifindex)?;
            attach::detach_tcx(&self.kernel.pins, ifindex);
        }
        // A daemon that died between a write and this left flows judged under facts that are gone.
        tables.facts_changed();
        let guards = self.adopt_guards(&known)?;
        self.state.adopt(&known, &addresses, &guards);
        Ok(())
    }

    /// Guards of an earlier daemon that still run, where there is a record to run by.
    fn adopt_guards(&mut self, known: &[(u32, Endpoint)]) -> anyhow::Result<Vec<(u32, Role)>> {
        let tables = &mut self.kernel.datapath.tables;
        let uplinks = tables.uplinks()?;
        let mut running = Vec::new();
        for (ifindex, _) in self.kernel.pins.list_guards()? {
            if uplinks.contains(&ifindex) {
                running.push((ifindex, Role::Uplink));
            } else if known.iter().any(|(endpoint, _)| *endpoint == ifindex) {
                running.push((ifindex, Role::Endpoint));
            } else {
                let detached = guard::detach(&self.kernel.pins, ifindex);
                detached.unwrap_or_else(|error| warn!("a guard that nobody wants stays: {error}"));
            }
        }
        for ifindex in uplinks.into_iter().filter(|uplink| running.iter().all(|(other, _)| other != uplink)) {
            tables.remove_endpoint(ifindex)?;
        }
        Ok(running)
    }

    /// The last good policy, or the files of a host that never had one. A kernel that enforces the saved
    /// policy already is left alone, and so is one for which neither is any good: staying away would leave
    /// new workloads open.
    pub fn restore_policy(&mut self, config: &Config) {
        let prepared = match self.saved.clone() {
            Some(saved) => compile(saved.policy.clone(), &saved.ids),
            None => match policy_files(config) {
                Some(prepared) => prepared,
                None => return self.warn_without_policy(),
            },
        };
        if let Err(error) = prepared.and_then(|prepared| self.apply(prepared)) {
            warn!("no policy could be restored:\n{error:#}");
            self.warn_without_policy();
        }
    }

    fn warn_without_policy(&self) {
        match self.state.generation.number {
            0 => warn!("no policy yet: nothing passes between workloads until `enforcer apply`"),
            number => warn!(number, "the kernel goes on with the generation it has; its names are unknown"),
        }
    }

    /// One step of the core, and its consequences in the kernel.
    pub fn handle(&mut self, event: Event) {
        if (self.diverged || self.doubtful) && matches!(event, Event::Observed(_)) {
            self.start_over();
        }
        let ops = self.state.step(event);
        let failures = perform_each(&mut self.kernel, &ops);
        self.diverged |= failures.refused > 0;
        for ifindex in failures.unattached {
            // Tried again with the next look; nothing to do before.
            let nothing = self.state.step(Event::AttachFailed { ifindex });
            debug_assert!(nothing.is_empty());
        }
        for (ifindex, reason) in failures.unguarded {
            if self.state.guards.refusal(ifindex) != Some(&reason) {
                warn!(ifindex, "an interface stays unguarded until this works: {reason}");
            }
            let nothing = self.state.step(Event::GuardFailed { ifindex, reason });
            debug_assert!(nothing.is_empty());
        }
    }

    /// Changes of the host went by unseen: the next look starts from what the kernel holds.
    pub const fn distrust(&mut self) {
        self.doubtful = true;
    }

    /// Believes the kernel instead of what should have been written: then the next look finds out what is
    /// missing.
    fn start_over(&mut self) {
        let mut fresh = self.state.without_facts();
        std::mem::swap(&mut self.state, &mut fresh);
        match self.adopt() {
            Ok(()) => (self.diverged, self.doubtful) = (false, false),
            Err(error) => {
                warn!("cannot read back what the kernel holds: {error:#}");
                self.state = fresh;
            }
        }
    }

    /// Makes a prepared policy decide, wholly or not at all. Saved first: after a crash in between, the
    /// next start goes on from there.
    pub fn apply(&mut self, prepared: Prepared) -> anyhow::Result<ApplyReport> {
        let Prepared { saved, tables, digest } = prepared;
        let in_kernel = self.state.generation;
        // Ids may have been lost with the state directory: then the kernel's are not these.
        let unchanged =
            in_kernel.number > 0 && in_kernel.digest == digest && self.saved.as_deref() == Some(&saved);
        if !unchanged {
            let mut next = self.state.clone();
            let applied_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
            let ops = next.step(Event::Apply(NewPolicy { tables: Arc::new(tables), digest, applied_at }));
            self.store.save(&saved)?;
            if let Err(error) = perform_all(&mut self.kernel, &ops) {
                match &self.saved {
                    Some(before) => self.store.save(before)?,
                    None => drop(self.store.remove()?),
                }
                return Err(error)
                    .context("the kernel did not take the policy; the one before still decides");
            }
            self.state = next;
            info!(
                generation = self.state.generation.number,
                networks = saved.policy.networks.len(),
                "policy applied"
            );
        }
        self.saved = Some(Arc::new(saved));
        let generation = self.state.generation;
        Ok(ApplyReport {
            unchanged,
            generation: generation.number,
            digest: digest_text(&generation.digest),
            networks: generation.networks,
            prefixes: generation.prefixes,
        })
    }

    /// Refuses a policy that would let its rules about the world mean addresses that the active one covers.
    pub fn check_world(&self, prepared: &Prepared) -> Result<(), IntoWorld> {
        // Before the first policy nothing is covered, so nothing moves.
        self.saved.as_deref().map_or(Ok(()), |active| world::check(&active.policy, &prepared.saved.policy))
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

    /// Ids that the next policy builds on.
    pub fn ids(&self) -> Ids {
        self.saved.as_ref().map(|saved| saved.ids.clone()).unwrap_or_default()
    }

    /// Everything that questions are answered from, without holding the core.
    pub fn snapshot(&self) -> Snapshot {
        let endpoints = self.state.endpoints.iter();
        Snapshot {
            tables: self.reader.clone(),
            pins: self.kernel.pins.clone(),
            saved: self.saved.clone(),
            mechanism: self.kernel.mechanism,
            started_at: self.started_at,
            warnings: self.warnings(),
            conflicts: endpoints.clone().map(|(ifindex, endpoint)| (*ifindex, conflicts(endpoint))).collect(),
            names: endpoints.map(|(_, endpoint)| (endpoint.id, endpoint.name.clone())).collect(),
            drops: self.drops.iter().copied().collect(),
        }
    }

    /// What somebody should look at, and only the daemon knows.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.state.unregistered.is_empty() {
            let (count, limit) = (self.state.unregistered.len(), MAX_ENDPOINTS - 1);
            warnings.push(format!("{count} workloads beyond the first {limit} stay closed"));
        }
        if self.diverged {
            warnings.push("the kernel refuses facts, the log says which; they are tried again".to_owned());
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
                warnings.push(format!("{name} could not be attached to and is not enforced"));
            }
        }
        for (name, reason) in self.state.guards.failing() {
            warnings.push(format!("{name} is not guarded: {reason}"));
        }
        warnings
    }
}

fn conflicts(endpoint: &EndpointState) -> Vec<String> {
    endpoint.conflicts.iter().map(|conflict| conflict.text()).collect()
}

fn is_alive(pins: &Pins, mechanism: Mechanism, ifindex: u32, endpoint: &Endpoint) -> bool {
    match mechanism {
        // The link knows its interface, whatever was renamed or reused since.
        Mechanism::Tcx => {
            attach::link_ifindex(&pins.link(ifindex, "from_endpoint")).is_ok_and(|linked| linked == ifindex)
        }
        Mechanism::Clsact => nix::net::if_::if_nametoindex(&*crate::view::endpoint_name(endpoint))
            .is_ok_and(|current| current == ifindex),
    }
}
