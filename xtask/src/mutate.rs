//! `cargo xtask mutate`: breaks one decision after the other, in a scratch copy, and shows which test
//! notices.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::{mutant::Mutant, mutants, scratch::Scratch, step, test};

/// Of each differential test: what is broken on purpose is found by few.
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

/// Tries every mutant whose name contains one of `filters`; all without any.
pub fn run(filters: &[String]) -> Result<()> {
    let meant = |mutant: &&Mutant| filters.iter().any(|filter| mutant.name.contains(filter));
    let mutants: Vec<&Mutant> = mutants::all().filter(|mutant| filters.is_empty() || meant(mutant)).collect();
    ensure!(!mutants.is_empty(), "no mutant is called {}; see xtask/src/mutants.rs", filters.join(", "));
    let scratch = Scratch::copy()?;
    mutants.iter().try_for_each(|mutant| scratch.accepts(mutant))?;
    let failing = failing(&scratch)?;
    let mut rows = Vec::new();
    for (number, mutant) in (1..).zip(&mutants) {
        let title = format!("mutant {number} of {}: {}", mutants.len(), mutant.name);
        let started = Instant::now();
        let fate = scratch.with(mutant, || fate(&title, &scratch, mutant, &failing))?;
        eprintln!("{title}: {fate} ({})", step::seconds(started));
        rows.push((*mutant, fate, started.elapsed().as_secs()));
    }
    report(&rows)
}

/// The tests that fail anyway, and so notice nothing.
fn failing(scratch: &Scratch) -> Result<Vec<String>> {
    let mut failing = Vec::new();
    for stage in Stage::ALL {
        let title = format!("without a mutant: {}", stage.title());
        let mut heard = Heard::default();
        let mut tests = tests(scratch, stage, &[])?;
        tests.arg("--no-fail-fast");
        let exit = step::listen(&title, tests, |line| heard.hear(line))?;
        if heard.cut_short || (!exit.success() && exit.code() != Some(TESTS_FAILED)) {
            bail!("{title}: cut short, {exit}, {}", heard.error.unwrap_or_default());
        }
        failing.extend(heard.failed);
    }
    if !failing.is_empty() {
        eprintln!("left out, because they fail without any mutant:\n  {}", failing.join("\n  "));
    }
    Ok(failing)
}

/// Builds what lies in the copy and runs the tests up to the first that fails, and fails again: a test that is late on a
/// busy machine, or fails now and then, has noticed nothing.
fn fate(title: &str, scratch: &Scratch, mutant: &Mutant, left_out: &[String]) -> Result<Fate> {
    let mut left_out = left_out.to_vec();
    for stage in Stage::ALL {
        if stage == Stage::Libraries && !mutant.is_in_libraries() {
            continue;
        }
        let title = format!("{title}: {}", stage.title());
        let mut tried = tests(scratch, stage, &left_out)?;
        while let Some(fate) = fate_of(&title, tried)? {
            let Fate::Caught(test) = fate else { return Ok(fate) };
            let again = tests_of(scratch, stage, &format!("test(={test})"))?;
            if let Some(fate) = fate_of(&format!("{title}: {test} again"), again)? {
                return Ok(fate);
            }
            eprintln!("{title}: {test} failed by chance");
            left_out.push(test);
            tried = tests(scratch, stage, &left_out)?;
        }
    }
    Ok(Fate::Survived)
}

/// Runs tests up to the first that fails; nothing when all of them pass.
fn fate_of(title: &str, mut tests: Command) -> Result<Option<Fate>> {
    let mut heard = Heard::default();
    tests.args(["--max-fail", "1:immediate"]);
    let exit = step::listen(title, tests, |line| heard.hear(line))?;
    let is_tests = exit.code() == Some(TESTS_FAILED);
    match (heard.failed.into_iter().next(), heard.error) {
        _ if exit.success() => Ok(None),
        _ if heard.refused => Ok(Some(Fate::Refused)),
        (Some(test), _) if is_tests => Ok(Some(Fate::Caught(test))),
        (None, Some(error)) => Ok(Some(Fate::NotBuilt(error))),
        (_, error) => bail!("{title}: {exit}, {}", error.unwrap_or_default()),
    }
}

/// Which tests are run, those that take least time for what they find first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// That load no program.
    Libraries,
    /// The programs against the reference evaluator.
    Differential,
    /// All other packets, but for what programs cost: that says nothing about what they decide.
    Packets,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Libraries, Self::Differential, Self::Packets];

    const fn title(self) -> &'static str {
        match self {
            Self::Libraries => "libraries",
            Self::Differential => "differential tests",
            Self::Packets => "other packets",
        }
    }

    const fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Libraries => &["--lib"],
            Self::Differential | Self::Packets => &["--test", "prog_run"],
        }
    }

    const fn filterset(self) -> &'static str {
        match self {
            Self::Libraries => "all()",
            Self::Differential => "test(/^differential::/)",
            Self::Packets => "not test(/^(differential|budget)::/)",
        }
    }
}

/// All of a stage, but these.
fn tests(scratch: &Scratch, stage: Stage, left_out: &[String]) -> Result<Command> {
    let filterset = left_out.iter().fold(stage.filterset().to_owned(), |all, test| {
        // The difference of two sets of tests.
        all + " - test(=" + test + ")"
    });
    tests_of(scratch, stage, &filterset)
}

/// Some of a stage. The same packages in every one: else their dependencies have other features and are built anew.
fn tests_of(scratch: &Scratch, stage: Stage, filterset: &str) -> Result<Command> {
    let mut tests = test::nextest(scratch.root())?;
    scratch.prepare(&mut tests);
    tests.env("ENFORCER_CASES", CASES).env_remove("PROPTEST_CASES");
    tests.args(["--package", "enforcer-common", "--package", "enforcer", "--package", "enforcer-tests"]);
    tests.args(stage.targets()).args(["--filterset", filterset]);
    Ok(tests)
}

/// What matters of the output of cargo and cargo-nextest.
#[derive(Default)]
struct Heard {
    /// The tests that failed, each once.
    failed: Vec<String>,
    /// The compiler's first error.
    error: Option<String>,
    /// The kernel refused a program.
    refused: bool,
    /// Not all tests were run.
    cut_short: bool,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let line = line.trim();
        self.refused |= line.contains("the kernel refused");
        // "Summary [   1.234s] 12/34 tests run: …"; with all of them it is "34 tests run".
        self.cut_short |= line.starts_with("Summary [") && {
            let run = line.split_once("tests run").map_or("", |(before, _)| before);
            run.split_once(']').is_some_and(|(_, run)| run.contains('/'))
        };
        if self.error.is_none() && (line.starts_with("error: ") || line.starts_with("error[")) {
            self.error = Some(line.to_owned());
        }
        // "FAIL [   0.123s] (12/34) enforcer-tests::prog_run verdict::an_exception_is_no_member"
        let failed = ["FAIL [", "TIMEOUT [", "SIGABRT ["].iter().any(|status| line.starts_with(status));
        if let Some(test) = line.rsplit(' ').next().filter(|_| failed)
            && self.failed.iter().all(|known| known != test)
        {
            self.failed.push(test.to_owned());
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
    fn failed_tests_are_named_once() {
        let mut heard = Heard::default();
        for line in [
            "        PASS [   0.004s] ( 1/23) enforcer-common state::tests::one",
            "        FAIL [   0.123s] ( 2/23) enforcer-tests::prog_run verdict::two::family_1_V4",
            "        FAIL [   0.123s] ( 3/23) enforcer-tests::prog_run verdict::three",
            "     Summary [   0.478s] 3 tests run: 1 passed, 2 failed, 484 skipped",
            "        FAIL [   0.123s] ( 2/23) enforcer-tests::prog_run verdict::two::family_1_V4",
            "error: test run failed",
        ] {
            heard.hear(line);
        }
        assert_eq!(heard.failed, ["verdict::two::family_1_V4", "verdict::three"]);
        assert!(!heard.refused && !heard.cut_short);
        heard.hear("     Summary [   0.478s] 3/23 tests run: 1 passed, 2 failed, 484 skipped");
        assert!(heard.cut_short);
    }
}
