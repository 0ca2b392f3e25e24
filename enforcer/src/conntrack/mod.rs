//! What the kernel's connection tracking knows of conversations that go on already. Where enforcement begins, or
//! gets stricter, nobody has seen who opened them; with this their answers pass from the first packet on.
//!
//! [`dump`] asks the kernel, [`entry`] reads what it says, [`select`] chooses which conversations the policy would
//! have let open, and in which direction. Connection tracking is a hint, never a proof: what is opened here is
//! asked of the policy again for every answer, as everything in the state table is.

pub mod dump;
pub mod entry;
pub mod select;

pub use dump::{dump, is_missing};
pub use entry::Entry;
pub use select::{Conversation, Owners, Ruling, conversations};
