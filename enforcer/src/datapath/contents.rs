//! What the tables of banks hold. Where the same lies already no table is made again: most edits leave rules alone, and
//! what takes the place of another table costs who waits for the policy a while, and the kernel a grace period.

use std::{collections::HashMap, sync::Mutex};

use sha2::{Digest as _, Sha256};

/// Of all that a table holds.
pub(super) type Digest = [u8; 32];

/// Bank and name.
type Place = (u32, &'static str);

/// Tables that this process has put into banks: the kernel's id of each, and what it holds. They are frozen, so that no
/// other table has this id and holds something else.
#[derive(Debug, Default)]
pub(super) struct Contents(Mutex<HashMap<Place, (u32, Digest)>>);

impl Contents {
    /// Whether the table that lies in a bank, with this id, holds this.
    pub(super) fn holds(&self, bank: u32, name: &'static str, id: u32, digest: Digest) -> bool {
        self.0.lock().expect("nobody panics with it").get(&(bank, name)) == Some(&(id, digest))
    }

    /// A table is about to be put into a bank.
    pub(super) fn note(&self, bank: u32, name: &'static str, id: u32, digest: Digest) {
        self.0.lock().expect("nobody panics with it").insert((bank, name), (id, digest));
    }
}

/// Of keys and values, each as they lie in memory.
pub(super) fn digest(parts: [&[u8]; 2]) -> Digest {
    let hashed = parts.into_iter().fold(Sha256::new(), |hashed, part| {
        // So that nothing moves from one part to the other.
        hashed.chain_update(part.len().to_ne_bytes()).chain_update(part)
    });
    hashed.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_in_the_same_place_is_held() {
        let contents = Contents::default();
        let rules = digest([b"ab", b"c"]);
        contents.note(1, "PAIRS", 7, rules);
        assert!(contents.holds(1, "PAIRS", 7, rules));
        assert!(!contents.holds(1, "PAIRS", 8, rules), "somebody else's table");
        assert!(!contents.holds(2, "PAIRS", 7, rules), "another bank");
        assert!(!contents.holds(1, "LISTS", 7, rules), "another table");
        assert!(!contents.holds(1, "PAIRS", 7, digest([b"a", b"bc"])), "other keys and values");
    }
}
