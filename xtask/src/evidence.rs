//! Part of `cargo xtask lint`: what the papers promise is tested. A text search, so it says that a test is there and
//! not that it is good.

use std::fs;

use anyhow::{Context, Result, bail};
use enforcer_common::verdict::{DropReason, PassReason};

use crate::step;

const PACKETS: &str = "docs/packets.md";
/// Test programs that a row may cite, by the names of their directories.
const PROGRAMS: [&str; 2] = ["prog_run", "netns"];

/// Fails where a row of [`PACKETS`] cites no test, or any that is not there, or a reason has no test that names it.
pub fn check() -> Result<()> {
    let paper = fs::read_to_string(step::workspace().join(PACKETS))
        .with_context(|| format!("failed to read {PACKETS}"))?;
    let mut missing = untested_rows(&paper);
    missing.extend(untested_reasons(&sources()?));
    if !missing.is_empty() {
        bail!("without a test:\n  {}", missing.join("\n  "));
    }
    Ok(())
}

/// Rows whose last column does not name test functions that exist, with commas between them.
fn untested_rows(paper: &str) -> Vec<String> {
    let lines = paper.lines().enumerate().filter(|(_, line)| line.starts_with("| "));
    let rows = lines.filter(|(_, line)| !line.starts_with("| What it is"));
    rows.filter(|(_, row)| !row.split('|').rev().nth(1).is_some_and(|cell| cell.split(',').all(exists)))
        .map(|(number, row)| format!("{PACKETS}:{}: {row}", number + 1))
        .collect()
}

/// Whether a name such as `` `prog_run::module::function` `` is that of a function in `tests/prog_run/module.rs`.
fn exists(name: &str) -> bool {
    let path: Vec<&str> = name.trim().trim_matches('`').split("::").collect();
    let [program, modules @ .., function] = &path[..] else { return false };
    let file = step::workspace().join("tests").join(program).join(modules.join("/")).with_extension("rs");
    !modules.is_empty()
        && PROGRAMS.contains(program)
        && fs::read_to_string(file).is_ok_and(|source| source.contains(&format!("fn {function}(")))
}

/// Reasons whose variant stands in no test.
fn untested_reasons(sources: &str) -> Vec<String> {
    let words: Vec<&str> = sources.split(|c: char| !c.is_alphanumeric()).collect();
    let drops = DropReason::ALL.iter().map(|reason| format!("{reason:?}"));
    let passes = PassReason::ALL.iter().map(|reason| format!("{reason:?}"));
    drops.chain(passes).filter(|reason| !words.contains(&reason.as_str())).collect()
}

/// The tests that run single packets.
fn sources() -> Result<String> {
    let directory = step::workspace().join("tests/prog_run");
    let mut sources = String::new();
    for entry in fs::read_dir(directory).context("failed to list tests/prog_run")? {
        let path = entry?.path();
        if path.is_file() {
            sources +=
                &fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_every_reason_has_a_test() {
        check().unwrap();
    }

    #[test]
    fn what_has_no_test_is_found() {
        let paper = "| What it is | Test |\n|---|---|\n| a | `prog_run::parse::no_such_test` |\n| b | – |\n\
                     | c | `prog_run::parse::a_tagged_frame_is_out_of_bounds`, `netns::no_such::test` |\n";
        assert_eq!(untested_rows(paper).len(), 3);
        assert_eq!(untested_reasons("").len(), DropReason::ALL.len() + PassReason::ALL.len());
    }
}
