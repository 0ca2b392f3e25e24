//! Answers about what the kernel enforces, from the tables and the saved policy: the daemon gives them,
//! and so does the command line when no daemon runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use enforcer_common::{
    address::Address,
    counter::Counter,
    endpoint::{AddressOwner, Endpoint, EndpointId},
    verdict::{PassReason, Verdict},
};

use crate::{
    config::Provides,
    daemon::{
        op::Owned,
        store::{Saved, Store, read},
    },
    datapath::{
        attach::Mechanism,
        flows::{Flow, Names},
        gate,
        memory::Memory,
        pins::Pins,
        probe,
        tables::Tables,
    },
    foreign,
    policy::{Labels, Policy},
    report::{
        Drops, EndpointReport, ExplainReport, GateReport, GenerationReport, ModesReport, NetworkReport,
        PolicyReport, ReasonReport, RecentDrop, RuleReport, Status, digest_text, remark,
    },
};

mod explain;
mod features;
mod generations;
mod guards;
mod impact;
mod members;
mod modes;
mod rules;

pub use explain::{Ends, explain, explain_policy};
pub use impact::impact;

/// Denied flows told per endpoint.
const RECENT_PER_ENDPOINT: usize = 5;

/// The tables and the saved policy, side by side.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What the kernel holds.
    pub tables: &'a Tables,
    /// What keeps it there.
    pub pins: &'a Pins,
    /// What it was compiled from.
    pub saved: &'a Saved,
    /// What its tables were resolved with, where that is known.
    pub labels: Option<&'a Labels>,
}

/// Names of one moment.
struct NameBook<'a> {
    saved: &'a Saved,
    endpoints: BTreeMap<EndpointId, String>,
    digests: BTreeMap<u64, String>,
}

impl Names for NameBook<'_> {
    fn network(&self, id: u32) -> Option<String> {
        self.saved.ids.networks.name(id).map(ToString::to_string)
    }

    fn rule(&self, id: u32) -> Option<String> {
        self.saved.ids.rules.name(id).map(ToString::to_string)
    }

    fn endpoint(&self, id: EndpointId) -> Option<String> {
        self.endpoints.get(&id).cloned()
    }

    fn digest(&self, generation: u64) -> Option<String> {
        self.digests.get(&generation).cloned()
    }
}

impl View<'_> {
    fn names(&self) -> anyhow::Result<NameBook<'_>> {
        let endpoints = self.tables.endpoints()?;
        let endpoints = endpoints.into_iter().map(|(_, endpoint)| (endpoint.id, endpoint_name(&endpoint)));
        let records = self.tables.generations()?.into_iter().filter(|record| record.number > 0);
        let digests = records.map(|record| (record.number, digest_text(&record.digest)));
        Ok(NameBook { saved: self.saved, endpoints: endpoints.collect(), digests: digests.collect() })
    }

    /// The state of the host, as far as the kernel knows it.
    pub fn status(&self, attach: Mechanism, gate: GateReport) -> anyhow::Result<Status> {
        let generation = self.tables.generation()?;
        let endpoints = self.tables.endpoints()?;
        let ready = endpoints.iter().filter(|(_, endpoint)| is_addressed(endpoint)).count() as u32;
        let (mut passed, mut dropped) = Default::default();
        // What an uplink lets in is counted once more where a workload receives it, and else is no workload's.
        let counted = |verdict: &Verdict| *verdict != Verdict::Pass(PassReason::Uplink);
        for (verdict, counter) in self.tables.reasons()?.into_iter().filter(|(verdict, _)| counted(verdict)) {
            *(if verdict.is_pass() { &mut passed } else { &mut dropped }) += counter;
        }
        let would_dropped =
            self.tables.would_drops()?.into_iter().fold(Counter::default(), |mut sum, (_, more)| {
                sum += more;
                sum
            });
        let modes = self.modes()?;
        let mut warnings = Vec::new();
        if generation.is_none() {
            let remark = remark(modes.host.mode);
            warnings.push(format!("no policy was ever applied: nothing passes between workloads{remark}"));
        } else if generation.is_some_and(|generation| generation.digest != self.saved.policy.digest()) {
            warnings
                .push("the kernel enforces another policy than the saved one: names may be wrong".to_owned());
        }
        let moment = |seconds| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon: None,
            kernel: probe::release(),
            attach,
            endpoints_other_mode: modes.endpoints.len() as u32,
            mode: modes.host,
            features: features::in_use(attach),
            lacking: features::lacking(),
            generation: generation.map_or(0, |generation| generation.number),
            digest: generation.map(|generation| digest_text(&generation.digest)),
            applied_at: generation.map(|generation| moment(generation.applied_at).to_string()),
            seconds_left: self.tables.seconds_left()?,
            networks: generation.map_or(0, |generation| generation.networks),
            prefixes: generation.map_or(0, |generation| generation.prefixes),
            sets: generation.map_or(0, |generation| generation.sets),
            rules: generation.map_or(0, |generation| generation.rules),
            endpoints_ready: ready,
            endpoints_quarantined: endpoints.len() as u32 - ready,
            gate,
            uplinks: self.uplinks()?,
            guards: self.guards()?,
            unenforced: Vec::new(),
            foreign: Vec::new(),
            fastpath: None,
            foreign_unseen: Vec::new(),
            passed,
            dropped,
            would_dropped,
            events_lost: self.tables.lost_events()?,
            memory: Memory::of(self.pins)?,
            repairs: 0,
            last_repair: None,
            warnings,
        })
    }

    /// Every network of the policy.
    pub fn networks(&self) -> anyhow::Result<Vec<NetworkReport>> {
        let (endpoints, policy) = (self.endpoints()?, self.resolved());
        let networks = policy.networks.iter().map(|(name, network)| {
            let id = self.saved.ids.networks.id(name).with_context(|| format!("network {name} has no id"))?;
            let counter = self.tables.network_counter(id)?;
            let members = endpoints
                .iter()
                .filter(|endpoint| endpoint.networks.iter().any(|other| other == name.as_str()));
            Ok(NetworkReport {
                name: name.to_string(),
                id,
                members: network.members().iter().map(ToString::to_string).collect(),
                prefixes: network.prefixes().iter().map(ToString::to_string).collect(),
                except: network.except().iter().map(ToString::to_string).collect(),
                endpoints: members.map(|endpoint| endpoint.name.clone()).collect(),
                packets: counter.packets,
                bytes: counter.bytes,
            })
        });
        networks.collect()
    }

    /// Every endpoint that the kernel knows.
    pub fn endpoints(&self) -> anyhow::Result<Vec<EndpointReport>> {
        let (addresses, policy) = (self.tables.addresses()?, self.resolved());
        let mut reports = Vec::new();
        for (ifindex, endpoint) in self.tables.endpoints()? {
            let owned = addresses.iter().filter(|(_, _, owner)| owner.endpoint == endpoint.id);
            let owned: Vec<Owned> =
                owned.map(|(address, bits, _)| Owned { address: *address, bits: *bits }).collect();
            let networks: BTreeSet<String> =
                owned.iter().flat_map(|owned| memberships(&policy, owned.address.into())).collect();
            let mac = Some(endpoint.mac).filter(|mac| *mac != [0; 6]);
            reports.push(EndpointReport {
                name: endpoint_name(&endpoint),
                ifindex,
                id: endpoint.id.0,
                state: if is_addressed(&endpoint) { "ready" } else { "quarantined" }.to_owned(),
                mode: self.mode_of(&endpoint)?,
                mac: mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
                addresses: owned.iter().map(|owned| owned.text()).collect(),
                networks: networks.into_iter().collect(),
                provides: provided(&endpoint),
                conflicts: Vec::new(),
                counters: self.tables.endpoint_counters(endpoint.id)?,
            });
        }
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(reports)
    }

    /// Every flow remembered.
    pub fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        Ok(self.tables.flows(&self.names()?)?)
    }

    /// Totals per reason, and the denied flows seen last at each endpoint.
    pub fn drops(&self) -> anyhow::Result<Drops> {
        Ok(Drops {
            reasons: self
                .tables
                .verdicts()?
                .into_iter()
                .filter(|(verdict, counter)| {
                    !matches!(verdict, Verdict::WouldDrop(_)) || *counter != Counter::default()
                })
                .map(|(verdict, counter)| reason(verdict, counter))
                .collect(),
            recent: newest_per_endpoint(self.tables.refused(&self.names()?)?.iter().map(recent)),
            events_lost: self.tables.lost_events()?,
        })
    }

    /// The policy that decides.
    pub fn policy(&self) -> anyhow::Result<PolicyReport> {
        let policy = self.saved.policy.clone();
        let generation = self.tables.generation()?.map_or(0, |generation| generation.number);
        let members = self.labels.map(|labels| policy.additions(labels));
        Ok(PolicyReport { generation, digest: digest_text(&policy.digest()), policy, members })
    }

    /// Whether two ends may talk under the policy that decides.
    pub fn explain(&self, src: &str, dst: &str, service: Option<&str>) -> anyhow::Result<ExplainReport> {
        let names = self.names()?;
        let mut ends = Ends::default();
        for (address, bits, owner) in self.tables.addresses()? {
            let name = match owner {
                AddressOwner { endpoint: EndpointId::HOST, .. } => "host".to_owned(),
                AddressOwner { endpoint, .. } => names.endpoint(endpoint).unwrap_or_default(),
            };
            ends.insert(Owned { address, bits }, name);
        }
        let generation = Some(self.tables.generation()?.map_or(0, |generation| generation.number));
        let report = explain(&self.resolved(), &ends, (src, dst, service), generation)?;
        let report = members::told(report, &self.saved.policy, self.labels);
        Ok(modes::told(report, &self.modes()?))
    }
}

/// Keeps the newest of each endpoint, newest first.
pub fn newest_per_endpoint(drops: impl Iterator<Item = RecentDrop>) -> Vec<RecentDrop> {
    let mut drops: Vec<RecentDrop> = drops.collect();
    drops.sort_by(|a, b| b.time.cmp(&a.time));
    let mut told: BTreeMap<Option<String>, usize> = BTreeMap::new();
    drops.retain(|drop| {
        let count = told.entry(drop.endpoint.clone()).or_default();
        *count += 1;
        *count <= RECENT_PER_ENDPOINT
    });
    drops
}

fn recent(flow: &Flow) -> RecentDrop {
    RecentDrop {
        time: flow.last_seen.clone(),
        endpoint: flow.endpoint_src.clone().or_else(|| flow.endpoint_dst.clone()),
        hook: None,
        verdict: flow.verdict.clone(),
        reason: flow.reason.clone(),
        rule: flow.rule.clone(),
        proto: Some(flow.proto.clone()),
        src: Some(flow.src),
        src_port: flow.src_port,
        dst: Some(flow.dst),
        dst_port: flow.dst_port,
        generation: flow.generation,
    }
}

fn reason(verdict: Verdict, counter: Counter) -> ReasonReport {
    let category = match verdict {
        Verdict::Pass(reason) => reason.category(),
        Verdict::Drop(reason) | Verdict::WouldDrop(reason) => reason.category(),
    };
    ReasonReport {
        reason: verdict.slug().to_owned(),
        verdict: verdict.name().to_owned(),
        category: format!("{category:?}").to_lowercase(),
        caption: verdict.caption().to_owned(),
        packets: counter.packets,
        bytes: counter.bytes,
    }
}

fn is_addressed(endpoint: &Endpoint) -> bool {
    endpoint.flags & Endpoint::ADDRESSED != 0
}

fn provided(endpoint: &Endpoint) -> Vec<String> {
    let provided = Provides::ALL.into_iter().filter(|provides| endpoint.flags & provides.flag() != 0);
    provided.map(|provides| provides.word().to_owned()).collect()
}

/// The name in an endpoint's record.
pub fn endpoint_name(endpoint: &Endpoint) -> String {
    String::from_utf8_lossy(&endpoint.name).trim_end_matches('\0').to_owned()
}

/// Networks of an address as the datapath sees it: only global unicast addresses are members.
fn memberships(policy: &Policy, address: IpAddr) -> Vec<String> {
    use enforcer_common::address::Scope;
    if Address::from(address).scope() != Scope::Global {
        return Vec::new();
    }
    policy.memberships(address).into_iter().map(ToString::to_string).collect()
}

/// The same answers with no daemon: the pinned tables and the saved policy.
pub struct Offline {
    tables: Tables,
    pins: Pins,
    saved: Saved,
    store: Store,
    attach: Mechanism,
}

impl Offline {
    /// Opens what an earlier daemon left behind.
    pub fn open(bpffs: &Path, state_dir: &Path) -> anyhow::Result<Self> {
        let pins = Pins::new(bpffs.to_owned());
        if pins.ours().is_empty() {
            bail!("nothing is pinned at {}", bpffs.display());
        }
        let tables = Tables::open_pinned(&pins)?;
        let store = Store::new(state_dir.to_owned());
        let saved =
            tables.generation()?.and_then(|deciding| read(store.saved_as(&deciding))).unwrap_or_default();
        let linked = pins.list_links()?.len() > pins.list_guards()?.len();
        Ok(Self {
            tables,
            pins,
            saved,
            store,
            attach: if linked { Mechanism::Tcx } else { Mechanism::best() },
        })
    }

    const fn view(&self) -> View<'_> {
        View { tables: &self.tables, pins: &self.pins, saved: &self.saved, labels: None }
    }

    /// See [`View::status`].
    pub fn status(&self) -> anyhow::Result<Status> {
        let gate = match gate::installed() {
            Ok(Some(_)) => GateReport::On,
            Ok(None) => GateReport::off("its rules are not there"),
            Err(error) => GateReport::off(format!("{:#}", anyhow::Error::from(error))),
        };
        let newcomers = if gate == GateReport::On { "stay closed" } else { "are not enforced" };
        let mut status = self.view().status(self.attach, gate)?;
        status.tell_foreign(foreign::read::look());
        status
            .warnings
            .push(format!("no daemon is running: new workloads {newcomers}, and nothing can be applied"));
        Ok(status)
    }

    /// See [`View::modes`].
    pub fn modes(&self) -> anyhow::Result<ModesReport> {
        self.view().modes()
    }

    /// See [`View::networks`].
    pub fn networks(&self) -> anyhow::Result<Vec<NetworkReport>> {
        self.view().networks()
    }

    /// See [`View::rules`].
    pub fn rules(&self) -> anyhow::Result<Vec<RuleReport>> {
        self.view().rules()
    }

    /// See [`View::endpoints`].
    pub fn endpoints(&self) -> anyhow::Result<Vec<EndpointReport>> {
        self.view().endpoints()
    }

    /// See [`View::flows`].
    pub fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        self.view().flows()
    }

    /// See [`View::drops`].
    pub fn drops(&self) -> anyhow::Result<Drops> {
        self.view().drops()
    }

    /// See [`View::generations`].
    pub fn generations(&self) -> anyhow::Result<Vec<GenerationReport>> {
        self.view().generations(&self.store)
    }

    /// See [`View::policy`].
    pub fn policy(&self) -> anyhow::Result<PolicyReport> {
        self.view().policy()
    }

    /// See [`View::explain`].
    pub fn explain(&self, src: &str, dst: &str, service: Option<&str>) -> anyhow::Result<ExplainReport> {
        self.view().explain(src, dst, service)
    }
}
