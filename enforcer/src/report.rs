//! What `enforcer` tells about itself: the answers of the control socket, and what the command line
//! prints. Field names are a contract with scripts; they only ever grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_common::counter::{Counter, EndpointCounters};
use serde::{Deserialize, Serialize};

use crate::{
    config::Trust,
    datapath::{attach::Mechanism, flows::Flow, guard::Mode, memory::Memory},
    foreign::{Finding, Findings},
    policy::{
        Members, Policy,
        diff::Diff,
        rule::{Action, Side},
        service::Service,
        world::WorldMoves,
    },
    unenforced::Unenforced,
};

mod fastpath;
mod modes;
mod orders;

pub use fastpath::{Barred, FastpathReport};
pub use modes::{EndpointMode, ForgetReport, ModeState, ModesReport, remark};
pub use orders::{ApplyReport, ApplyRequest, ForgetRequest, ModeRequest, RollbackRequest, Session};

/// The state of the whole host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the answering program.
    pub version: String,
    /// The daemon; `None` when the answer was read from the kernel without one.
    pub daemon: Option<DaemonStatus>,
    /// Kernel release.
    pub kernel: String,
    /// How programs are attached.
    pub attach: Mechanism,
    /// How seriously verdicts are taken.
    #[serde(default)]
    pub mode: ModeState,
    /// Endpoints in another mode than the host.
    #[serde(default)]
    pub endpoints_other_mode: u32,
    /// What is used of what only some kernels have, or in its place.
    pub features: BTreeMap<String, String>,
    /// What the kernel lacks, by the feature that does without.
    #[serde(default)]
    pub lacking: BTreeMap<String, String>,
    /// The deciding generation; 0 before the first policy.
    pub generation: u64,
    /// SHA-256 of the canonical policy, in hex; what compares across hosts.
    pub digest: Option<String>,
    /// When it was applied, RFC 3339.
    pub applied_at: Option<String>,
    /// Seconds until it ends by itself, unless it is confirmed.
    #[serde(default)]
    pub seconds_left: Option<u64>,
    /// Networks of the policy.
    pub networks: u32,
    /// Entries of the membership table.
    pub prefixes: u32,
    /// Distinct membership sets.
    pub sets: u32,
    /// Rules of the policy.
    #[serde(default)]
    pub rules: u32,
    /// Endpoints whose address is known.
    pub endpoints_ready: u32,
    /// Endpoints without a known address: nothing passes there.
    pub endpoints_quarantined: u32,
    /// Whether new workloads are held back until they are enforced.
    #[serde(default)]
    pub gate: GateReport,
    /// Interfaces that lead outside.
    #[serde(default)]
    pub uplinks: Vec<UplinkReport>,
    /// Where the early guard runs.
    #[serde(default)]
    pub guards: Vec<GuardReport>,
    /// Workloads that nothing is enforced for.
    #[serde(default)]
    pub unenforced: Vec<Unenforced>,
    /// Which packets between workloads pass the host's stack by; `None` without a daemon: then none do.
    #[serde(default)]
    pub fastpath: Option<FastpathReport>,
    /// Rules of others that drop what passes here, or hide who sent it.
    #[serde(default)]
    pub foreign: Vec<Finding>,
    /// Rules of others that could not be looked at, and why.
    #[serde(default)]
    pub foreign_unseen: Vec<String>,
    /// Packets that passed, counted where they entered.
    pub passed: Counter,
    /// Packets that were dropped.
    pub dropped: Counter,
    /// Packets that went on although they should not: the mode in force, a network's or a rule's says so.
    #[serde(default)]
    pub would_dropped: Counter,
    /// Drop events that were counted but not told.
    pub events_lost: u64,
    /// Bytes of kernel memory that the tables hold.
    #[serde(default)]
    pub memory: Memory,
    /// What somebody else changed and the daemon mended, since it was started.
    #[serde(default)]
    pub repairs: u64,
    /// What was mended last.
    #[serde(default)]
    pub last_repair: Option<String>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

impl Status {
    /// Adds what others have put in a workload's way.
    pub fn tell_foreign(&mut self, Findings { rules, unseen }: Findings) {
        self.foreign = rules;
        self.foreign_unseen = unseen;
    }
}

/// Whether what comes from a veth without our programs goes nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum GateReport {
    /// It does.
    On,
    /// It goes where it likes.
    Off {
        /// For people.
        why: String,
    },
}

impl GateReport {
    /// There is no gate.
    pub fn off(why: impl Into<String>) -> Self {
        Self::Off { why: why.into() }
    }
}

impl Default for GateReport {
    /// A program that says nothing of a gate has none.
    fn default() -> Self {
        Self::off("this version has none")
    }
}

/// An interface with an early guard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GuardReport {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Whether the driver runs it.
    pub mode: Mode,
    /// `veth`: it judges what the endpoint sends; `uplink`: what comes from outside.
    pub role: String,
}

/// An interface that leads outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UplinkReport {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// `fabric` or `external`.
    pub trust: Trust,
}

/// The running daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its process.
    pub pid: u32,
    /// Since when, RFC 3339.
    pub started_at: String,
}

/// One logical network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkReport {
    /// Its name.
    pub name: String,
    /// Its stable id.
    pub id: u32,
    /// Members by their addresses.
    pub prefixes: Vec<String>,
    /// Members by what is known of their containers.
    #[serde(default)]
    pub members: Vec<String>,
    /// Exceptions.
    pub except: Vec<String>,
    /// Local endpoints with an address in it, by name.
    pub endpoints: Vec<String>,
    /// What passed because of it.
    pub packets: u64,
    /// The bytes of that.
    pub bytes: u64,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its name.
    pub name: String,
    /// Its stable id.
    pub id: u32,
    /// What becomes of what it matches.
    pub action: Action,
    /// Who opens.
    pub from: Side,
    /// To whom.
    pub to: Side,
    /// What.
    pub services: BTreeSet<Service>,
    /// What it decided, passes and drops.
    pub packets: u64,
    /// The bytes of that.
    pub bytes: u64,
}

/// One local endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndpointReport {
    /// Name of the host-side interface.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Id on this host.
    pub id: u32,
    /// `ready`, or `quarantined` while no address is known.
    pub state: String,
    /// How seriously verdicts about it are taken.
    #[serde(default)]
    pub mode: enforcer_common::mode::Mode,
    /// MAC of the workload's interface, while known.
    pub mac: Option<String>,
    /// Addresses and prefixes it owns.
    pub addresses: Vec<String>,
    /// Networks that it is a member of through them.
    pub networks: Vec<String>,
    /// What it is declared to be for others: `dhcp-server`, `router`.
    #[serde(default)]
    pub provides: Vec<String>,
    /// Addresses it claims but somebody else owns; empty without a daemon.
    pub conflicts: Vec<String>,
    /// What it sent and received.
    pub counters: EndpointCounters,
}

/// Why packets were dropped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drops {
    /// Totals per reason; passes are listed too, to compare with, and what a mode let go on, where it did.
    pub reasons: Vec<ReasonReport>,
    /// The latest denied flows of each endpoint, newest first.
    pub recent: Vec<RecentDrop>,
    /// Drop events that were counted but not told.
    pub events_lost: u64,
}

/// Packets of one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReasonReport {
    /// Slug.
    pub reason: String,
    /// `pass`, `drop` or `would-drop`.
    pub verdict: String,
    /// `integrity`, `policy` or `resource`.
    pub category: String,
    /// One line for people.
    pub caption: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One dropped packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecentDrop {
    /// When, RFC 3339.
    pub time: String,
    /// The endpoint whose hook dropped it.
    pub endpoint: Option<String>,
    /// `from-endpoint`, `to-endpoint` or `guard`; unknown without a daemon.
    pub hook: Option<String>,
    /// `drop`, or `would-drop` where a mode let it go on.
    #[serde(default = "drop_verdict")]
    pub verdict: String,
    /// Slug.
    pub reason: String,
    /// The rule that denies it.
    #[serde(default)]
    pub rule: Option<String>,
    /// Protocol; nothing where the packet was not understood.
    pub proto: Option<String>,
    /// Source.
    pub src: Option<IpAddr>,
    /// Port; the identifier of an ICMP echo.
    pub src_port: u16,
    /// Destination.
    pub dst: Option<IpAddr>,
    /// Port; the identifier of an ICMP echo.
    pub dst_port: u16,
    /// The generation that judged.
    pub generation: u64,
}

/// What a program without modes tells of.
fn drop_verdict() -> String {
    "drop".to_owned()
}

/// Whether two ends may talk, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExplainReport {
    /// One end.
    pub src: EndReport,
    /// The other.
    pub dst: EndReport,
    /// The question's service, such as `tcp/5432`; `None` asks about every packet.
    pub service: Option<String>,
    /// Source to destination.
    pub forward: DirectionReport,
    /// Destination to source, as a conversation of its own.
    pub reverse: DirectionReport,
    /// One direction lets more pass than the other: everything, something or nothing.
    pub one_way: bool,
    /// The generation asked; `None` when files were asked.
    pub generation: Option<u64>,
    /// The policy has members by what is known of containers, and nobody here knows who they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub members_unknown: bool,
    /// The modes of the ends that are local endpoints, by name, where one is not `enforce`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modes: BTreeMap<String, enforcer_common::mode::Mode>,
}

/// One end of the question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndReport {
    /// Its address.
    pub address: IpAddr,
    /// The local endpoint that owns it; `host` for the host.
    pub endpoint: Option<String>,
    /// Networks it is a member of.
    pub networks: Vec<String>,
    /// Groups it is a member of.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Of networks and groups that it is in by what is known of its container: the members that mean it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selected: BTreeMap<String, Vec<String>>,
    /// Whether it is of the world: no local address, and none that a network or group covers.
    #[serde(default)]
    pub world: bool,
}

/// The answer for one direction: a pass if everything passes that is asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DirectionReport {
    /// `pass` or `drop`.
    pub verdict: String,
    /// Slug.
    pub reason: String,
    /// The network that decides.
    pub network: Option<String>,
    /// The rule that decides.
    #[serde(default)]
    pub rule: Option<String>,
    /// What decided, or what would have been closest, in words.
    pub why: String,
}

/// The policy in force, as it was applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyReport {
    /// The deciding generation; 0 before the first policy.
    pub generation: u64,
    /// Its digest in hex.
    pub digest: String,
    /// Networks, groups and rules.
    pub policy: Policy,
    /// The addresses that are members by what is known of their containers, by network or group; `None` where
    /// nobody knows.
    #[serde(default)]
    pub members: Option<Members>,
}

/// What a policy would change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanReport {
    /// The generation compared with; `None` when files were.
    pub generation: Option<u64>,
    /// Digest of what is compared with, in hex.
    pub digest_before: String,
    /// Digest of the new policy in hex.
    pub digest_after: String,
    /// Networks, groups and rules that differ.
    #[serde(flatten)]
    pub diff: Diff,
    /// Addresses that move into or out of the world.
    pub world: WorldMoves,
    /// Networks and groups of whose members nobody knows who they would be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members_unknown: Vec<String>,
    /// A rule that makes `apply` insist on `--force`: it names the world, and addresses move into it.
    pub force_needed_by: Option<String>,
    /// What the new policy says, and hardly ever means.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What becomes of conversations seen lately; `None` when only files were compared.
    #[serde(default)]
    pub impact: Option<Impact>,
    /// What the new policy takes of the kernel's tables.
    pub capacity: Vec<UsageReport>,
}

/// How full something would be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UsageReport {
    /// What is counted.
    pub of: String,
    /// How many the policy needs.
    pub used: usize,
    /// How many there can be.
    pub limit: usize,
}

/// A policy generation: one that decides, or one to go back to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GenerationReport {
    /// Its number on this host.
    pub generation: u64,
    /// `active`, `unconfirmed` (it decides until its deadline), `fallback` (what decides after that) or
    /// `kept`.
    pub state: String,
    /// When it was applied, RFC 3339.
    pub applied_at: String,
    /// Seconds until it ends by itself, unless it is confirmed.
    pub seconds_left: Option<u64>,
    /// SHA-256 of the canonical policy, in hex.
    pub digest: String,
    /// Its networks.
    pub networks: usize,
    /// Its groups.
    pub groups: usize,
    /// Its rules.
    pub rules: usize,
}

/// What a policy would do to conversations that were seen lately.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Impact {
    /// Those that pass now and would not.
    pub cut: Vec<Flow>,
    /// Those that are denied now and would pass.
    pub admitted: Vec<Flow>,
}

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// For people, several lines where diagnostics need them.
    pub error: String,
}

/// A policy's digest as it is shown and compared: lower-case hexadecimal.
pub fn digest_text(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}
