//! Where what is known, what the kernel holds and what is saved meet; one at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use enforcer_common::{
    endpoint::{AddressOwner, Endpoint, EndpointId},
    event::{DropEvent, Hook},
    flow::FlowKey,
    limits::MAX_ENDPOINTS,
    verdict::Verdict,
};
use tracing::{info, warn};

use super::{
    kernel::{LiveKernel, perform_all, perform_each},
    op::Owned,
    step::{Event, NewPolicy, State},
    store::{Saved, Store},
};
use crate::{
    config::Config,
    datapath::{
        attach::{self, Mechanism},
        flows::{Clock, protocol_name},
        load::Datapath,
        pins::Pins,
    },
    policy::{self, Capacity, IdTable, Policy, Source},
    report::{ApplyReport, DaemonStatus, Drops, EndpointReport, RecentDrop, Status, digest_text},
    view::{View, newest_per_endpoint},
};

/// Stands in for a policy that was never applied.
static NOTHING_SAVED: LazyLock<Saved> = LazyLock::new(Saved::default);

/// Drop events remembered.
const REMEMBERED_DROPS: usize = 4096;

/// The daemon's whole knowledge and its hands.
pub struct Core {
    /// What is known.
    pub state: State,
    kernel: LiveKernel,
    store: Store,
    saved: Option<Saved>,
    drops: VecDeque<DropEvent>,
    refused_ops: usize,
    started_at: SystemTime,
}

/// A policy that is ready for the kernel.
pub struct Prepared {
    saved: Saved,
    tables: policy::Tables,
    digest: [u8; 32],
}

/// From text to tables: everything that can be refused, before anything is touched.
pub fn prepare(sources: &[Source], ids: &IdTable) -> anyhow::Result<Prepared> {
    let policy = Policy::parse(sources)?;
    compile(policy, ids)
}

fn compile(policy: Policy, ids: &IdTable) -> anyhow::Result<Prepared> {
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
        let mut core = Self {
            state: State::new(config, generation),
            saved: store.load()?,
            kernel: LiveKernel { datapath, pins, mechanism },
            store,
            drops: VecDeque::new(),
            refused_ops: 0,
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
        self.state.adopt(&known, &addresses);
        Ok(())
    }

    /// The last good policy, or the files of a host that never had one. A kernel that enforces the saved
    /// policy already is left alone.
    pub fn restore_policy(&mut self, config: &Config) -> anyhow::Result<()> {
        if let Some(saved) = self.saved.clone() {
            let prepared = compile(saved.policy, &saved.ids)?;
            self.apply(prepared).map(drop)
        } else {
            if self.state.generation.number > 0 {
                warn!("the saved policy is gone: the kernel goes on enforcing it, but names are unknown");
            }
            let paths: Vec<PathBuf> = config.policy.iter().filter(|path| path.exists()).cloned().collect();
            if paths.is_empty() {
                warn!("no policy yet: nothing passes between workloads until `enforcer apply`");
                return Ok(());
            }
            let prepared = policy::read(&paths).map_err(anyhow::Error::from);
            let prepared = prepared.and_then(|sources| prepare(&sources, &IdTable::default()));
            // Not a reason to stay away: closed and answering is better than closed and silent.
            match prepared {
                Ok(prepared) => self.apply(prepared).map(drop),
                Err(error) => {
                    warn!("the policy files are not applied, nothing passes between workloads:\n{error:#}");
                    Ok(())
                }
            }
        }
    }

    /// One step of the core, and its consequences in the kernel.
    pub fn handle(&mut self, event: Event) {
        let ops = self.state.step(event);
        let failures = perform_each(&mut self.kernel, &ops);
        self.refused_ops += failures.refused;
        for ifindex in failures.unattached {
            // Tried again with the next look; nothing to do before.
            let nothing = self.state.step(Event::AttachFailed { ifindex });
            debug_assert!(nothing.is_empty());
        }
    }

    /// Makes a prepared policy decide, wholly or not at all. Saved first: after a crash in between, the
    /// next start goes on from there.
    pub fn apply(&mut self, prepared: Prepared) -> anyhow::Result<ApplyReport> {
        let Prepared { saved, tables, digest } = prepared;
        let in_kernel = self.state.generation;
        // Ids may have been lost with the state directory: then the kernel's are not these.
        let unchanged =
            in_kernel.number > 0 && in_kernel.digest == digest && self.saved.as_ref() == Some(&saved);
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
        self.saved = Some(saved);
        let generation = self.state.generation;
        Ok(ApplyReport {
            unchanged,
            generation: generation.number,
            digest: digest_text(&generation.digest),
            networks: generation.networks,
            prefixes: generation.prefixes,
        })
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
    pub fn ids(&self) -> IdTable {
        self.saved.as_ref().map(|saved| saved.ids.clone()).unwrap_or_default()
    }

    /// What the kernel holds.
    pub fn view(&self) -> View<'_> {
        View { tables: &self.kernel.datapath.tables, saved: self.saved.as_ref().unwrap_or(&NOTHING_SAVED) }
    }

    /// What the kernel knows and what only the daemon knows.
    pub fn status(&self) -> anyhow::Result<Status> {
        let mut status = self.view().status(self.kernel.mechanism)?;
        status.daemon = Some(DaemonStatus {
            pid: std::process::id(),
            started_at: humantime::format_rfc3339_seconds(self.started_at).to_string(),
        });
        if !self.state.unregistered.is_empty() {
            status.warnings.push(format!(
                "{} workloads beyond the first {} stay closed",
                self.state.unregistered.len(),
                MAX_ENDPOINTS - 1
            ));
        }
        if self.refused_ops > 0 {
            status.warnings.push(format!(
                "the kernel refused {} changes of facts since the start; the log says which",
                self.refused_ops
            ));
        }
        for endpoint in self.state.endpoints.values() {
            for conflict in &endpoint.conflicts {
                status.warnings.push(format!(
                    "{} claims {}, which belongs to somebody else: refused",
                    endpoint.name,
                    conflict.text()
                ));
            }
            if !endpoint.attached {
                status
                    .warnings
                    .push(format!("{} could not be attached to and is not enforced", endpoint.name));
            }
        }
        Ok(status)
    }

    /// Endpoints with what they claim in vain.
    pub fn endpoints(&self) -> anyhow::Result<Vec<EndpointReport>> {
        let mut reports = self.view().endpoints()?;
        for report in &mut reports {
            if let Some(endpoint) = self.state.endpoints.get(&report.ifindex) {
                report.conflicts = endpoint.conflicts.iter().map(|conflict| conflict.text()).collect();
            }
        }
        Ok(reports)
    }

    /// Totals, and the latest drops: packets where their events arrived, which knows more than flows.
    pub fn drops(&self) -> anyhow::Result<Drops> {
        let mut drops = self.view().drops()?;
        let names: BTreeMap<EndpointId, &str> =
            self.state.endpoints.values().map(|endpoint| (endpoint.id, &*endpoint.name)).collect();
        let clock = Clock::now();
        if !self.drops.is_empty() {
            drops.recent = newest_per_endpoint(self.drops.iter().map(|event| recent(event, &names, &clock)));
        }
        Ok(drops)
    }
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

/// ARP is told in the words of a flow, but has no IP protocol; no IPv4 packet has protocol 0.
fn is_arp(key: &FlowKey) -> bool {
    key.protocol == 0 && key.src.is_v4()
}

fn recent(event: &DropEvent, names: &BTreeMap<EndpointId, &str>, clock: &Clock) -> RecentDrop {
    let key = &event.key;
    let understood = *key != FlowKey::default();
    let hook = if event.hook == Hook::FromEndpoint as u8 { "from-endpoint" } else { "to-endpoint" };
    RecentDrop {
        time: clock.text(event.time),
        endpoint: names.get(&event.endpoint).map(|name| (*name).to_owned()),
        hook: Some(hook.to_owned()),
        reason: Verdict::from_code(event.verdict).map_or("unknown", Verdict::slug).to_owned(),
        proto: understood.then(|| if is_arp(key) { "arp".to_owned() } else { protocol_name(key.protocol) }),
        src: understood.then(|| key.src.into()),
        src_port: u16::from_be(key.src_port),
        dst: understood.then(|| key.dst.into()),
        dst_port: u16::from_be(key.dst_port),
        generation: event.generation,
    }
}
