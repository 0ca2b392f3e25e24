//! Black-box tests over real interfaces, real sockets and the real binary. They need root.
#![allow(clippy::unwrap_used, reason = "a test that finds something missing has found something")]

mod addresses;
mod clean;
mod clsact;
mod confirm;
mod control;
mod direction;
mod ends;
mod flood;
mod flows;
mod fragments;
mod gate;
mod guard;
mod hostile;
mod isolation;
mod lab;
mod lifecycle;
mod neighbours;
mod packaging;
mod pair;
mod path_mtu;
mod policy_swap;
mod privileges;
mod provides;
mod reconcile;
mod refusals;
mod reload;
mod rules;
mod service;
mod slow;
mod spoofing;
mod tools;
mod town;
mod upgrade;
