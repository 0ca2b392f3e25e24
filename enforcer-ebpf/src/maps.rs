//! Every table of the datapath. Layouts live in `enforcer-common`; unless said otherwise the daemon
//! writes and the datapath reads.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use enforcer_common::{
    address::Address,
    control::{Control, Generation},
    counter::{Counter, EndpointCounters},
    endpoint::{AddressOwner, Endpoint, MaskedSender},
    event::{DropEvent, ErrorBudget, EventBudget},
    flow::{FlowEntry, FlowKey},
    flow_table::{DeniedSet, FlowSet4, FlowSet6},
    fragment::{FragmentEntry, FragmentKey},
    host::HostEnd,
    limits::*,
    mode::ModeRecord,
    policy::{EndPair, Membership, ServiceList, ServiceRange, SetMember},
    prefix_trie::Line,
    shortcut::{Lease, Shortcut},
    state::{self, StateSet},
    verdict::REASON_SLOTS,
};

use crate::journey::Journey;

/// `BPF_F_MMAPABLE`: the daemon publishes with a plain store.
pub const MMAPABLE: usize = 1 << 10;
/// `BPF_F_INNER_MAP`: inner arrays of different sizes may stand behind one outer slot (kernel 5.10).
pub const INNER_MAP: usize = 1 << 12;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

/// The value of a bank's table. Kernels from 5.15 to 6.1 take a table into a bank only if both are described as
/// structures or neither is, and those that the daemon makes are described as nothing; an array is as good as that.
pub type Plain<T> = [T; 1];

/// Which generation decides, and the version of the facts.
#[btf_map]
pub static CONTROL: Array<Control, 1, MMAPABLE> = Array::new();

/// Immutable generation records, by slot.
#[btf_map]
pub static GENERATIONS: Array<Generation, { GENERATION_SLOTS as usize }> = Array::new();

/// ifindex of a host-side veth → who sits behind it.
#[btf_map]
pub static ENDPOINTS: HashMap<u32, Endpoint, { MAX_ENDPOINTS as usize }, NO_PREALLOC> = HashMap::new();

/// Address or prefix → its owner: anti-spoofing and local delivery from one table.
#[btf_map]
pub static ADDRESSES: LpmTrie<Address, AddressOwner, { MAX_ADDRESSES as usize }> = LpmTrie::new();

/// Bank → trie of prefixes, [`enforcer_common::prefix_trie`].
#[btf_map]
pub static PREFIXES: ArrayOfMaps<Array<Plain<Line>, 1, INNER_MAP>, { BANKS as usize }> = ArrayOfMaps::new();

/// Bank → (prefix → membership): the kernel's kind of the same, [`crate::config::kernel_tables`].
#[btf_map]
pub static MEMBERSHIPS: ArrayOfMaps<LpmTrie<Address, Plain<Membership>, 1>, { BANKS as usize }> =
    ArrayOfMaps::new();

/// Bank → the networks of all sets and the ends of all memberships, one list after the other.
#[btf_map]
pub static LISTS: ArrayOfMaps<Array<u32, 1, INNER_MAP>, { BANKS as usize }> = ArrayOfMaps::new();

/// Bank → (set, network) pairs; the values mean nothing.
#[btf_map]
pub static SET_MEMBERS: ArrayOfMaps<HashMap<SetMember, u32, 1>, { BANKS as usize }> = ArrayOfMaps::new();

/// Bank → (ends that a rule connects → where the services of such rules lie).
#[btf_map]
pub static PAIRS: ArrayOfMaps<HashMap<EndPair, Plain<ServiceList>, 1>, { BANKS as usize }> =
    ArrayOfMaps::new();

/// Bank → services and their rules, one list after the other.
#[btf_map]
pub static SERVICES: ArrayOfMaps<Array<Plain<ServiceRange>, 1, INNER_MAP>, { BANKS as usize }> =
    ArrayOfMaps::new();

/// Allowed flow directions of IPv4, by CPU and digest of the key. The datapath writes, tools read. The loader sets how
/// many sets there are, here and in the next; one CPU's are [`crate::config::flow_sets`].
#[btf_map]
pub static FLOWS4: Array<FlowSet4, 1, MMAPABLE> = Array::new();

/// The same of IPv6.
#[btf_map]
pub static FLOWS6: Array<FlowSet6, 1, MMAPABLE> = Array::new();

/// The same of what is denied, of both families; one CPU's are [`crate::config::denied_sets`].
#[btf_map]
pub static DENIED_SETS: Array<DeniedSet, 1, MMAPABLE> = Array::new();

/// Allowed flow directions of both families where the kernel's own kind of table is asked for,
/// [`crate::config::kernel_tables`].
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, FlowEntry, 1> = LruHashMap::new();

/// And denied ones.
#[btf_map]
pub static DENIED: LruHashMap<FlowKey, FlowEntry, 1> = LruHashMap::new();

/// Conversations that a directional verdict admitted, by the digest of the initiator's direction. Datapath
/// only. The loader may set another number of sets; [`crate::config::state_sets`].
#[btf_map]
pub static STATE: Array<StateSet, { state::sets(CONVERSATIONS) as usize }> = Array::new();

/// Counts of turns, by the ports of the connection; a power of two.
pub const TURN_SLOTS: u32 = 1 << 10;

/// How many turns connections took, a reset or a new beginning, so that who goes on talking looks at his conversation again.
/// Datapath only, and not pinned: what other programs saw is looked at in another second.
#[btf_map]
pub static TURNS: Array<u64, { TURN_SLOTS as usize }> = Array::new();

/// Seed of the state table's digests; never 0 once the table is in use.
#[btf_map]
pub static SEED: Array<u64, 1> = Array::new();

/// Ports of fragmented datagrams. Datapath only.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry, { MAX_FRAGMENTS as usize }> = LruHashMap::new();

/// What endpoints were told by foreign routers, by endpoint id. Datapath only.
#[btf_map]
pub static ERROR_BUDGET: PerCpuArray<ErrorBudget, { MAX_ENDPOINTS as usize }> = PerCpuArray::new();

/// Packets per reason, by verdict code. The datapath writes, tools read.
#[btf_map]
pub static REASONS: PerCpuArray<Counter, { REASON_SLOTS as usize }> = PerCpuArray::new();

/// Packets that a mode let go on, by the verdict code of the drop. The datapath writes, tools read.
#[btf_map]
pub static WOULD_DROPS: PerCpuArray<Counter, { REASON_SLOTS as usize }> = PerCpuArray::new();

/// How seriously verdicts are taken: of the host in slot 0, of an endpoint by its id.
#[btf_map]
pub static MODES: Array<ModeRecord, { MAX_ENDPOINTS as usize }> = Array::new();

/// The host as an end: what workloads may ask of it, and what stays open from outside.
#[btf_map]
pub static HOST: Array<HostEnd, 1> = Array::new();

/// Stamp → whom it stands for where NAT has put the host's address in the place of the source.
#[btf_map]
pub static SENDERS: HashMap<u32, MaskedSender, { MAX_ENDPOINTS as usize }, NO_PREALLOC> = HashMap::new();

/// Packets per endpoint, by endpoint id. The datapath writes, tools read.
#[btf_map]
pub static ENDPOINT_COUNTERS: PerCpuArray<EndpointCounters, { MAX_ENDPOINTS as usize }> = PerCpuArray::new();

/// Packets passed per network, by network id. The datapath writes, tools read.
#[btf_map]
pub static NETWORK_COUNTERS: PerCpuArray<Counter, { COUNTED_NETWORKS as usize }> = PerCpuArray::new();

/// Packets per deciding rule, by rule id. The datapath writes, tools read.
#[btf_map]
pub static RULE_COUNTERS: PerCpuArray<Counter, { MAX_RULES as usize }> = PerCpuArray::new();

/// Ways straight into endpoints, by endpoint id. Not pinned, like the lease: each daemon's programs have their own.
#[btf_map]
pub static SHORTCUTS: Array<Shortcut, { MAX_ENDPOINTS as usize }> = Array::new();

/// Interfaces that lead outside → kinds of ways that may be taken to and from there, as in [`Shortcut::flags`]. Not pinned
/// either.
#[btf_map]
pub static OUTSIDE: HashMap<u32, u32, { MAX_UPLINKS as usize }, NO_PREALLOC> = HashMap::new();

/// Whether any may be taken.
#[btf_map]
pub static LEASE: Array<Lease, 1> = Array::new();

/// Drop events for the daemon.
#[btf_map]
pub static EVENTS: RingBuf<DropEvent, { EVENT_RING_BYTES as usize }> = RingBuf::new();

/// The packet that this CPU is judging, and what is remembered for the next. Datapath only, and not pinned: other programs
/// begin anew.
#[btf_map]
pub static JOURNEY: PerCpuArray<Journey, 1> = PerCpuArray::new();

/// This CPU's rate limit of events, and how many were lost. The datapath writes, tools read.
#[btf_map]
pub static EVENT_BUDGET: PerCpuArray<EventBudget, 1> = PerCpuArray::new();

/// Several CPUs may count at once, and a count that loses some is none.
///
/// # Safety
/// `counter` points to an aligned, live u64.
#[inline(always)]
pub unsafe fn atomic_add(counter: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {v}", p = in(reg) counter, v = in(reg) value) }
}
