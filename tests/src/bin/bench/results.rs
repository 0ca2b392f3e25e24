//! What was measured and what was meant to be: printed, written to `target/bench/results.json`, and drawn.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use nix::sys::utsname::uname;
use serde::Serialize;

use crate::statistics::Estimate;
use crate::{paper, plots};

/// Where results go.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench");
/// The same for readers, made by a whole run.
const PAPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");

/// All of one run.
#[derive(Debug, Serialize)]
pub struct Results {
    pub kernel: String,
    pub processor: String,
    pub rows: Vec<Row>,
    pub points: Vec<Point>,
    pub goals: Vec<Goal>,
}

/// One configuration.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The part of the benchmark.
    pub part: &'static str,
    /// What was measured.
    pub of: String,
    /// What forwarded and decided.
    pub what: String,
    pub unit: Unit,
    pub value: Estimate,
    /// The value as a multiple of another one.
    pub times: Estimate,
    /// Of which.
    pub of_what: &'static str,
}

/// Of a line in a picture.
#[derive(Debug, Serialize)]
pub struct Point {
    /// The picture.
    pub plot: String,
    /// The line.
    pub series: String,
    /// What there is more of to the right.
    pub against: &'static str,
    pub x: f64,
    pub unit: Unit,
    pub y: Estimate,
}

/// Of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Nanoseconds,
    Milliseconds,
    GigabitsPerSecond,
    PerSecond,
}

impl Unit {
    /// For tables.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Milliseconds => "ms",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::PerSecond => "/s",
        }
    }

    /// Behind the point.
    pub const fn digits(self) -> usize {
        if matches!(self, Self::GigabitsPerSecond | Self::Milliseconds) { 2 } else { 0 }
    }
}

/// What was meant to be reached.
#[derive(Debug, Serialize)]
pub struct Goal {
    pub what: String,
    /// For people: a sign and a number.
    #[serde(rename = "goal")]
    pub limit: String,
    pub measured: Estimate,
    pub met: bool,
}

impl Results {
    /// Of this machine, and empty.
    pub fn of_this_machine() -> Self {
        let kernel =
            uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let processor = model.map_or_else(String::new, |(_, name)| name.to_owned());
        Self { kernel, processor, rows: Vec::new(), points: Vec::new(), goals: Vec::new() }
    }

    /// Prints the goals; writes the paper if this is the `whole`.
    pub fn finish(&self, whole: bool) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        println!("\ngoals: median, and the interval that holds the true one in 95 of 100 runs");
        for goal in &self.goals {
            println!("  {goal}");
        }
        plots::draw(self, Path::new(DIRECTORY)).map_err(|error| io::Error::other(error.to_string()))?;
        println!("\ntarget/bench: results.json and pictures");
        if whole {
            fs::write(PAPER, paper::of(self))?;
            println!("docs/benchmarks.md");
        }
        Ok(())
    }

    /// Writes what there is by now as JSON; nothing if nothing was compared.
    pub fn write(&self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(DIRECTORY)?;
        fs::write(Path::new(DIRECTORY).join("results.json"), serde_json::to_string_pretty(self)?)
    }
}

impl Goal {
    /// Met if the median is not less.
    pub fn at_least(what: String, limit: f64, measured: Estimate) -> Self {
        Self { what, limit: format!("≥ {limit:.2}"), measured, met: measured.median >= limit }
    }

    /// Met if the median is not greater.
    pub fn at_most(what: String, limit: f64, measured: Estimate) -> Self {
        Self { what, limit: format!("≤ {limit:.2}"), measured, met: measured.median <= limit }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit, ratio) = (self.value.median, self.unit, self.times);
        let Estimate { median, low, high } = ratio;
        let digits = unit.digits();
        write!(
            f,
            "{:<48} {value:>8.digits$} {:<6} {median:>6.2} ({low:.2}–{high:.2})",
            self.what,
            unit.symbol()
        )
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met" } else { "MISSED" };
        let Estimate { median, low, high } = self.measured;
        write!(f, "{met:<6} {:<66} {:>6}: {median:.2} ({low:.2}–{high:.2})", self.what, self.limit)
    }
}
