//! `cargo xtask bench`: the benchmark of package `enforcer-tests`, built for release.

use std::convert::Infallible;
use std::ffi::OsString;

use anyhow::Result;

use crate::programs::{self, Profile};
use crate::step;

/// Builds the benchmark and becomes it. Figures of `--quick` mean nothing: it takes the build of the tests.
pub fn run(args: &[OsString]) -> Result<Infallible> {
    if args.iter().any(|arg| arg == "--quick") {
        step::show("build", programs::build_with_tests())?;
        return programs::exec("bench", Profile::Dev, args);
    }
    programs::build_and_exec("bench", Profile::Release, args)
}
