//! Given tables, packet → verdict, reason, packet out and counters, through `BPF_PROG_TEST_RUN`.
//!
//! A [`Lab`] is a host of its own: a network namespace with real interfaces, a loaded datapath, facts
//! and a policy. Nothing is attached; packets enter a program by name of an endpoint, and the answer is
//! an [`Outcome`] that explains itself when it is not the expected one.

mod age;
mod context;
mod conversations;
mod early;
mod events;
mod facts;
mod frame;
mod namespace;
mod observe;
mod outcome;
pub mod rooms;
mod run;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

use aya::{programs::ProgramInfo, util::nr_cpus};
use enforcer::{
    daemon::generations::Generations,
    datapath::{
        load::{DEFAULT_MARK_MASK, Datapath, GUARD, Options},
        sizes::{Sizes, TableKind},
    },
    policy::{self, Capacity, Ids, Policy, Since, Source, since},
};
use enforcer_common::{
    address::Address,
    control::{ControlWord, Generation},
    counter::Counter,
    endpoint::{Endpoint, EndpointId, doubtful_stamp, relaxed_stamp},
    mode::Mode,
    verdict::Verdict,
};
pub use facts::{EndpointFacts, Owned};
use namespace::Namespace;
pub use outcome::{Judged, Outcome};
pub use run::Run;
pub use stream::Stream;

use crate::{packet::Packet, processor, tables};

/// A host of its own, with the datapath loaded and no facts and no policy in it.
pub struct Lab {
    datapath: Datapath,
    /// Host-side interfaces by name.
    interfaces: BTreeMap<String, u32>,
    endpoints: BTreeMap<String, Endpoint>,
    /// Interfaces that are known to lead outside.
    uplinks: Vec<String>,
    policy: Policy,
    ids: Ids,
    /// Networks and rules that it can count by, among others.
    sizes: Sizes,
    generations: Generations,
    /// Since when addresses mean what they mean in the policy that was built last.
    since: Option<Since>,
    /// The reason counters behind the latest frame, while nothing else ran since: reading them is slow.
    counted: Option<Vec<(Verdict, Counter)>>,
    // Last: the interfaces disappear with it.
    _namespace: Namespace,
}

/// The interface that packets from other hosts enter through.
const UPLINK: &str = "uplink";

#[track_caller]
fn read(text: &str) -> Policy {
    let source = Source { name: "policy.toml".to_owned(), text: text.to_owned() };
    Policy::parse(&[source]).unwrap_or_else(|errors| panic!("the policy is valid: {errors:?}"))
}

/// How many a [`Lab`] remembers.
pub const CONVERSATIONS: u32 = 16_384;

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Flows and ids of networks and rules that one has room for: more would take longer than most tests.
    fn sizes(tables: TableKind) -> Sizes {
        // As many places on each processor.
        let flows = 4_096 * nr_cpus().expect("the kernel says how many") as u32;
        // Those that come once lie apart only where there is plenty of room.
        let denied = 4 * flows;
        Sizes { tables, flows, denied, conversations: CONVERSATIONS, networks: 1_024, rules: 1_024 }
    }

    /// A fresh one, in a network namespace that this thread now lives in.
    pub fn new() -> Self {
        Self::with_tables(tables::of_this_run())
    }

    /// One whose flows lie in tables of this kind.
    pub fn with_tables(tables: TableKind) -> Self {
        Self::loaded_with(&Options { sizes: Self::sizes(tables), ..Options::default() })
    }

    /// One whose datapath is loaded in a certain way. The thread stays on its processor, for each has flow tables of its
    /// own: what one remembers of a packet the other does not know.
    pub fn loaded_with(options: &Options) -> Self {
        let namespace = Namespace::enter_new();
        let datapath = Datapath::open(options).unwrap_or_else(|error| panic!("the datapath loads: {error}"));
        processor::stay_here();
        Self {
            datapath,
            interfaces: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            uplinks: Vec::new(),
            policy: Policy::default(),
            ids: Ids::default(),
            sizes: options.sizes,
            generations: Generations::default(),
            since: None,
            counted: None,
            _namespace: namespace,
        }
    }

    /// The ifindex of a veth's host side; made on first mention, known to nobody yet.
    pub fn interface(&mut self, name: &str) -> u32 {
        if let Some(&ifindex) = self.interfaces.get(name) {
            return ifindex;
        }
        let peer = format!("{name}-peer");
        let made = Command::new("ip")
            .args(["link", "add", "name", name, "type", "veth", "peer", "name", &peer])
            .status();
        assert!(made.expect("iproute2 is installed").success(), "making veth {name}");
        let ifindex = nix::net::if_::if_nametoindex(name).expect("the veth was just made");
        self.interfaces.insert(name.to_owned(), ifindex);
        ifindex
    }

    /// Builds `text` in an idle bank and publishes it.
    pub fn apply(&mut self, text: &str) {
        let word = self.build(text);
        self.publish(word);
    }

    /// Lets what was built decide.
    pub fn publish(&mut self, word: ControlWord) {
        self.generations.publish(word);
        self.datapath.tables.publish(word);
    }

    /// Writes the record of what decides once more, and says how long that took.
    pub fn record_again(&mut self) -> Duration {
        let word = self.generations.published();
        let record = *self.generations.record(word);
        let begun = Instant::now();
        self.datapath.tables.write_generation(word.slot(), record).expect("the record is written");
        begun.elapsed()
    }

    /// Builds `text` and publishes it until `deadline` (`CLOCK_BOOTTIME`, ns); then what decides now decides
    /// again.
    pub fn apply_until(&mut self, text: &str, deadline: u64) {
        let word = self.build_until(text, deadline).unconfirmed();
        self.publish(word);
    }

    /// What was published last stays.
    pub fn confirm(&mut self) {
        self.publish(self.generations.published().confirmed());
    }

    /// What was on trial goes, and what decided before decides again.
    pub fn end_trial(&mut self) {
        let fallback = self.generations.unconfirmed().expect("there is a trial").fallback;
        self.publish(fallback);
    }

    /// Builds `text` in an idle bank, and no more.
    pub fn build(&mut self, text: &str) -> ControlWord {
        self.build_until(text, 0)
    }

    fn build_until(&mut self, text: &str, deadline: u64) -> ControlWord {
        self.build_policy(read(text), deadline)
    }

    /// Builds a policy that was read before, and publishes it.
    pub fn apply_policy(&mut self, policy: Policy) {
        let word = self.build_policy(policy, 0);
        self.publish(word);
    }

    /// Builds a policy and publishes it, and tells the kernel that all addresses mean what they did before.
    pub fn apply_as_if_unchanged(&mut self, text: &str) {
        let word = self.build_changed(read(text), Some(BTreeSet::new()), 0);
        self.publish(word);
    }

    fn build_policy(&mut self, policy: Policy, deadline: u64) -> ControlWord {
        let changed = since::changed(&self.policy, &policy);
        self.build_changed(policy, changed, deadline)
    }

    /// `changed` are the blocks of addresses that mean something else than in the policy that was built last.
    fn build_changed(
        &mut self,
        policy: Policy,
        changed: Option<BTreeSet<u64>>,
        deadline: u64,
    ) -> ControlWord {
        self.policy = policy;
        self.ids = self.ids.assign(&self.policy).expect("there are enough ids");
        let counted = |named: usize, room: u32| named < room as usize;
        assert!(
            counted(self.policy.networks.len(), self.sizes.networks)
                && counted(self.policy.rules.len(), self.sizes.rules),
            "this lab counts by {} networks and {} rules",
            self.sizes.networks,
            self.sizes.rules
        );
        let mut tables =
            policy::compile(&self.policy, &self.ids, Capacity::default()).expect("the policy fits");
        let place = self.generations.next(0);
        let number = place.word.generation();
        let published = self.generations.published().generation();
        let before = self.since.take().filter(|since| since.generation() == published);
        let since = before.zip(changed).map(|(before, changed)| before.then(number, &changed));
        tables.since = since.as_ref().map_or_else(Vec::new, |since| since.marks().to_vec());
        self.since = Some(since.unwrap_or_else(|| Since::new(number)));
        self.datapath.tables.build_bank(place.bank, &tables).expect("the bank is built");
        let record = Generation {
            number: place.word.generation(),
            bank: place.bank,
            fallback: self.generations.confirmed(),
            deadline,
            ..tables.generation(self.policy.digest())
        };
        self.generations.recorded(place.word.slot(), record);
        self.datapath.tables.write_generation(place.word.slot(), record).expect("the record is written");
        place.word
    }

    /// The policy that was built last.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The bank that decides, and kernel ids of its tables for rules (`PAIRS`) and for prefixes (`PREFIXES`).
    pub fn deciding_tables(&self) -> (u32, [u32; 2]) {
        let bank = self.generations.record(self.generations.published()).bank;
        let [_, _, _, pairs, _, prefixes] = self.datapath.tables.bank_maps(bank).expect("banks are readable");
        (bank, [pairs, prefixes])
    }

    /// The number of the deciding generation.
    pub fn generation(&self) -> u64 {
        self.datapath.tables.control().active.generation()
    }

    /// What the kernel says about a program.
    pub fn program(&mut self, name: &'static str) -> ProgramInfo {
        let info = match name {
            GUARD => self.datapath.guard().expect("the guard loads").info(),
            _ => {
                self.datapath.classifier(name).unwrap_or_else(|error| panic!("{name} loads: {error}")).info()
            }
        };
        info.expect("the program is loaded")
    }

    fn stamp_of(&self, endpoint: &str) -> u32 {
        self.endpoint_named(endpoint).stamp
    }

    /// What goes on from an endpoint with this verdict carries.
    fn stamp_of_sender(&self, endpoint: &str, judged: Judged) -> u32 {
        match judged {
            Judged::As(Verdict::WouldDrop(reason)) if reason.is_relaxed_by(Mode::Audit) => Self::RELAXED,
            Judged::As(Verdict::WouldDrop(_)) => Self::DOUBTFUL,
            _ => self.stamp_of(endpoint),
        }
    }

    /// Whether the packet is for the host and may have another one in it.
    fn may_unpack(&self, packet: &Packet) -> bool {
        packet.protocol_number() != 6 && self.is_hosts(packet.dst())
    }

    /// Whether the longest prefix around an address is the host's.
    fn is_hosts(&self, address: IpAddr) -> bool {
        let address = u128::from_be_bytes(bytemuck::cast(Address::from(address)));
        let owners = self.datapath.tables.addresses().expect("the addresses are readable");
        let around = owners.iter().filter(|(owned, bits, _)| {
            let owned = u128::from_be_bytes(bytemuck::cast(*owned));
            (owned ^ address).checked_shr(128 - u32::from(*bits)).unwrap_or(0) == 0
        });
        let owner = around.max_by_key(|(_, bits, _)| *bits);
        owner.is_some_and(|(_, _, owner)| owner.endpoint == EndpointId::HOST)
    }

    fn id_of(&self, endpoint: &str) -> EndpointId {
        self.endpoint_named(endpoint).id
    }

    fn endpoint_named(&self, name: &str) -> &Endpoint {
        self.endpoints.get(name).unwrap_or_else(|| panic!("no endpoint {name} in this lab"))
    }

    const MARK_MASK: u32 = DEFAULT_MARK_MASK;

    /// The stamp of a packet that the policy would have stopped where it entered.
    pub const RELAXED: u32 = relaxed_stamp(Self::MARK_MASK);
    /// And of one whose source is not proven.
    pub const DOUBTFUL: u32 = doubtful_stamp(Self::MARK_MASK);
}
