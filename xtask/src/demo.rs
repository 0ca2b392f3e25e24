//! `cargo xtask demo`: the demo of package `enforcer-tests`, built as the tests are.

use std::convert::Infallible;
use std::ffi::OsString;

use anyhow::Result;

use crate::programs::{self, Profile};

/// Builds the demo and becomes it, so that Ctrl-C and the exit code are its own.
pub fn run(args: &[OsString]) -> Result<Infallible> {
    programs::build_and_exec("demo", Profile::Dev, args)
}
