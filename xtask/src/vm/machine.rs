//! One virtual machine from its start to its end: hears its reports, and ends it when it says nothing any more.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use enforcer_guest::feature::Feature;
use enforcer_guest::{Outcome, Plan, Report, Test};

/// How long a machine may say nothing, beyond what its slowest test may take.
const SILENCE: Duration = Duration::from_secs(45);

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All tests ended.
    Done,
    /// Its kernel panicked, and said this.
    Panicked(String),
    /// It said nothing for so long, while these tests ran.
    Hung(Duration, Vec<usize>),
    /// It ended, or could not go on, for this reason.
    Broke(String),
}

/// What came of a machine.
#[derive(Debug)]
pub struct Course {
    /// The kernel's release, as it said itself.
    pub release: String,
    /// What was to run.
    pub tests: Vec<Test>,
    /// How each test ended; `None` if it did not.
    pub outcomes: Vec<Option<Outcome>>,
    /// What each test printed.
    pub outputs: Vec<String>,
    /// How the machine ended.
    pub end: End,
    /// After so long.
    pub took: Duration,
}

impl Course {
    /// Those of several machines with the same kernel, as if they were one.
    pub fn joined(courses: Vec<Self>) -> Self {
        let whole = Self {
            release: String::new(),
            tests: Vec::new(),
            outcomes: Vec::new(),
            outputs: Vec::new(),
            end: End::Done,
            took: Duration::ZERO,
        };
        courses.into_iter().fold(whole, |whole, next| Self {
            release: if whole.release.is_empty() { next.release } else { whole.release },
            tests: [whole.tests, next.tests].concat(),
            outcomes: [whole.outcomes, next.outcomes].concat(),
            outputs: [whole.outputs, next.outputs].concat(),
            end: if whole.end == End::Done { next.end } else { whole.end },
            took: whole.took + next.took,
        })
    }
}

/// Boots, and hands on what is reported.
pub fn run(command: Command, plan: &Plan, console: &Path, heard: impl FnMut(&Report)) -> Result<Course> {
    let started = Instant::now();
    let mut machine = Machine::start(command)?;
    let mut course = Course {
        release: String::new(),
        tests: plan.tests.clone(),
        outcomes: vec![None; plan.tests.len()],
        outputs: vec![String::new(); plan.tests.len()],
        end: End::Broke(String::new()),
        took: Duration::ZERO,
    };
    let limit = plan.tests.iter().map(|test| test.limit).max().unwrap_or_default();
    course.end = machine.follow(&mut course, Duration::from_secs(limit) + SILENCE, heard);
    if let End::Broke(reason) = &course.end {
        let complaints = machine.complaints();
        let reason = format!("{reason} {}", complaints.trim());
        course.end = panic_in(console).map_or(End::Broke(reason.trim().to_owned()), End::Panicked);
    }
    course.took = started.elapsed();
    Ok(course)
}

/// The line by which a kernel says that it panicked, and what came right before.
fn panic_in(console: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(console).ok()?).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let at = lines.iter().position(|line| line.contains("Kernel panic"))?;
    let cause = lines[..at].iter().rev().find(|line| line.contains("BUG") || line.contains("Oops"));
    Some(cause.into_iter().chain(&lines[at..=at]).copied().collect::<Vec<_>>().join("; "))
}

/// A test that was skipped for want of what this kernel has did not pass.
fn without_excuse(report: Report, release: &str) -> Report {
    let has = |name: &String| {
        Feature::named(name).and_then(|feature| feature.may_be_missing(release)) != Some(true)
    };
    match report {
        Report::Ended { test, outcome: Outcome::Skipped(lacks), seconds, output }
            if lacks.iter().any(has) =>
        {
            let output = format!("{output}\nbut kernel {release} has it");
            Report::Ended { test, outcome: Outcome::Failed, seconds, output }
        }
        report => report,
    }
}

/// A QEMU that is ended with the value.
struct Machine {
    child: Child,
    reports: Receiver<Report>,
}

impl Machine {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.spawn().with_context(|| format!("failed to run {command:?}"))?;
        let port = child.stdout.take().context("QEMU has an output")?;
        let (sender, reports) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(port).split(b'\n').map_while(Result::ok) {
                // The firmware may say something, too.
                let Ok(report) = serde_json::from_slice(line.trim_ascii()) else { continue };
                if sender.send(report).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, reports })
    }

    fn follow(&mut self, course: &mut Course, patience: Duration, mut heard: impl FnMut(&Report)) -> End {
        let mut running = BTreeSet::new();
        loop {
            let report = match self.reports.recv_timeout(patience) {
                Ok(report) => without_excuse(report, &course.release),
                Err(RecvTimeoutError::Timeout) => return End::Hung(patience, running.into_iter().collect()),
                Err(RecvTimeoutError::Disconnected) => {
                    return End::Broke("the machine went off early".to_owned());
                }
            };
            heard(&report);
            match report {
                Report::Ready { release, .. } => course.release = release,
                Report::Began { test } => drop(running.insert(test)),
                Report::Ended { test, outcome, output, .. } if test < course.outcomes.len() => {
                    running.remove(&test);
                    course.outcomes[test] = Some(outcome);
                    course.outputs[test] = output;
                }
                Report::Ended { .. } => {}
                Report::Broken(reason) => return End::Broke(reason),
                Report::Done => return End::Done,
            }
        }
    }

    /// What QEMU itself said; it is ended for that.
    fn complaints(&mut self) -> String {
        self.child.kill().ok();
        let mut text = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut text).ok();
        }
        text
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_skips_for_want_of_what_is_there() {
        let skipped = |name: &str| Report::Ended {
            test: 0,
            outcome: Outcome::Skipped(vec![name.to_owned()]),
            seconds: 0.0,
            output: String::new(),
        };
        let fails = |name: &str, release| {
            matches!(without_excuse(skipped(name), release), Report::Ended { outcome: Outcome::Failed, .. })
        };
        assert!(!fails(Feature::Tcx.name(), "6.1.0"));
        assert!(fails(Feature::Tcx.name(), "6.12.1"));
        assert!(fails("something else", "5.10.0"));
    }
}
