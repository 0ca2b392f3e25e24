//! What was measured and what was meant to be: printed, written to `target/bench/results.json`, and drawn.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use crate::statistics::{Estimate, quantile};
use crate::{Thoroughness, paper, plots};

/// Where results go, and those of quick runs, which mean nothing.
const DIRECTORY: &str = "target/bench";
const QUICK: &str = "target/bench/quick";
const FILE: &str = "results.json";
/// The same for readers.
const PAPER: &str = "docs/benchmarks.md";
/// Where all of these are.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Mostly known when this was written.
pub type Text = Cow<'static, str>;

/// What is known of this machine: parts that are measured anew take the place of what they found before.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub kernel: String,
    pub processor: String,
    /// The parts that were measured.
    pub parts: BTreeSet<String>,
    pub rows: Vec<Row>,
    pub points: Vec<Point>,
    pub goals: Vec<Goal>,
}

/// One configuration.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// The part of the benchmark.
    pub part: Text,
    /// What was measured.
    pub of: String,
    /// What forwarded and decided.
    pub what: String,
    pub unit: Unit,
    pub value: Estimate,
    /// The value as a multiple of another one.
    pub times: Estimate,
    /// Of which.
    pub of_what: Text,
}

/// Of a line in a picture.
#[derive(Debug, Serialize, Deserialize)]
pub struct Point {
    /// The part of the benchmark.
    pub part: Text,
    /// The picture.
    pub plot: String,
    /// The line.
    pub series: String,
    /// What there is more of to the right.
    pub against: Text,
    pub x: f64,
    pub unit: Unit,
    pub y: Estimate,
}

/// Of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    GigabitsPerSecond,
    PerSecond,
    Packets,
    Instructions,
    Bytes,
    Megabytes,
}

impl Unit {
    /// For tables.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::PerSecond => "/s",
            Self::Packets => "packets",
            Self::Instructions => "instructions",
            Self::Bytes => "B",
            Self::Megabytes => "MB",
        }
    }

    /// Behind the point.
    pub const fn digits(self) -> usize {
        match self {
            Self::Microseconds | Self::Milliseconds | Self::GigabitsPerSecond | Self::Megabytes => 2,
            Self::Nanoseconds | Self::PerSecond | Self::Packets | Self::Instructions | Self::Bytes => 0,
        }
    }
}

/// What was meant to be reached.
#[derive(Debug, Serialize, Deserialize)]
pub struct Goal {
    /// The part of the benchmark.
    pub part: Text,
    pub what: String,
    /// For people: a sign and a number.
    #[serde(rename = "goal")]
    pub limit: String,
    pub measured: Estimate,
    pub met: bool,
}

impl Results {
    /// What was found on this machine and kernel before, of a whole run's parts or of some; of quick runs nothing.
    pub fn of_this_machine(thoroughness: Thoroughness) -> Self {
        let kernel =
            uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let processor = model.map_or_else(String::new, |(_, name)| name.to_owned());
        let before = fs::read(path(DIRECTORY).join(FILE)).ok().filter(|_| thoroughness.is_full());
        let before: Option<Self> = before.and_then(|text| serde_json::from_slice(&text).ok());
        let before = before.filter(|before| before.kernel == kernel && before.processor == processor);
        before.unwrap_or_else(|| Self { kernel, processor, ..Self::default() })
    }

    /// Forgets what a part found before, which is measured now.
    pub fn begin(&mut self, part: &str) {
        self.rows.retain(|row| row.part != part);
        self.points.retain(|point| point.part != part);
        self.goals.retain(|goal| goal.part != part);
        self.parts.insert(part.to_owned());
    }

    /// Adds a row, and prints it.
    pub fn tell(&mut self, row: Row) {
        println!("    {row}");
        self.rows.push(row);
    }

    /// Adds a table of what was not measured in rounds, each beside the first; at least one.
    pub fn table(&mut self, (part, of): (&'static str, &str), unit: Unit, values: &[(String, Estimate)]) {
        println!("  {of}");
        let (first, base) = &values[0];
        for (what, value) in values {
            self.tell(Row {
                part: part.into(),
                of: of.to_owned(),
                what: what.clone(),
                unit,
                value: *value,
                times: value.times(*base),
                of_what: first.clone().into(),
            });
        }
    }

    /// Adds how long half of all waits took at most, and 99 of 100, and as multiples of others'.
    pub fn waits(
        &mut self,
        (part, of): (&'static str, &str),
        name: &str,
        unit: Unit,
        [waits, others]: [&[f64]; 2],
        of_what: &'static str,
    ) {
        for (most, share) in [("half of them", 0.5), ("99 of 100", 0.99)] {
            let [value, base] = [waits, others].map(|waits| quantile(waits, share));
            self.tell(Row {
                part: part.into(),
                of: of.to_owned(),
                what: format!("{name}: {most} within"),
                unit,
                value: Estimate::of([value]),
                times: Estimate::of([value / base]),
                of_what: of_what.into(),
            });
        }
    }

    /// Prints the goals, draws, and writes the paper if `all` parts are known; of a quick run no paper.
    pub fn finish(&self, all: usize, thoroughness: Thoroughness) -> io::Result<()> {
        println!("\ngoals: median, and the interval that holds the true one in 95 of 100 runs");
        for goal in &self.goals {
            println!("  {goal}");
        }
        let directory = directory(thoroughness);
        plots::draw(self, &path(directory)).map_err(|error| io::Error::other(error.to_string()))?;
        println!("\n{directory}: {FILE} and pictures");
        if self.parts.len() == all && thoroughness.is_full() {
            fs::write(path(PAPER), paper::of(self))?;
            println!("{PAPER}");
        }
        Ok(())
    }

    /// Writes what there is by now as JSON.
    pub fn write(&self, thoroughness: Thoroughness) -> io::Result<()> {
        let directory = path(directory(thoroughness));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(FILE), serde_json::to_string_pretty(self)?)
    }
}

fn directory(thoroughness: Thoroughness) -> &'static str {
    if thoroughness.is_full() { DIRECTORY } else { QUICK }
}

fn path(inside: &str) -> PathBuf {
    Path::new(WORKSPACE).join(inside)
}

impl Goal {
    /// Met if the median is not less.
    pub fn at_least(part: &'static str, what: String, limit: f64, measured: Estimate) -> Self {
        Self {
            part: part.into(),
            what,
            limit: format!("≥ {limit:.2}"),
            measured,
            met: measured.median >= limit,
        }
    }

    /// Met if the median is not greater.
    pub fn at_most(part: &'static str, what: String, limit: f64, measured: Estimate) -> Self {
        Self {
            part: part.into(),
            what,
            limit: format!("≤ {limit:.2}"),
            measured,
            met: measured.median <= limit,
        }
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
