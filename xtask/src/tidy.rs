//! `cargo xtask tidy`: papers that are made from the source, so that they cannot disagree with it.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail};
use enforcer_common::verdict::{Category, DropReason, PassReason};

use crate::remedy;
use crate::step;
use crate::vm::document;

/// The papers, and what makes them from what they are.
const PAPERS: [(&str, Make); 2] =
    [("docs/drop-reasons.md", |_| Ok(drop_reasons())), ("docs/kernels.md", document::renewed)];

type Make = fn(&str) -> Result<String>;

/// Writes them anew.
pub fn run() -> Result<()> {
    for (name, make) in PAPERS {
        fs::write(step::workspace().join(name), renewed(name, make)?.1)
            .with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

/// Fails where one is out of date.
pub fn check() -> Result<()> {
    for (name, make) in PAPERS {
        let (found, due) = renewed(name, make)?;
        if found != due {
            bail!("{name} is out of date; type: cargo xtask tidy");
        }
    }
    Ok(())
}

/// A paper as it is, and as it should be.
fn renewed(name: &str, make: Make) -> Result<(String, String)> {
    let found =
        fs::read_to_string(step::workspace().join(name)).with_context(|| format!("failed to read {name}"))?;
    let due = make(&found).with_context(|| format!("failed to make {name}"))?;
    Ok((found, due))
}

fn drop_reasons() -> String {
    let mut text = String::from(
        "# Reasons\n\nMade by `cargo xtask tidy` from `enforcer-common/src/verdict.rs` and `xtask/src/remedy.rs`. Numbers and \
         names are\nappend-only and never used again. `enforcer drops` counts packets by these reasons; the sum over the \
         reasons of drops is\nthe number of dropped packets. What a mode lets go on is counted apart, \
         by the reason that it would have been dropped\nfor: in `observe` mode every packet, in `audit` mode those that \
         the policy alone drops (but not `quarantined`\nand `no-endpoint`).\n",
    );
    for (category, title) in [
        (Category::Integrity, "Integrity: the packet is not what it claims to be, or cannot be read"),
        (Category::Policy, "Policy: the policy says no"),
        (Category::Resource, "Resource: the kernel could not do what was needed to decide"),
    ] {
        let reasons = DropReason::ALL.iter().filter(|reason| reason.category() == category);
        let rows = reasons.map(|reason| {
            [
                (*reason as u8).to_string(),
                slug(reason.slug()),
                reason.caption().into(),
                remedy::of(*reason).into(),
            ]
        });
        table(&mut text, &format!("Drops. {title}"), ["Number", "Reason", "Meaning", "What to do"], rows);
    }
    let rows = PassReason::ALL
        .iter()
        .map(|reason| [(*reason as u8).to_string(), slug(reason.slug()), reason.caption().into()]);
    table(&mut text, "Passes", ["Number", "Reason", "Meaning"], rows);
    text
}

fn slug(slug: &str) -> String {
    format!("`{slug}`")
}

fn table<const N: usize>(
    text: &mut String,
    title: &str,
    columns: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let head = columns.join(" | ");
    write!(text, "\n## {title}\n\n| {head} |\n|{}\n", "---|".repeat(N)).expect("a string takes it");
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("a string takes it");
    }
}
