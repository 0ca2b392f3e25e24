//! What the paper says before its figures: what is measured, and how.

/// For readers who have not seen the benchmark.
pub const PREFACE: &str = "\
# Benchmarks

Written by `cargo xtask bench`, part by part; `--quick` shows in some two minutes that it works. Figures with brackets are
medians, and the brackets hold the true one in 95 of 100 runs; others are single readings, or what they say. Machines differ,
so ratios count: every round measures each configuration once, up and down the list, and compares only within the round.
Where there are no rounds, what is compared is medians or single readings.

- **forward**: from one workload to another on the same host, frames of 64 bytes through a packet socket, dropped at the
  receiver before its stack. What the sender and the first hop take is measured in the same round, and subtracted. Each packet
  is of any of the flows, one way: connection tracking never sees an answer, and the last rule is the one that admits. The
  sender makes each frame of the one before, so that the caches are the host's; and before the 4,000 that count it sends one of
  each flow, unless there are more than 65,536, and 8,000 of any: what another rung left there is gone. *Edited before each
  measurement*: a prefix of another network comes or goes before all of them. *Edits meanwhile*: on one host, a million packets
  of any flow with and without somebody on the other processor who changes the policy ten times a second by orders at the
  daemon's socket. *Work of the sender's processor* leaves out what
  else that processor did meanwhile. Of 1,048,576 flows the table of connection tracking holds 262,144; enforcer's are made for
  all of them. Larger and smaller *sets of addresses* are measured with one flow, whose two addresses the processor's caches
  keep. *By Zipf's law*: the second most popular flow has half as many packets as the first, the third a third, and so on.
  *Super-packets*: a sender with GSO (UDP) hands 16 frames to the host as one packet, which no rung takes apart; a figure is of
  one such packet, not of a frame. Lengths of frames are with their Ethernet headers. *The whole way*: nothing is subtracted;
  beside workloads that one veth joins without a host, which is what sender and first hop take, and the least that any way into
  another namespace does.
- **outside**: the same from a workload to a machine beyond an uplink (*out*), and from there to a workload (*in*). The uplink
  is a veth, too: what a network card would take is not in it.
- **flood**: frames of one flow that is denied, as XDP frames of the kernel's generator out of a veth. What generator and
  interface take, with a program that drops all unseen, is measured in the same round, and subtracted. From the second frame on
  enforcer knows the flow; iptables and nftables drop all of the interface, and *xdp-filter* (of xdp-tools) what comes from the
  frames' addresses. Where xdp-filter's program does not load, it has no row. *In generic mode*: behind the driver, on a buffer
  that the kernel has made, as where a driver knows no XDP. *At an uplink*: frames come from outside, in the name of a workload
  of the host or to one that is not theirs.
- **packets**: one packet ever again, in one run of `BPF_PROG_TEST_RUN`; nothing is subtracted. Of those with a star the flow
  is not known, and each is measured alone: the clock's own cost is in them. *The quickest round* is what is left where
  nothing else was going on. What the kernel tells of *programs*: instructions that its verifier followed, bytes that it made
  of them, and bytes of machine code; 0 where it does not tell.
- **judge**: one verdict on a packet that leaves its endpoint, among others: thousands of packets in one run of
  `BPF_PROG_TEST_RUN`, each another. What a program that decides nothing takes is measured in the same round, and subtracted.
  *Denied*: from one of both networks to the other; the daemon is told of none of these packets.
- **scale**: networks with ten prefixes each, half of them IPv4, and rules from one network to another one; the last policy
  is as large as a host is to hold. `enforcer apply` and `enforcer explain` from their start to their end; memory is what the
  policy adds.
- **update**: an order at the daemon's socket at rest, to the first packet that passes for it. An order is the whole policy.
  *One generation record*: the last of such an order, some numbers that name the policy's tables; one store more, and it
  decides. No prefix is written then, nor ever in place: tables that an order changes are built whole, which is in *one prefix
  more*. *All others replaced*: with the prefix, every other network makes room for one of another name with other prefixes.
  *Beside 4096 flows*: while one processor sends as many packets as it can from one workload to another, both of a network that
  stays; they are counted at the receiver's interface, and *lost* are those that the sender's kernel took and the receiver
  never saw. *Many prefixes in place of few*: with the prefix come all other networks, half of whose prefixes are IPv4; a
  handful of orders.
- **ready**: a veth whose workload floods from the first moment: from its link to its first packet at the host. By tcx,
  which is the default where the kernel has it, to attach takes two grace periods under the lock over all interfaces, and a
  link that comes up may have to wait for that; filters (`clsact`) make nobody wait.
- **prefixes**: one look for an address among prefixes of many lengths, scattered over the address space. The address lies
  beside one of them and in none. Each look is one packet of many in one run of `BPF_PROG_TEST_RUN`; what a packet takes
  without it is measured in the same round, and subtracted. *A known flow* is measured as in *judge*: nobody looks for its
  addresses any more. *Compiled and loaded*: from a policy that was read to tables that decide, where none did.
- **memory**: *the daemon, resident*, one step after the other, and the most that it ever was until then. *The kernel*: the
  tables of flows, for each that they have room for; and what a policy of 100,000 networks with a prefix each adds, for each
  network. Room for the counters of networks is made before, and is not in it.
- **tcp**: plain sockets, the receiver on another processor than the sender. A connection is one question and one answer. One
  byte asks for one byte; how long answers take is told in microseconds from question to answer.
- **judges**: what programs of others say of two workloads. *iperf3*: TCP for a second, as its receiver counts. *sockperf*:
  one question over TCP at a time, for a second, from question to answer; Debian 12's knows IPv4 alone. *trafgen*: 64 flows of
  small UDP packets as fast as one processor sends them; counted are those that arrive, which are dropped before the
  receiver's stack.
- **readout**: `enforcer flows --limit 1` from its start to its end. It reads all flows, of both families, and shows one;
  the tables have room for four million, so that empty ones take a while, too.
- **rest**: processor time of the daemon in a second in which no packet is sent, no workload comes or goes and nobody asks for
  anything; in milliseconds, so that 10 are one hundredth of a processor. Both daemons rest at the same time.
";
