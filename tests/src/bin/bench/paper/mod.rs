//! `docs/benchmarks.md`: what a whole run found, for readers.

mod preface;

use std::fmt::Write as _;

use crate::results::{Results, Row};
use crate::statistics::Estimate;
use preface::PREFACE;

/// The paper.
pub fn of(results: &Results) -> String {
    let mut text = format!("{PREFACE}\nKernel {}, {}.\n", results.kernel, results.processor);
    goals(&mut text, results);
    let mut rest = &results.rows[..];
    while let Some(first) = rest.first() {
        let (table, others) = rest
            .split_at(rest.iter().take_while(|row| (&row.part, &row.of) == (&first.part, &first.of)).count());
        rows(&mut text, table);
        rest = others;
    }
    text
}

fn goals(text: &mut String, results: &Results) {
    *text += "\n## Goals\n\n| what | goal | measured | |\n|---|--:|--:|---|\n";
    for goal in &results.goals {
        let met = if goal.met { "met" } else { "**missed**" };
        line(text, format_args!("| {} | {} | {} | {met} |", goal.what, goal.limit, ratio(goal.measured)));
    }
}

fn rows(text: &mut String, rows: &[Row]) {
    let Some(Row { part, of, unit, of_what, .. }) = rows.first() else { return };
    line(text, format_args!("\n## {part}: {of}\n\n| | {} | of {of_what} |\n|---|--:|--:|", unit.symbol()));
    for row in rows {
        let digits = row.unit.digits();
        let value = row.value.median;
        line(text, format_args!("| {} | {value:.digits$} | {} |", row.what, ratio(row.times)));
    }
}

/// One reading, or a quantile of many, has no interval.
fn ratio(Estimate { median, low, high }: Estimate) -> String {
    if low < high { format!("{median:.2} ({low:.2}–{high:.2})") } else { format!("{median:.2}") }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all that is written");
}
