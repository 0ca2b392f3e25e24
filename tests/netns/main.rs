//! Black-box tests over real interfaces, real sockets and the real binary. They need root.

mod clean;
mod clsact;
mod flows;
mod isolation;
mod lab;
mod lifecycle;
mod policy_swap;
mod refusals;
mod spoofing;
mod town;
