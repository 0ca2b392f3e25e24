//! `cargo xtask mutate`: breaks one decision after the other, in a scratch copy, and shows which test notices.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::{mutant::Mutant, mutants::MUTANTS, scratch::Scratch, step, test};

/// Of each differential test: the first cases find what all of them find, and a mutant takes a minute.
const CASES: &str = "60";

/// cargo-nextest's exit code for tests that failed (its crate `nextest-metadata`).
const TESTS_FAILED: i32 = 100;

/// What a mutant came to.
enum Fate {
    /// By this test.
    Caught(String),
    Survived,
    /// It is no program; with the compiler's first error.
    NotBuilt(String),
    /// It is no program that the kernel loads.
    Refused,
}

/// Tries every mutant whose name contains `filter`.
pub fn run(filter: &str) -> Result<()> {
    let mutants: Vec<&Mutant> = MUTANTS.iter().filter(|mutant| mutant.name.contains(filter)).collect();
    ensure!(!mutants.is_empty(), "no mutant's name contains `{filter}`; they are in xtask/src/mutants.rs");
    let scratch = Scratch::copy()?;
    match fate("without a mutant", &scratch, true)? {
        Fate::Survived => {}
        Fate::Caught(test) => bail!("{test} fails without any mutant: mend that first"),
        Fate::NotBuilt(error) => bail!("the workspace does not build: {error}"),
        Fate::Refused => bail!("the kernel refuses the programs without any mutant"),
    }
    let mut rows = Vec::new();
    for (number, mutant) in (1..).zip(&mutants) {
        let title = format!("mutant {number} of {}: {}", mutants.len(), mutant.name);
        let started = Instant::now();
        let fate = scratch.with(mutant, || fate(&title, &scratch, mutant.is_in_libraries()))?;
        eprintln!("{title}: {fate} ({})", step::seconds(started));
        rows.push((*mutant, fate, started.elapsed().as_secs()));
    }
    report(&rows)
}

/// Builds what lies in the copy and runs the tests up to the first that fails, the quick ones first.
fn fate(title: &str, scratch: &Scratch, libraries: bool) -> Result<Fate> {
    if libraries {
        let fate = tested(&format!("{title}: libraries"), scratch, &["--lib"])?;
        if !matches!(fate, Fate::Survived) {
            return Ok(fate);
        }
    }
    // What a program costs says nothing about what it decides.
    let filters = ["--test", "prog_run", "--filterset", "not test(/^budget::/)"];
    tested(&format!("{title}: programs"), scratch, &filters)
}

fn tested(title: &str, scratch: &Scratch, filters: &[&str]) -> Result<Fate> {
    let mut heard = Heard::default();
    let exit = step::listen(title, tests(scratch, filters)?, |line| heard.hear(line))?;
    if exit.success() {
        return Ok(Fate::Survived);
    }
    if heard.refused {
        return Ok(Fate::Refused);
    }
    match (exit.code(), heard.failed, heard.error) {
        (Some(TESTS_FAILED), Some(test), _) => Ok(Fate::Caught(test)),
        (_, None, Some(error)) => Ok(Fate::NotBuilt(error)),
        (_, _, error) => bail!("{title}: cargo-nextest failed: {exit}, {}", error.unwrap_or_default()),
    }
}

/// The same packages whatever is filtered: else their dependencies have other features and are built anew.
fn tests(scratch: &Scratch, filters: &[&str]) -> Result<Command> {
    let mut tests = test::nextest(scratch.root())?;
    scratch.prepare(&mut tests);
    tests.env("ENFORCER_CASES", CASES).env_remove("PROPTEST_CASES");
    tests.args(["--package", "enforcer-common", "--package", "enforcer", "--package", "enforcer-tests"]);
    tests.args(["--max-fail", "1:immediate"]).args(filters);
    Ok(tests)
}

/// What matters of the output of cargo and cargo-nextest.
#[derive(Default)]
struct Heard {
    /// The first test that failed.
    failed: Option<String>,
    /// The compiler's first error.
    error: Option<String>,
    /// The kernel refused a program.
    refused: bool,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let line = line.trim();
        self.refused |= line.contains("the kernel refused");
        if self.error.is_none() && (line.starts_with("error: ") || line.starts_with("error[")) {
            self.error = Some(line.to_owned());
        }
        // "FAIL [   0.123s] (12/34) enforcer-tests::prog_run verdict::an_exception_is_no_member"
        let failed = ["FAIL [", "TIMEOUT [", "SIGABRT ["].iter().any(|status| line.starts_with(status));
        if failed && self.failed.is_none() {
            self.failed = line.rsplit(' ').next().map(ToOwned::to_owned);
        }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caught(test) => f.write_str(test),
            Self::Survived => f.write_str("SURVIVED"),
            Self::NotBuilt(error) => write!(f, "DOES NOT BUILD: {error}"),
            Self::Refused => f.write_str("REFUSED by the kernel's verifier"),
        }
    }
}

/// The table; an error if one was not caught.
fn report(rows: &[(&Mutant, Fate, u64)]) -> Result<()> {
    let name_width = rows.iter().map(|(mutant, ..)| mutant.name.len()).max().unwrap_or(0);
    let fate_width = rows.iter().map(|(_, fate, _)| fate.to_string().len()).max().unwrap_or(0);
    println!("{:name_width$} | {:fate_width$} | seconds", "mutant", "caught by");
    for (mutant, fate, seconds) in rows {
        println!("{:name_width$} | {:fate_width$} | {seconds:>7}", mutant.name, fate.to_string());
    }
    let mut uncaught = 0;
    for (mutant, fate, _) in rows {
        if !matches!(fate, Fate::Caught(_)) {
            uncaught += 1;
            println!("{}: {}: {}, and: {fate}", mutant.name, mutant.file, mutant.breaks);
        }
    }
    if uncaught > 0 {
        bail!("{uncaught} of {} mutants were not caught by a test", rows.len());
    }
    println!("mutate: all {} mutants were caught", rows.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failed_test_is_named() {
        let mut heard = Heard::default();
        for line in [
            "        PASS [   0.004s] ( 1/23) enforcer-common state::tests::one",
            "        FAIL [   0.123s] ( 2/23) enforcer-tests::prog_run verdict::two::family_1_V4",
            "        FAIL [   0.123s] ( 3/23) enforcer-tests::prog_run verdict::three",
            "error: test run failed",
        ] {
            heard.hear(line);
        }
        assert_eq!(heard.failed.as_deref(), Some("verdict::two::family_1_V4"));
        assert!(!heard.refused);
    }
}
