//! Mutants of what is beside workload and policy: senders behind NAT, uplinks, the host as an end, seeds; and whose records of
//! flows give way.

use crate::mutant::Mutant;

const FLOW_TABLE: &str = "enforcer-ebpf/src/flow_table.rs";
const FLOW: &str = "enforcer-ebpf/src/flow.rs";
const STATE: &str = "enforcer-ebpf/src/state.rs";
const JUDGE: &str = "enforcer-ebpf/src/judge.rs";
const MASKED: &str = "enforcer-ebpf/src/masked.rs";
const UPLINK: &str = "enforcer-ebpf/src/uplink.rs";
const CONVERSATIONS: &str = "enforcer/src/datapath/conversations.rs";

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "flows-of-others-give-way",
        file: FLOW_TABLE,
        text: "slot.entry.src_endpoint == newcomer.src",
        replacement: "slot.entry.src_endpoint == newcomer.src && newcomer.now == 0",
        breaks: "who tries all pushes out what is known of others",
    },
    Mutant {
        name: "resets-are-not-noted",
        file: STATE,
        text: "if packet.tcp_flags & tcp::RST == 0 && !begins_anew {",
        replacement: "if !begins_anew {",
        breaks: "a reset that somebody forged ends a connection that goes on",
    },
    Mutant {
        name: "new-beginnings-are-not-noted",
        file: STATE,
        text: "if packet.tcp_flags & tcp::RST == 0 && !begins_anew {",
        replacement: "if packet.tcp_flags & tcp::RST == 0 || begins_anew {",
        breaks: "a SYN that somebody forged ends a connection that goes on",
    },
    Mutant {
        name: "a-guard-refreshes",
        file: FLOW,
        text: "if !journey.looks_only {\n        // SAFETY: see `stands`; whoever else writes there has refreshed",
        replacement: "if journey.now != 0 {\n        // SAFETY: see `stands`; whoever else writes there has refreshed",
        breaks: "the guard says that a conversation was refreshed, and nobody does it",
    },
    Mutant {
        name: "refreshed-once-and-for-all",
        file: FLOW,
        text: "FlowEntry::freshness(journey.now, state::turns(&journey.packet.key))",
        replacement: "FlowEntry::freshness(0, state::turns(&journey.packet.key))",
        breaks: "who is answered again and again need not be known any more",
    },
    Mutant {
        name: "closing-is-not-looked-at",
        file: STATE,
        text: "const TELLING: u8 = tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK;",
        replacement: "const TELLING: u8 = tcp::SYN | tcp::ACK;",
        breaks: "who closes or resets a connection keeps it open",
    },
    Mutant {
        name: "what-acknowledges-nothing-goes-on",
        file: STATE,
        text: "packet.tcp_flags & TELLING == tcp::ACK",
        replacement: "packet.tcp_flags & (TELLING ^ tcp::ACK) == 0",
        breaks: "a segment that is no answer passes as one behind others, and a later fragment takes a reset back",
    },
    Mutant {
        name: "refused-answers-wait-for-another-second",
        file: JUDGE,
        text: "let waits = answers && !judgement.is_pass();",
        replacement: "let waits = answers && judgement.flags == 0;",
        breaks: "who was refused an answer before is asked, and answers in vain",
    },
    Mutant {
        name: "denied-at-any-interface",
        file: FLOW_TABLE,
        text: "FlowKey { ifindex, ..*key }",
        replacement: "FlowKey { ifindex: ifindex & 0, ..*key }",
        breaks: "what is denied at two interfaces is one record, which whoever spoofs the other writes to",
    },
    Mutant {
        name: "masked-stale-sender",
        file: MASKED,
        text: "(is_known && endpoint::owner(address).endpoint == *endpoint)",
        replacement: "is_known",
        breaks: "a stamp stands for who had it before, or for an address that went to somebody else",
    },
    Mutant {
        name: "masked-any-source",
        file: MASKED,
        text: "if !is_readable || endpoint::owner(src).endpoint != EndpointId::HOST {",
        replacement: "if !is_readable {",
        breaks: "whoever bears a stamp may have any source that is not its own",
    },
    Mutant {
        name: "masked-the-host-pays",
        file: MASKED,
        text: "state::open_masked(journey, sender);",
        replacement: "state::open_masked(journey, { let _ = sender; EndpointId::HOST });",
        breaks: "who floods from behind NAT costs the host its conversations",
    },
    Mutant {
        name: "masked-reply-without-a-rule",
        file: MASKED,
        text: "Ruling::Allowed(rule) if journey.packet.key.has_ports() && state::answers(journey) => {",
        replacement: "Ruling::Allowed(rule) if journey.packet.key.has_ports() => {",
        breaks: "who is behind the host's address speaks where its receiver may only ask the host",
    },
    Mutant {
        name: "uplink-unreadable-speaks-for-anybody",
        file: UPLINK,
        text: "        || claims_to_be_here(journey, parsed)\n",
        replacement: "        || (parsed && claims_to_be_here(journey, parsed))\n",
        breaks: "IPv4 options make a forged source pass at the host",
    },
    Mutant {
        name: "uplink-stamped-arrives",
        file: UPLINK,
        text: "packet & STAMPED != 0",
        replacement: "packet & STAMPED == STAMPED << 1",
        breaks: "what a workload wrapped up arrives as if from outside",
    },
    Mutant {
        name: "uplink-failsafe-for-workloads",
        file: UPLINK,
        text: "            && endpoint::owner(packet.key.dst).endpoint == EndpointId::HOST\n",
        replacement: "",
        breaks: "what stays open at the host is open at every workload",
    },
    Mutant {
        name: "host-asks-anyway",
        file: JUDGE,
        text: "            if by_rules && rule == 0 && !answers {",
        replacement: "            if by_rules && rule == 0 && !answers && auditing != 0 {",
        breaks: "a host that asks by rules asks without one",
    },
    Mutant {
        name: "host-masked-is-its-own",
        file: JUDGE,
        text: "_ => !host::asks_by_rules(),",
        replacement: "_ => true,",
        breaks: "what the host opened when it still might is answered for ever",
    },
    Mutant {
        name: "seed-nobody-pays",
        file: CONVERSATIONS,
        text: "key: *key, check, payer, flags, reserved: [0; 3] }",
        replacement: "key: *key, check, payer: payer & 0, flags, reserved: [0; 3] }",
        breaks: "seeded conversations crowd out those of others",
    },
];
