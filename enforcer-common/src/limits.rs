//! Names, capacities and bounds. A bound of a loop in the kernel is a limit that the compiler of
//! policies enforces by name.

/// Policy banks: the deciding one, its fallback, the one that decided until just now (a packet may still be
/// on its way through it), and one to build in.
pub const BANKS: u32 = 4;

/// Tables of one bank.
pub const BANK_TABLES: usize = 6;

/// Generation records; more than banks, so that the record of a bank in use is never overwritten.
pub const GENERATION_SLOTS: u32 = 8;

/// Networks that one address may be a member of: the bound of the kernel's search for a common one.
pub const MAX_NETWORKS_PER_ADDRESS: u32 = 64;

/// Network ids. Id 0 means *no network*.
pub const MAX_NETWORKS: u32 = 131_072;

/// Network ids that are counted by, unless the host file says otherwise.
pub const COUNTED_NETWORKS: u32 = 65_536;

/// Entries of one bank's membership table.
pub const MAX_PREFIXES: u32 = 1_048_576;

/// Distinct (set, network) pairs of one bank.
pub const MAX_SET_MEMBERS: u32 = 4_194_304;

/// Local endpoints, and so per-endpoint counters. Id 0 means *not local*.
pub const MAX_ENDPOINTS: u32 = 4_096;

/// Interfaces that lead outside, and that packets may be forwarded to past the host's stack.
pub const MAX_UPLINKS: u32 = 256;

/// Owned addresses and prefixes over all endpoints and the host: more than all endpoints together may
/// learn, so that no workload takes the room of another or of the host.
pub const MAX_ADDRESSES: u32 = 524_288;

/// Allowed flow directions of a family that are remembered, over all CPUs, unless the host file says otherwise.
pub const FLOWS: u32 = 262_144;

/// Those that each CPU remembers at least, however many there are.
pub const FLOWS_PER_CPU: u32 = 16_384;

/// Denied flow directions of both families that are remembered, over all CPUs, unless the host file says otherwise: in a
/// table of their own, so that they cannot push out allowed ones.
pub const DENIED: u32 = 65_536;

/// Those that each CPU remembers at least, however many there are.
pub const DENIED_PER_CPU: u32 = 16_384;

/// Rule ids, and so per-rule counters. Id 0 means *no rule*.
pub const MAX_RULES: u32 = 65_536;

/// Ends of rules, on one side, that one address may match: the bound of the kernel's search for rules is
/// its square.
pub const MAX_ENDS_PER_ADDRESS: u32 = 16;

/// Distinct (source end, target end) pairs of one bank.
pub const MAX_RULE_PAIRS: u32 = 1_048_576;

/// Ranges of services over all pairs of one bank.
pub const MAX_SERVICE_RANGES: u32 = 4_194_304;

/// Ranges of services of one pair: the bound of the kernel's binary search is its logarithm.
pub const MAX_RANGES_PER_PAIR: u32 = 1 << SEARCH_STEPS;

/// Steps of the binary search for a service.
pub const SEARCH_STEPS: u32 = 17;

/// Conversations that are remembered, unless the host file says otherwise.
pub const CONVERSATIONS: u32 = 262_144;

/// Fragmented datagrams whose ports are remembered.
pub const MAX_FRAGMENTS: u32 = 16_384;

/// ICMP errors of foreign routers that one endpoint is told per second and CPU.
pub const ROUTER_ERRORS_PER_SECOND: u32 = 100;

/// Bytes of the ring that carries events to the daemon.
pub const EVENT_RING_BYTES: u32 = 256 * 1024;

/// Denied flows at one endpoint that one CPU adds to the records in a second; beyond it they are only counted. To fill
/// a CPU's part of [`DENIED`] takes a scanner a minute then, and what was silent for a minute goes first.
pub const DENIED_PER_SECOND: u32 = 256;

/// Events that one CPU may emit per second; beyond it they are only counted.
pub const EVENTS_PER_SECOND: u32 = 1_000;

/// IPv6 extension headers that the parser walks.
pub const MAX_EXTENSION_HEADERS: usize = 6;

/// Bytes from the frame's start that must be readable for every header the parser can walk:
/// Ethernet, IPv6, the extension headers of any sane packet, TCP.
pub const MAX_HEADER_BYTES: u32 = 256;
