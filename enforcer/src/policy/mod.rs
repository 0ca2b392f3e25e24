//! A policy's way, from text to tables.
//!
//! ```text
//! source ──syntax──▶ spec ──validate──▶ model ──ids──▶ compile ──▶ tables
//! files,   TOML      what is written,   Policy  stable   what the kernel
//! stdin    + spans   with its places            ids      looks up
//! ```
//!
//! Text becomes a [`Policy`] or [`Diagnostics`], nothing in between: all mistakes of all files are
//! told in one run.
//! Everything behind [`read`] is pure.

pub mod diagnostic;
pub mod model;
pub mod name;
pub mod prefix;
pub mod source;
mod spec;
mod syntax;
mod validate;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use model::{Network, NetworkError, Policy};
pub use name::{NameError, NetworkName};
pub use prefix::{Prefix, PrefixError};
pub use source::{ReadError, Source, read};
