//! The mutants: what the tests must notice.
//!
//! Each is a mistake that somebody could make in the decision code. One that survives is a missing test, or is no
//! mistake; then another takes its place here.

mod ends;
mod flow_tables;
mod prefixes;

use crate::mutant::Mutant;

const POLICY: &str = "enforcer-common/src/policy.rs";
const MEMBERSHIP: &str = "enforcer-common/src/policy/membership.rs";
const RULES: &str = "enforcer-common/src/policy/rules.rs";
const STATE: &str = "enforcer-common/src/state.rs";
const EBPF_POLICY: &str = "enforcer-ebpf/src/policy.rs";
const EBPF_STATE: &str = "enforcer-ebpf/src/state.rs";
const ENDPOINT: &str = "enforcer-ebpf/src/endpoint.rs";
const FLOW: &str = "enforcer-ebpf/src/flow.rs";
const FRAGMENT: &str = "enforcer-ebpf/src/fragment.rs";
const JUDGE: &str = "enforcer-ebpf/src/judge.rs";
const NETWORK: &str = "enforcer-ebpf/src/network.rs";
const QUOTE: &str = "enforcer-ebpf/src/quote.rs";
const REFUSAL: &str = "enforcer-ebpf/src/refusal.rs";
const RELAX: &str = "enforcer-ebpf/src/relax.rs";
const COMPILE_SERVICES: &str = "enforcer/src/policy/compile/services.rs";
const POLICIES: &str = "enforcer/src/daemon/policies.rs";
const GENERATIONS: &str = "enforcer/src/daemon/generations.rs";
const RECONCILE: &str = "enforcer/src/daemon/reconcile.rs";
const RESTORE: &str = "enforcer/src/daemon/policies/restore.rs";
const TRIAL: &str = "enforcer/src/daemon/policies/trial.rs";
const STEP: &str = "enforcer/src/daemon/step.rs";
const STORE: &str = "enforcer/src/daemon/store.rs";
const COMPILE_STATE: &str = "enforcer/src/policy/compile/state.rs";

/// All of them, in the order in which they are tried.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    MUTANTS.iter().chain(ends::MUTANTS).chain(flow_tables::MUTANTS).chain(prefixes::MUTANTS)
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ruling-deny-behind-shared",
        file: POLICY,
        text: "    if deny != RuleWord::NONE {",
        replacement: "    if deny != RuleWord::NONE && shared_network(&src.membership, &dst.membership, sets).is_none() {",
        breaks: "a shared network passes what a rule denies",
    },
    Mutant {
        name: "ruling-allow-and-deny-mixed-up",
        file: RULES,
        text: "self.0[like.slot()].get()",
        replacement: "self.0[[1, 0, 2][like.slot()]].get()",
        breaks: "what allows denies, and the other way round",
    },
    Mutant {
        name: "ruling-highest-id",
        file: RULES,
        text: "if rule.0.wrapping_sub(1) < best.get().0.wrapping_sub(1) {",
        replacement: "if rule.0 > best.get().0 {",
        breaks: "of several rules the last one is named, and an unsure one beats a sure one",
    },
    Mutant {
        name: "ruling-local-target-is-of-the-world",
        file: MEMBERSHIP,
        text: "let world = if local { 0 } else { self.world_targets as u32 };",
        replacement: "let world = self.world_targets as u32;",
        breaks: "what is allowed to the world is allowed to local workloads",
    },
    Mutant {
        name: "party-endpoint-is-of-the-world",
        file: EBPF_POLICY,
        text: "party.local = owner != EndpointId::REMOTE.0;",
        replacement: "party.local = owner == EndpointId::HOST.0;",
        breaks: "only the host is local",
    },
    Mutant {
        name: "party-host-is-a-member",
        file: EBPF_POLICY,
        text: "if owner == EndpointId::HOST.0 { *host } else { bank.membership(*address) }",
        replacement: "{ let _ = host; bank.membership(*address) }",
        breaks: "the host is in the networks that cover its address",
    },
    Mutant {
        name: "parse-total-length",
        file: NETWORK,
        text: "    if total > available {",
        replacement: "    if total > available + 64 {",
        breaks: "an IPv4 packet may declare more than its frame holds",
    },
    Mutant {
        name: "parse-header-length",
        file: NETWORK,
        text: "let header = u32::from(ip.version_ihl & 0x0f) * 4;",
        replacement: "let header = size_of::<Ipv4>() as u32;",
        breaks: "IPv4 options are taken for ports",
    },
    Mutant {
        name: "parse-extension-bound",
        file: NETWORK,
        text: "if position == MAX_EXTENSION_HEADERS || again {",
        replacement: "if position + 1 == MAX_EXTENSION_HEADERS || again {",
        breaks: "the sixth extension header is refused",
    },
    Mutant {
        name: "parse-hop-by-hop-anywhere",
        file: NETWORK,
        text: "(next == HOP_BY_HOP && position > 0) || ",
        replacement: "",
        breaks: "hop-by-hop options may stand behind others",
    },
    Mutant {
        name: "parse-last-fragment-is-whole",
        file: NETWORK,
        text: "    if offset > 0 {",
        replacement: "    if offset > 0 && more {",
        breaks: "the last fragment's data is taken for ports",
    },
    Mutant {
        name: "parse-mapped-address",
        file: NETWORK,
        text: "    if mapped {",
        replacement: "    if mapped && quoted {",
        breaks: "an IPv6 packet has an IPv4 address",
    },
    Mutant {
        name: "state-answer-not-reversed",
        file: EBPF_STATE,
        text: "state_answer(question::ANSWERED) != 0",
        replacement: "state_answer(question::PACKET) != 0",
        breaks: "who asks again is answered, and the answer is not",
    },
    Mutant {
        name: "state-answer-without-ack",
        file: STATE,
        text: "protocol != protocol::TCP || tcp_flags & (tcp::ACK | tcp::RST) != 0",
        replacement: "{ let _ = (protocol, tcp_flags); true }",
        breaks: "a SYN answers, and so opens the other way",
    },
    Mutant {
        name: "state-timeout-flipped",
        file: STATE,
        text: "(now.wrapping_sub(self.last_seen) as i64) < self.timeout() as i64",
        replacement: "(now.wrapping_sub(self.last_seen) as i64) >= self.timeout() as i64",
        breaks: "a conversation opens when it should be over",
    },
    Mutant {
        name: "state-opened-by-default-deny",
        file: JUDGE,
        text: "        Ruling::Silent => not_admitted(journey),",
        replacement: "        Ruling::Silent => { state::open(journey, outside); not_admitted(journey) }",
        breaks: "what is denied may be answered",
    },
    Mutant {
        name: "state-not-renewed-by-known-flow",
        file: JUDGE,
        text: "        state::open(journey, judgement.flags & FlowEntry::OUTSIDE != 0);",
        replacement: "        let _ = FlowEntry::OUTSIDE;",
        breaks: "a conversation times out although packets flow",
    },
    Mutant {
        name: "state-known-answer-not-asked-for",
        file: JUDGE,
        text: "!answers || judgement.is_pass() == state::answers(journey)",
        replacement: "!answers || judgement.is_pass()",
        breaks: "a known answer passes when its conversation is over",
    },
    Mutant {
        name: "flow-kept-for-receivers-taken-by-senders",
        file: FLOW,
        text: " && known.flags & FlowEntry::RECEIVED == 0",
        replacement: "",
        breaks: "what a sender is asked is not asked where its packets were delivered before",
    },
    Mutant {
        name: "fragment-overlap",
        file: FRAGMENT,
        text: "packet.fragment.offset < first.header_bytes",
        replacement: "packet.fragment.offset <= first.header_bytes",
        breaks: "a fragment right behind the transport header is an overlap",
    },
    Mutant {
        name: "fragment-of-dropped-datagram",
        file: REFUSAL,
        text: "how & HAS_FLOW != 0 && journey.judgement.is_of_proven_source()",
        replacement: "how & HAS_FLOW != 0",
        breaks: "fragments are judged by a first one that was dropped",
    },
    Mutant {
        name: "fragment-never-times-out",
        file: FRAGMENT,
        text: "    if age >= FRAGMENT_TIMEOUT as i64 {",
        replacement: "    if age >= FRAGMENT_TIMEOUT as i64 * 1000 {",
        breaks: "a fragment is judged by a datagram of long ago",
    },
    Mutant {
        name: "quote-source",
        file: QUOTE,
        text: "    quote.key.src == packet.key.dst\n        && (",
        replacement: "    (",
        breaks: "an error about a packet of somebody else passes",
    },
    Mutant {
        name: "quote-destination",
        file: QUOTE,
        text: "endpoint::may_use(endpoint, quote.key.dst))",
        replacement: "true)",
        breaks: "a workload complains about packets that were not for it",
    },
    Mutant {
        name: "quote-state-not-asked",
        file: QUOTE,
        text: "Admission::Asked => state::knows(question::QUOTE),",
        replacement: "Admission::Asked => true,",
        breaks: "an error about a packet that was never sent passes",
    },
    Mutant {
        name: "endpoint-any-stamp",
        file: ENDPOINT,
        text: "_ if stamp == owner.stamp || stamp == relaxed_stamp(mask) => Ok(owner),",
        replacement: "_ if stamp != 0 && stamp != doubtful_stamp(mask) => Ok(owner),",
        breaks: "one workload's stamp proves another's address",
    },
    Mutant {
        name: "endpoint-uses-unowned-address",
        file: ENDPOINT,
        text: "            && address.scope() == Scope::LinkLocal\n",
        replacement: "",
        breaks: "a workload speaks as anybody of IPv6 whom nobody owns",
    },
    Mutant {
        name: "judge-masked-source",
        file: ENDPOINT,
        text: "EndpointId::HOST if stamp == 0 && from_host => Ok(owner),",
        replacement: "EndpointId::HOST if stamp == 0 || from_host => Ok(owner),",
        breaks: "somebody forwarded speaks for the host",
    },
    Mutant {
        name: "modes-doubt-is-proof",
        file: RELAX,
        text: "if proven && !unpacked { relaxed_stamp(mask) } else { doubtful_stamp(mask) }",
        replacement: "{ let _ = (proven, unpacked, doubtful_stamp(mask)); relaxed_stamp(mask) }",
        breaks: "whoever is observed speaks as any workload to those who are not",
    },
    Mutant {
        name: "modes-receiver-counts-again",
        file: RELAX,
        text: "stamp == relaxed_stamp(mask) || stamp == doubtful_stamp(mask)",
        replacement: "stamp == doubtful_stamp(mask)",
        breaks: "what goes on is counted at both hooks",
    },
    Mutant {
        name: "modes-record-is-not-strict",
        file: FLOW,
        text: "verdict: Verdict::strict_code(known.verdict),",
        replacement: "verdict: known.verdict,",
        breaks: "who was observed goes on when the mode is strict again",
    },
    Mutant {
        name: "modes-network-audit-of-one",
        file: MEMBERSHIP,
        text: "either & Self::AUDITED != 0 && either & Self::ENFORCING == 0",
        replacement: "either & Self::AUDITED != 0",
        breaks: "a network in audit mode opens those that enforce",
    },
    Mutant {
        name: "modes-audit-stops-answers",
        file: JUDGE,
        text: "if answers > 1 { Judgement { flags, ..pass } } else { audited(auditing, flags) }",
        replacement: "audited(auditing, flags)",
        breaks: "a rule on trial tells of answers that it would not stop",
    },
    Mutant {
        name: "compile-world-ends-always",
        file: COMPILE_STATE,
        text: "if by_world { matched.by_world.push(number) }",
        replacement: "if by_world { matched.always.push(number) }",
        breaks: "the world's ends are given to local workloads",
    },
    Mutant {
        name: "compile-exceptions-ignored",
        file: COMPILE_STATE,
        text: "self.includes > 0 && self.excepts == 0",
        replacement: "self.includes > 0",
        breaks: "an excepted address is a member",
    },
    Mutant {
        name: "compile-rule-exceptions-ignored",
        file: COMPILE_STATE,
        text: "if set.none_of.iter().any(|&term| self.terms[term] > 0) {",
        replacement: "if set.none_of.iter().any(|&term| self.terms[term] > 1_000_000) {",
        breaks: "a rule reaches whom it excepts",
    },
    Mutant {
        name: "compile-unsure-is-sure",
        file: COMPILE_SERVICES,
        text: "of(protocol..protocol + 1, word.unsure())",
        replacement: "of(protocol..protocol + 1, word)",
        breaks: "a fragment passes by a rule about other ports",
    },
    Mutant {
        name: "life-fallback-is-unconfirmed",
        file: POLICIES,
        text: "fallback: self.generations.confirmed(),",
        replacement: "fallback: self.generations.published().confirmed(),",
        breaks: "what nobody confirmed decides again after what was tried next",
    },
    Mutant {
        name: "life-bank-just-left-is-written",
        file: GENERATIONS,
        text: "self.in_use().all(|word| self.record(word).bank != *bank)",
        replacement: "self.record(self.published).bank != *bank",
        breaks: "a packet on its way sees two policies",
    },
    Mutant {
        name: "life-ids-are-not-kept",
        file: POLICIES,
        text: "self.store.save_ids(&saved.ids)?;",
        replacement: "let _ = &saved.ids;",
        breaks: "another network counts under the id of what was rolled back",
    },
    Mutant {
        name: "life-nothing-is-kept",
        file: STORE,
        text: "self.disk.keep().map_err(self.failed(\"keep\", \"\"))",
        replacement: "{ let _ = self.failed(\"keep\", \"\"); Ok(()) }",
        breaks: "what was acknowledged is gone after a power failure",
    },
    Mutant {
        name: "life-promoted-before-it-is-whole",
        file: STORE,
        text: "        self.keep()?;\n        self.link(&pending(number), POLICY)\n",
        replacement: "        self.link(&pending(number), POLICY)\n",
        breaks: "a power failure damages the last good policy",
    },
    Mutant {
        name: "life-the-next-goes-back",
        file: RESTORE,
        text: "(decides && self.saved.is_some())",
        replacement: "(decides && self.saved.is_none())",
        breaks: "a daemon that died over its disk takes its policy with it",
    },
    Mutant {
        name: "life-repair-never-writes",
        file: RECONCILE,
        text: "broken.retain(|(broken, _)| self.repairs.mends(broken));",
        replacement: "broken.retain(|(broken, _)| self.repairs.mends(broken) && matches!(broken, Broken::Programs(_)));",
        breaks: "what somebody else changed stays changed",
    },
    Mutant {
        name: "life-confirmed-in-the-kernel-first",
        file: TRIAL,
        text: "        self.store.promote(number).inspect_err(|_| drop(self.go_back(last_good)))?;\n        self.show(kernel, self.generations.published().confirmed())?;",
        replacement: "        self.show(kernel, self.generations.published().confirmed())?;\n        self.store.promote(number).inspect_err(|_| drop(self.go_back(last_good)))?;",
        breaks: "a confirmation that was refused holds",
    },
    Mutant {
        name: "life-ended-in-the-kernel-first",
        file: TRIAL,
        text: "drop(self.go_back(Some(self.generations.confirmed().generation())));",
        replacement: "",
        breaks: "a confirmation that came too late holds after all",
    },
    Mutant {
        name: "life-what-was-not-confirmed-stays",
        file: STORE,
        text: "&& self.numbers(PENDING)?.contains(&saved.number)",
        replacement: "&& saved.number == 0",
        breaks: "a confirmation that came too late holds after all",
    },
    Mutant {
        name: "life-index-inherits",
        file: STEP,
        text: "ops.extend(self.reused(observation));",
        replacement: "",
        breaks: "whoever gets an index gets the addresses",
    },
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::step;

    #[test]
    fn every_mutant_finds_its_text() {
        for mutant in all() {
            let content = fs::read_to_string(step::workspace().join(mutant.file)).expect("the file exists");
            let mutated = mutant.apply(&content).unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(mutated, content, "{} changes nothing", mutant.name);
        }
    }

    #[test]
    fn every_mutant_has_a_name_of_its_own() {
        let names: BTreeSet<_> = all().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), all().count());
    }
}
