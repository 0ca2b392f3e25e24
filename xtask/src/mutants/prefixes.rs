//! Mistakes in the trie of prefixes, in how one kind of table becomes the other, and in what an edit leaves alone.

use crate::mutant::Mutant;

const PREFIX_TRIE: &str = "enforcer-common/src/prefix_trie.rs";
const SINCE: &str = "enforcer/src/policy/since.rs";
const EBPF_POLICY: &str = "enforcer-ebpf/src/policy.rs";
const FLOW: &str = "enforcer-ebpf/src/flow.rs";
const POLICIES: &str = "enforcer/src/daemon/policies.rs";
const TRIE: &str = "enforcer/src/policy/trie.rs";
const PREFIXES: &str = "enforcer/src/datapath/prefixes.rs";

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "trie-check-compares-half",
        file: PREFIX_TRIE,
        text: "        high | low\n",
        replacement: "        high | low & 0\n",
        breaks: "all that shares 64 bits with a longer prefix lies in it",
    },
    Mutant {
        name: "trie-shorter-prefix-first",
        file: TRIE,
        text: "sorted.sort_by_key(|entry| entry.block.bits);",
        replacement: "sorted.sort_by_key(|entry| u8::MAX - entry.block.bits);",
        breaks: "a prefix hides the longer ones in it",
    },
    Mutant {
        name: "trie-branch-forgets-what-is-around",
        file: TRIE,
        text: "*node = self.subtree(longer, end, *node);",
        replacement: "*node = self.subtree(longer, end, around);",
        breaks: "a prefix that ends within a branch is not around the longer ones in it",
    },
    Mutant {
        name: "prefixes-of-the-other-kind-are-enough",
        file: PREFIXES,
        text: "Ok(&self.banks_with(kind.other())? - &self.banks_with(kind)?)",
        replacement: "Ok(&self.banks_with(kind)? - &self.banks_with(kind)?)",
        breaks: "programs that look into another kind of table find nobody there",
    },
    Mutant {
        name: "edit-of-the-receiver-ends-nothing",
        file: EBPF_POLICY,
        text: "u32::from(!is_changed(src) && !is_changed(dst))",
        replacement: "u32::from(!is_changed(src) || !is_changed(dst))",
        breaks: "a judgement stands although one of both ends means something else",
    },
    Mutant {
        name: "edit-of-a-rule-ends-nothing",
        file: SINCE,
        text: "for (policy, rule) in [(old, before), (new, after)] {",
        replacement: "for (policy, rule) in [(old, before), (new, after)].into_iter().take(0) {",
        breaks: "a judgement stands although a rule came or went",
    },
    Mutant {
        name: "edit-of-a-rule-is-about-whom-it-is-about-now",
        file: SINCE,
        text: "for (policy, rule) in [(old, before), (new, after)] {",
        replacement: "for (policy, rule) in [(old, &None), (new, after)] {",
        breaks: "a judgement stands although a rule that was about it went",
    },
    Mutant {
        name: "edit-of-a-rule-is-about-one-end",
        file: SINCE,
        text: "        for end in &side.ends {",
        replacement: "        for end in side.ends.iter().take(1) {",
        breaks: "a judgement stands although a rule that came is about it by the second name of a list",
    },
    Mutant {
        name: "edit-of-a-rule-is-about-nobody-where-it-may-be-anybody",
        file: SINCE,
        text: "End::Glob(_) | End::World | End::Host | End::Any => return None,",
        replacement: "End::Glob(_) | End::World | End::Host | End::Any => {}",
        breaks: "a judgement stands although a rule came that is about all",
    },
    Mutant {
        name: "edit-after-a-trial-knows-what-was-before",
        file: POLICIES,
        text: "[self.generations.published().generation(), saved.number] == [since.generation(); 2];",
        replacement: "true;",
        breaks: "what was judged on trial stands when the trial is over",
    },
    Mutant {
        name: "edit-of-members-by-label-ends-nothing",
        file: POLICIES,
        text: "let is_known = !saved.policy.has_members() && !prepared.policy.has_members();",
        replacement: "let is_known = true;",
        breaks: "a judgement stands although other containers are members",
    },
    Mutant {
        name: "edit-that-was-taken-back-stands",
        file: EBPF_POLICY,
        text: "if !since::is_later(generation, today) {",
        replacement: "if false {",
        breaks: "what was judged on trial stands when the trial has run out",
    },
    Mutant {
        name: "kept-for-receivers-once",
        file: FLOW,
        text: "ptr::read_volatile(&raw const (*entry).facts) == control.facts as u32",
        replacement: "true",
        breaks: "what a receiver's processor keeps is not kept again when facts have changed",
    },
];
