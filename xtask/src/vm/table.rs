//! What came of it: a row per kernel, a column per group of tests.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use enforcer_guest::Outcome;

use super::groups::GROUPS;
use super::kernel::Series;
use super::machine::{Course, End};
use super::record::{self, Record};
use super::rounded;

/// How many of some tests ended how.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Count {
    passed: usize,
    skipped: usize,
    failed: usize,
}

impl Count {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Option<Outcome>>) -> Self {
        outcomes.fold(Self::default(), |count, outcome| match outcome {
            Some(Outcome::Passed) => Self { passed: count.passed + 1, ..count },
            Some(Outcome::Skipped(_)) => Self { skipped: count.skipped + 1, ..count },
            // What did not end has failed, too.
            Some(Outcome::Failed | Outcome::TimedOut) | None => Self { failed: count.failed + 1, ..count },
        })
    }

    fn cell(self) -> String {
        let Self { passed, skipped, failed } = self;
        match (passed, skipped, failed) {
            (0, 0, 0) => "-".to_owned(),
            (_, 0, 0) => format!("{passed}"),
            (_, _, 0) => format!("{passed}, {skipped} skipped"),
            (_, 0, _) => format!("{passed}, {failed} FAILED"),
            _ => format!("{passed}, {skipped} skipped, {failed} FAILED"),
        }
    }
}

/// The table.
pub fn render(courses: &[(Series, Course)]) -> String {
    let mut rows = vec![
        ["kernel".to_owned()]
            .into_iter()
            .chain(GROUPS.map(|group| group.name.to_owned()))
            .chain(["time".to_owned()])
            .collect::<Vec<_>>(),
    ];
    for (series, course) in courses {
        let release = if course.release.is_empty() { series.name() } else { &course.release };
        let cells = GROUPS.map(|group| Count::of(outcomes(course, group.name)).cell());
        rows.push([release.to_owned()].into_iter().chain(cells).chain([rounded(course.took)]).collect());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("a string takes it");
    }
    text
}

/// What to remember of a kernel on which everything passed that could.
pub fn record(course: &Course) -> Record {
    let mut record = Record {
        release: course.release.clone(),
        figures: record::figures(course.outputs.iter()),
        ..Record::default()
    };
    for (test, outcome) in course.tests.iter().zip(&course.outcomes) {
        if let Some(Outcome::Skipped(lacks)) = outcome {
            for feature in lacks.iter().collect::<BTreeSet<_>>() {
                let tests = record.skipped.entry(feature.clone()).or_default();
                if !tests.contains(&test.name) {
                    tests.push(test.name.clone());
                }
            }
        } else {
            *record.passed.entry(test.group.clone()).or_default() += 1;
        }
    }
    record
}

/// The closing line.
pub fn summary(courses: &[(Series, Course)]) -> String {
    let count = Count::of(courses.iter().flat_map(|(_, course)| &course.outcomes));
    let kernels = courses.len();
    let kernels = if kernels == 1 { "1 kernel".to_owned() } else { format!("{kernels} kernels") };
    let broken = courses.iter().filter(|(_, course)| !is_whole(course)).count();
    let broken = if broken == 0 { String::new() } else { format!(", {broken} machines broke off") };
    format!(
        "vm: {} passed, {} failed, {} skipped on {kernels}{broken}",
        count.passed, count.failed, count.skipped
    )
}

/// Whether everything passed that could.
pub fn is_good(course: &Course) -> bool {
    is_whole(course) && Count::of(course.outcomes.iter()).failed == 0
}

fn is_whole(course: &Course) -> bool {
    course.end == End::Done
}

fn outcomes<'a>(course: &'a Course, group: &'a str) -> impl Iterator<Item = &'a Option<Outcome>> {
    let all = course.tests.iter().zip(&course.outcomes);
    all.filter(move |(test, _)| test.group == group).map(|(_, outcome)| outcome)
}
