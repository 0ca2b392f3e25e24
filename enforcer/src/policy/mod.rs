//! A policy's way, from text to tables.
//!
//! ```text
//! source ──syntax──▶ spec ──validate──▶ model ──ids──▶ compile ──▶ tables
//! files,   TOML      what is written,   Policy  stable   what the kernel
//! stdin    + spans   with its places            ids      looks up
//! ```
//!
//! Text becomes a [`Policy`] or [`Diagnostics`], nothing in between: all mistakes of all files are told
//! in one run. Everything behind [`read`] is pure.
#![forbid(unsafe_code)]

pub mod compile;
pub mod diagnostic;
pub mod diff;
pub mod doubt;
pub mod explain;
pub mod ids;
pub mod mode;
pub mod model;
pub mod name;
pub mod oracle;
pub mod prefix;
pub mod rule;
pub mod selector;
pub mod service;
pub mod since;
pub mod source;
mod spec;
mod syntax;
pub mod tables;
pub mod trie;
mod validate;
pub mod world;

pub use compile::{Capacity, CompileError, compile};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use explain::{Explanation, explain};
pub use ids::{CapacityError, IdTable, IdTableError, Ids};
pub use mode::{Mode, ModeError};
pub use model::{AddressSet, AddressSetError, Policy, PolicyError};
pub use name::{Name, NameError, RuleName};
pub use prefix::{Prefix, PrefixError};
pub use selector::{Labels, Members, Selector, SelectorError};
pub use since::Since;
pub use source::{ReadError, Source, read};
pub use tables::{TableEntry, Tables};
