//! The part of `docs/kernels.md` that is made of the records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result};
use enforcer_guest::figure::Quantity;

use super::groups::GROUPS;
use super::kernel::Series;
use super::record::Record;

const BEGIN: &str = "<!-- results: begin -->\n";
const END: &str = "<!-- results: end -->";

/// The paper, with the part between its marks made anew.
pub fn renewed(paper: &str) -> Result<String> {
    let begin = paper.find(BEGIN).context("there is no mark where results begin")? + BEGIN.len();
    let end = paper.find(END).context("there is no mark where results end")?;
    let read = |series: Series| Record::read(series).map(|record| (series, record));
    let mut records = Series::ALL.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    records.retain(|(_, record)| !record.release.is_empty());
    Ok(format!("{}{}{}", &paper[..begin], results(&records), &paper[end..]))
}

fn results(records: &[(Series, Record)]) -> String {
    let mut text = String::from("\nWritten by `cargo xtask vm --bless` from `tests/records`.\n");
    let groups = GROUPS.map(|group| group.name.to_owned());
    let passed = |group: &String, record: &Record| record.passed.get(group).map(ToString::to_string);
    table(&mut text, "Tests that passed, whole", "group", records, &groups, passed);
    let features: BTreeSet<_> =
        records.iter().flat_map(|(_, record)| record.skipped.keys().cloned()).collect();
    let left_out =
        |feature: &String, record: &Record| record.skipped.get(feature).map(|tests| tests.len().to_string());
    table(&mut text, "Tests that left something out, for want of", "feature", records, &features, left_out);
    for quantity in Quantity::ALL {
        let title = match quantity {
            Quantity::Verified => "Instructions that the verifier walks",
            Quantity::Translated => "Bytes behind the verifier",
            Quantity::PerPacket => "Processor instructions per packet, all helpers and tables included",
        };
        let empty = BTreeMap::new();
        let figures = |record: &Record| record.figures.get(&quantity).unwrap_or(&empty).clone();
        let names: BTreeSet<_> = records.iter().flat_map(|(_, record)| figures(record).into_keys()).collect();
        let figure = |name: &String, record: &Record| figures(record).get(name).map(ToString::to_string);
        table(&mut text, title, "of", records, &names, figure);
    }
    text.push('\n');
    text
}

fn table<'a>(
    text: &mut String,
    title: &str,
    what: &str,
    records: &[(Series, Record)],
    rows: impl IntoIterator<Item = &'a String>,
    cell: impl Fn(&String, &Record) -> Option<String>,
) {
    let line = |first: &str, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
    let columns = records.iter().map(|(_, record)| version(&record.release).to_owned()).collect();
    write!(text, "\n### {title}\n\n{}|---|{}\n", line(what, columns), "--:|".repeat(records.len()))
        .expect("a string takes it");
    for row in rows {
        let cells = records.iter().map(|(_, record)| cell(row, record).unwrap_or_else(|| "–".to_owned()));
        *text += &line(row, cells.collect());
    }
}

/// A release without the name of its flavour.
fn version(release: &str) -> &str {
    release.strip_suffix("-cloud-amd64").unwrap_or(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_between_the_marks_is_made_anew() {
        let paper = format!("# Kernels\n{BEGIN}old\n{END}\nprose\n");
        let renewed = renewed(&paper).expect("it has both marks");
        assert!(
            renewed.starts_with(&format!("# Kernels\n{BEGIN}"))
                && renewed.ends_with(&format!("{END}\nprose\n"))
        );
        assert!(!renewed.contains("old"));
        assert!(super::renewed("no marks").is_err());
    }
}
