//! What the machine that builds and the virtual machine that tests say to each other: a [`Plan`] goes in, with the
//! initial file system, and [`Report`]s come out, one JSON object a line, on the second serial port.

pub mod feature;
pub mod figure;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where the plan lies in the guest.
pub const PLAN: &str = "/vm/plan.json";
/// Where the reports go in the guest.
pub const REPORTS: &str = "/dev/ttyS1";
/// The word by which the first process is called as a rehearsal of the [`Fault`] that comes after it.
pub const REHEARSE: &str = "rehearse";
/// How a test begins a line that says what it left out, and for want of which feature.
pub const SKIPPED: &str = "skipped, this kernel lacks: ";

/// What to do in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Kernel modules, each after those that it needs.
    pub modules: Vec<PathBuf>,
    /// Tests at a time.
    pub parallel: usize,
    /// The tests, in order.
    pub tests: Vec<Test>,
}

/// One test, in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// The group it is counted in.
    pub group: String,
    /// Its name.
    pub name: String,
    /// The program that has it.
    pub program: PathBuf,
    /// What the program is called with.
    pub arguments: Vec<String>,
    /// What is added to its environment.
    pub environment: Vec<(String, String)>,
    /// Seconds after which it hangs.
    pub limit: u64,
}

/// What the guest says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// It is up.
    Ready {
        /// The kernel's release.
        release: String,
        /// Seconds since the kernel began.
        uptime: f32,
    },
    /// It cannot go on.
    Broken(String),
    /// A test began.
    Began {
        /// Its place in the plan.
        test: usize,
    },
    /// A test ended.
    Ended {
        /// Its place in the plan.
        test: usize,
        /// How.
        outcome: Outcome,
        /// After so many seconds.
        seconds: f32,
        /// What it printed.
        output: String,
    },
    /// All tests ended.
    Done,
}

/// What can be made to go wrong, to see that it is reported as what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A test does not end.
    Hang,
    /// The machine says nothing any more.
    Silence,
    /// The kernel panics.
    Panic,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hang, Self::Silence, Self::Panic];

    /// What people type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::Silence => "silence",
            Self::Panic => "panic",
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| format!("known are {}", known()))
    }
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Well.
    Passed,
    /// With a failure.
    Failed,
    /// It was killed when its time was over.
    TimedOut,
    /// Well, but it left something out for want of these features.
    Skipped(Vec<String>),
}

impl Outcome {
    /// How a test ended whose process succeeded or not, by what it printed.
    pub fn of(succeeded: bool, output: &str) -> Self {
        let lacks: BTreeSet<&str> = output.lines().filter_map(|line| line.strip_prefix(SKIPPED)).collect();
        let lacks: Vec<String> = lacks.into_iter().map(ToOwned::to_owned).collect();
        match (succeeded, lacks.is_empty()) {
            (false, _) => Self::Failed,
            (true, true) => Self::Passed,
            (true, false) => Self::Skipped(lacks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_names_what_is_lacking_and_hides_no_failure() {
        let said = "running 1 test\nskipped, this kernel lacks: tcx\nok\n";
        assert_eq!(Outcome::of(true, said), Outcome::Skipped(vec!["tcx".to_owned()]));
        assert_eq!(Outcome::of(false, said), Outcome::Failed);
        assert_eq!(Outcome::of(true, "fine"), Outcome::Passed);
    }

    #[test]
    fn a_report_is_one_line() {
        let report =
            Report::Ended { test: 3, outcome: Outcome::Failed, seconds: 1.5, output: "a\nb".to_owned() };
        let line = serde_json::to_string(&report).expect("a report can be written");
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Report>(&line).expect("and read"), report);
    }
}
