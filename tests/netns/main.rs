//! Black-box tests over real interfaces, real sockets and the real binary. They need root.
#![allow(clippy::unwrap_used, reason = "a test that finds something missing has found something")]

mod addresses;
mod clean;
mod clsact;
mod direction;
mod ends;
mod faults;
mod flood;
mod flows;
mod fragments;
mod guard;
mod hostile;
mod interfaces;
mod interrupted;
mod isolation;
mod lab;
mod lifecycle;
mod loss;
mod pair;
mod path_mtu;
mod policy_swap;
mod provides;
mod refusals;
mod resources;
mod rules;
mod spoofing;
mod tools;
mod town;
