//! What each kernel is known to pass and to cost, in `tests/records`: written by `--bless`, and held against every run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};
use enforcer_guest::figure::{Figure, Quantity};
use serde::{Deserialize, Serialize};

use super::kernel::Series;
use crate::step;

const HEADER: &str = "# What `cargo xtask vm --bless` saw on this kernel.\n\n";

/// Figures by what was counted, and of what.
pub type Figures = BTreeMap<Quantity, BTreeMap<String, u64>>;

/// The record of one kernel.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The kernel's release.
    pub release: String,
    /// How many tests passed, by group.
    #[serde(default)]
    pub passed: BTreeMap<String, usize>,
    /// The tests that left something out, by what the kernel lacks.
    #[serde(default)]
    pub skipped: BTreeMap<String, Vec<String>>,
    /// What was measured.
    #[serde(default)]
    pub figures: Figures,
}

impl Record {
    /// The record of a series; an empty one when there is none yet.
    pub fn read(series: Series) -> Result<Self> {
        let path = path(series);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{} is no record", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// Writes it.
    pub fn write(&self, series: Series) -> Result<()> {
        let path = path(series);
        let text = format!("{HEADER}{}", toml::to_string(self)?);
        fs::create_dir_all(path.parent().context("records have a directory")?)?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }

    /// How `measured` differs from what is recorded by more than is allowed. Whoever ran `all` tests misses what was
    /// not measured.
    pub fn deviations(&self, measured: &Figures, all: bool) -> Vec<Deviation> {
        let found = measured.iter().flat_map(|(quantity, figures)| {
            figures.iter().map(|(name, now)| (*quantity, name, self.figure(*quantity, name), Some(*now)))
        });
        let lost = self.figures.iter().flat_map(|(quantity, figures)| {
            figures.iter().map(|(name, recorded)| (*quantity, name, Some(*recorded), None))
        });
        let lost = lost.filter(|(quantity, name, ..)| {
            all && measured.get(quantity).is_none_or(|figures| !figures.contains_key(*name))
        });
        found
            .chain(lost)
            .filter(|(quantity, _, recorded, now)| !is_allowed(*quantity, *recorded, *now))
            .map(|(quantity, name, recorded, now)| Deviation { quantity, name: name.clone(), recorded, now })
            .collect()
    }

    /// How what passed and what was left out falls short of what is recorded, when the same tests were to run. Tests
    /// that came since are no surprise.
    pub fn surprises(&self, seen: &Self) -> Vec<String> {
        let groups: BTreeSet<_> = self.passed.keys().chain(seen.passed.keys()).collect();
        let passed = groups.into_iter().filter_map(|group| {
            let [recorded, now] =
                [self, seen].map(|record| record.passed.get(group).copied().unwrap_or_default());
            (recorded > now)
                .then(|| format!("tests of {group} that passed: {recorded} in the record, now {now}"))
        });
        let features: BTreeSet<_> = self.skipped.keys().chain(seen.skipped.keys()).collect();
        let skipped = features.into_iter().filter_map(|feature| {
            let [recorded, now] = [self, seen].map(|record| names(record.skipped.get(feature)));
            (recorded != now)
                .then(|| format!("tests that want {feature}: in the record {recorded:?}, now {now:?}"))
        });
        passed.chain(skipped).collect()
    }

    /// The same with these figures in the place of what they were.
    pub fn with(mut self, measured: Figures) -> Self {
        for (quantity, figures) in measured {
            self.figures.entry(quantity).or_default().extend(figures);
        }
        self
    }

    fn figure(&self, quantity: Quantity, name: &str) -> Option<u64> {
        self.figures.get(&quantity)?.get(name).copied()
    }
}

fn names(tests: Option<&Vec<String>>) -> BTreeSet<&str> {
    tests.into_iter().flatten().map(String::as_str).collect()
}

fn path(series: Series) -> PathBuf {
    step::workspace().join("tests/records").join(format!("{}.toml", series.name()))
}

/// The figures that tests printed.
pub fn figures<'a>(outputs: impl Iterator<Item = &'a String>) -> Figures {
    let mut figures = Figures::new();
    for Figure { quantity, name, value } in outputs.flat_map(|output| Figure::all_in(output)) {
        figures.entry(quantity).or_default().insert(name, value);
    }
    figures
}

/// Percent that a figure may be off. Cheaper to verify is always fine; what a packet costs must be known exactly.
fn is_allowed(quantity: Quantity, recorded: Option<u64>, now: Option<u64>) -> bool {
    let (Some(recorded), Some(now)) = (recorded, now) else { return false };
    match quantity {
        Quantity::Verified | Quantity::Translated => now * 100 <= recorded * 110,
        Quantity::PerPacket => now.abs_diff(recorded) * 100 <= recorded * 2,
    }
}

/// A figure that is not the recorded one.
#[derive(Debug, PartialEq, Eq)]
pub struct Deviation {
    quantity: Quantity,
    name: String,
    recorded: Option<u64>,
    now: Option<u64>,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quantity, name, recorded, now } = self;
        let (what, allowed) = match quantity {
            Quantity::Verified => ("verified instructions", "+10 %"),
            Quantity::Translated => ("translated bytes", "+10 %"),
            Quantity::PerPacket => ("instructions per packet", "±2 %"),
        };
        write!(f, "{what} of {name}: ")?;
        match (recorded, now) {
            (Some(recorded), Some(now)) => {
                let percent = (*now as f64 / *recorded as f64 - 1.0) * 100.0;
                write!(f, "{recorded} in the record, now {now} ({percent:+.1} %, {allowed} is allowed)")
            }
            (None, Some(now)) => write!(f, "{now}, and not in the record; --bless writes it"),
            (Some(recorded), None) => write!(f, "{recorded} in the record, and now not measured"),
            (None, None) => write!(f, "neither measured nor recorded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures_of(quantity: Quantity, value: u64) -> Figures {
        [(quantity, [("hit".to_owned(), value)].into())].into()
    }

    fn told(quantity: Quantity, recorded: u64, now: u64) -> Vec<String> {
        let record = Record { figures: figures_of(quantity, recorded), ..Record::default() };
        let deviations = record.deviations(&figures_of(quantity, now), true);
        deviations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_verifier_may_take_a_tenth_more_and_any_less() {
        assert!(told(Quantity::Verified, 1000, 1100).is_empty());
        assert!(told(Quantity::Verified, 1000, 10).is_empty());
        assert_eq!(
            told(Quantity::Verified, 1000, 1101),
            ["verified instructions of hit: 1000 in the record, now 1101 (+10.1 %, +10 % is allowed)"]
        );
    }

    #[test]
    fn a_packet_may_cost_two_percent_more_or_less() {
        assert!(
            told(Quantity::PerPacket, 500, 510).is_empty() && told(Quantity::PerPacket, 500, 490).is_empty()
        );
        assert_eq!(told(Quantity::PerPacket, 500, 511).len(), 1);
        assert_eq!(told(Quantity::PerPacket, 500, 489).len(), 1);
    }

    #[test]
    fn what_is_new_or_lost_is_told() {
        let empty = Record::default();
        let now = figures_of(Quantity::PerPacket, 7);
        assert_eq!(
            empty.deviations(&now, true)[0].to_string(),
            "instructions per packet of hit: 7, and not in the record; --bless writes it"
        );
        let record = Record { figures: now, ..Record::default() };
        assert_eq!(
            record.deviations(&Figures::new(), true)[0].to_string(),
            "instructions per packet of hit: 7 in the record, and now not measured"
        );
        assert!(record.deviations(&Figures::new(), false).is_empty(), "only some tests ran");
    }

    #[test]
    fn a_test_that_vanishes_or_is_left_out_is_told() {
        let passed = |count| [("netns".to_owned(), count)].into();
        let record = Record { passed: passed(12), ..Record::default() };
        assert!(record.surprises(&record).is_empty());
        let skipped = [("tcx links".to_owned(), vec!["a::b".to_owned()])].into();
        let seen = Record { passed: passed(11), skipped, ..Record::default() };
        assert_eq!(
            record.surprises(&seen),
            [
                "tests of netns that passed: 12 in the record, now 11",
                "tests that want tcx links: in the record {}, now {\"a::b\"}"
            ]
        );
    }

    #[test]
    fn a_test_that_came_since_is_no_surprise() {
        let passed = |count| Record { passed: [("netns".to_owned(), count)].into(), ..Record::default() };
        assert!(passed(12).surprises(&passed(13)).is_empty());
    }

    #[test]
    fn a_part_that_is_blessed_leaves_the_rest() {
        let record = Record { figures: figures_of(Quantity::Verified, 9), ..Record::default() };
        let record = record.with([(Quantity::PerPacket, [("miss".to_owned(), 8)].into())].into());
        let record = record.with(figures_of(Quantity::Verified, 7));
        assert_eq!(record.figure(Quantity::Verified, "hit"), Some(7));
        assert_eq!(record.figure(Quantity::PerPacket, "miss"), Some(8));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            release: "6.1.0".to_owned(),
            passed: [("netns".to_owned(), 3)].into(),
            skipped: [("tcx links".to_owned(), vec!["a::b".to_owned()])].into(),
            figures: figures_of(Quantity::PerPacket, 5),
        };
        let text = toml::to_string(&record).expect("it can be written");
        assert_eq!(toml::from_str::<Record>(&text).expect("it can be read"), record);
    }
}
