//! `cargo xtask soak`: the differential tests over random scenes, round after round, until the time is over
//! or the programs and the reference evaluator disagree. With `--loss` the loss trial in its full length.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    programs::{self, Profile},
    step, test,
};

/// Cases of each test in a round, and a case has one policy or more. The tests of a round share the cores.
const CASES: &str = "120";

/// How long to go on.
#[derive(Args, Clone, Copy)]
struct Length {
    /// Minutes to go on for; the round that has begun by then is finished.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
    /// Hours to go on for.
    #[arg(long, conflicts_with = "minutes")]
    hours: Option<u32>,
}

/// What to go on with.
#[derive(Args, Clone, Copy)]
pub struct Soak {
    #[command(flatten)]
    length: Length,
    /// Instead kill, replace and change the daemon under steady traffic, and count lost packets.
    #[arg(long, conflicts_with_all = ["minutes", "hours"])]
    loss: bool,
}

impl Length {
    fn duration(self) -> Duration {
        let minutes = self.hours.map_or(u64::from(self.minutes), |hours| 60 * u64::from(hours));
        Duration::from_mins(minutes)
    }
}

/// Runs what was asked for.
pub fn run(soak: Soak) -> Result<()> {
    if soak.loss {
        match programs::build_and_exec("loss", Profile::Release, &[])? {}
    }
    compare(soak.length)
}

/// Goes on until the time is over; the first disagreement is an error.
fn compare(length: Length) -> Result<()> {
    programs::build_tests()?;
    let (started, length) = (Instant::now(), length.duration());
    let mut total = Tally::default();
    for number in 1.. {
        let heard = round(number)?;
        total.add(&heard.tally);
        if heard.failed {
            heard.report();
            bail!("round {number} found a disagreement; judged by then: {}", total.since(started));
        }
        eprintln!("round {number}: {}", total.since(started));
        if started.elapsed() >= length {
            println!("soak: no disagreement after {number} rounds: {}", total.since(started));
            break;
        }
    }
    Ok(())
}

/// All differential tests once, each with other scenes than ever before.
fn round(number: u32) -> Result<Heard> {
    let mut heard = Heard::default();
    let exit = step::listen(&format!("round {number}"), tests()?, |line| heard.hear(line))?;
    heard.failed = !exit.success();
    Ok(heard)
}

fn tests() -> Result<Command> {
    let mut tests = test::nextest(step::workspace())?;
    tests.args(["--package", "enforcer-tests", "--test", "prog_run", "--profile", "soak"]);
    tests.args(["--filterset", "test(/^differential::kernel_and_reference/)"]);
    tests.env("PROPTEST_CASES", CASES).env_remove("ENFORCER_CASES");
    Ok(tests)
}

/// What was judged.
#[derive(Default)]
struct Tally {
    policies: u64,
    frames: u64,
}

impl Tally {
    /// Reads "1200 frames under 34 policies", which every test says at its end.
    fn parse(line: &str) -> Option<Self> {
        let (frames, rest) = line.trim().split_once(" frames under ")?;
        let policies = rest.strip_suffix(" policies")?;
        Some(Self { policies: policies.parse().ok()?, frames: frames.parse().ok()? })
    }

    fn add(&mut self, other: &Self) {
        self.policies += other.policies;
        self.frames += other.frames;
    }

    fn since(&self, started: Instant) -> String {
        let Self { policies, frames } = self;
        let elapsed = started.elapsed().as_secs_f64();
        let rate = *frames as f64 / elapsed;
        format!("{policies} policies, {frames} frames in {:.1} min ({rate:.0} frames/s)", elapsed / 60.0)
    }
}

/// What the tests of a round said.
#[derive(Default)]
struct Heard {
    tally: Tally,
    failed: bool,
    /// Of the first test that failed, from its panic up to the file that was kept.
    page: Vec<String>,
    /// The files that were kept: another test may find something before it hears of the first.
    kept: Vec<String>,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        if let Some(tally) = Tally::parse(line) {
            self.tally.add(&tally);
        }
        if self.kept.is_empty() && (!self.page.is_empty() || line.contains("panicked at")) {
            self.page.push(line.to_owned());
        }
        self.kept.extend(line.trim().strip_prefix("kept as ").map(ToOwned::to_owned));
    }

    fn report(&self) {
        for line in &self.page {
            eprintln!("{line}");
        }
        if self.kept.is_empty() {
            eprintln!(
                "no case was kept: the tests failed in another way; type: cargo xtask test differential"
            );
            return;
        }
        for path in &self.kept {
            eprintln!("the case is {path}");
        }
        eprintln!(
            "to replay it: cargo xtask test what_was_found_once_stays_found\n\
             once mended, commit the file: it is tried again in every run of the tests"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_says_is_understood() {
        let mut heard = Heard::default();
        for line in [
            "    1200 frames under 34 policies",
            "    thread 'differential' panicked at tests/prog_run/differential.rs:1:2:",
            "    reference: Pass",
            "    kept as /src/found/12.json",
            "    kept as /src/found/34.json",
            "    10 frames under 2 policies",
            "    note: run with RUST_BACKTRACE",
        ] {
            heard.hear(line);
        }
        assert_eq!((heard.tally.policies, heard.tally.frames), (36, 1210));
        assert_eq!(heard.kept, ["/src/found/12.json", "/src/found/34.json"]);
        assert_eq!(heard.page.len(), 3);
    }
}
