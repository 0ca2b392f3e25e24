//! The guide, as people read it: what is there, what would be dropped, and what to do.

use std::io::{self, Write};

use super::{
    Screen, Tint, count,
    table::{Column, write_table},
};
use crate::adopt::{Advice, Denied};

/// Rows told; JSON has all.
const TOLD: usize = 20;

const DENIED: &[Column<Denied>] = &[
    Column::text("FROM", |row, _| row.src.clone()),
    Column::text("TO", |row, _| row.dst.clone()),
    Column::text("SERVICE", |row, _| row.service.clone()),
    Column::number("CONVERSATIONS", |row, _| row.conversations.to_string()),
    Column::number("PKTS", |row, _| row.packets.to_string()),
    Column::text("REASON", |row, _| row.reason.clone()),
    Column::text("DRAFTED", |row, _| if row.drafted { "yes" } else { "no" }.to_owned()),
];

/// Writes the advice; the draft only where no file was written.
pub fn write_adopt(out: &mut impl Write, advice: &Advice, screen: &Screen) -> io::Result<()> {
    let policy = if advice.has_policy { "a policy decides" } else { "no policy yet" };
    let workloads = count(advice.attached.len(), "workload");
    writeln!(out, "{workloads} attached to, mode {}, {policy}", advice.mode.word())?;
    if !advice.denied.is_empty() {
        let would = if advice.mode == enforcer_common::mode::Mode::Enforce { "is" } else { "would be" };
        writeln!(out, "\nwhat {would} denied:")?;
        write_table(out, screen, DENIED, advice.denied.iter().take(TOLD))?;
        if let more @ 1.. = advice.denied.len().saturating_sub(TOLD) {
            writeln!(out, "and {more} more (`-o json` has all)")?;
        }
    }
    if let Some(draft) = &advice.draft {
        writeln!(out, "\na draft that lets it pass:\n")?;
        for line in draft.lines() {
            writeln!(out, "{}", format!("    {line}").trim_end())?;
        }
    }
    writeln!(out, "\nnext:")?;
    for step in &advice.next {
        writeln!(out, "- {}", step.why)?;
        if let Some(command) = &step.command {
            writeln!(out, "    {}", screen.paint(Tint::Good, command))?;
        }
    }
    Ok(())
}
