//! Mistakes in the trie of prefixes, and in how one kind of table becomes the other.

use crate::mutant::Mutant;

const PREFIX_TRIE: &str = "enforcer-common/src/prefix_trie.rs";
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
        text: "if !has(kind, bank)? && has(kind.other(), bank)? {",
        replacement: "if !has(kind, bank)? && has(kind, bank)? {",
        breaks: "programs that look into another kind of table find nobody there",
    },
];
