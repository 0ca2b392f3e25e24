//! Black-box tests over real interfaces, real sockets and the real binary. They need root.
#![allow(clippy::unwrap_used, reason = "a test that finds something missing has found something")]

mod addresses;
mod clean;
mod clsact;
mod flows;
mod isolation;
mod lab;
mod lifecycle;
mod policy_swap;
mod refusals;
mod spoofing;
mod tagging;
mod town;
