//! `cargo xtask bench`: the benchmark of package `enforcer-tests`, built for release.

use std::convert::Infallible;
use std::ffi::OsString;

use anyhow::Result;

use crate::programs::{self, Profile};

/// Builds the benchmark and becomes it.
pub fn run(args: &[OsString]) -> Result<Infallible> {
    programs::build_and_exec("bench", Profile::Release, args)
}
