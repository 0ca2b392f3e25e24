//! `cargo xtask bench`: the benchmark of package `enforcer-tests`, built for release.

use std::convert::Infallible;
use std::ffi::OsString;

use anyhow::Result;

use crate::programs::{self, Profile};

/// Builds the benchmark and becomes it. Figures of `--quick` mean nothing, so it does not wait for another build.
pub fn run(args: &[OsString]) -> Result<Infallible> {
    let profile = if args.iter().any(|arg| arg == "--quick") { Profile::Dev } else { Profile::Release };
    programs::build_and_exec("bench", profile, args)
}
