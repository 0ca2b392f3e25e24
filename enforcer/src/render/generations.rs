//! Generations, one in a row, newest first.

use std::io::{self, Write};

use super::{
    Screen, short_digest,
    table::{Column, wide, write_table},
    units::ago,
};
use crate::report::GenerationReport;

const COLUMNS: &[Column<GenerationReport>] = &[
    Column::number("GENERATION", |generation, _| generation.generation.to_string()),
    Column::text("STATE", |generation, _| state(generation)),
    Column::text("APPLIED", |generation, screen| ago(&generation.applied_at, screen.now)),
    wide(Column::text("AT", |generation, _| generation.applied_at.clone())),
    Column::number("NETWORKS", |generation, _| generation.networks.to_string()),
    Column::number("GROUPS", |generation, _| generation.groups.to_string()),
    Column::number("RULES", |generation, _| generation.rules.to_string()),
    Column::text("DIGEST", |generation, screen| {
        if screen.is_wide() { generation.digest.clone() } else { short_digest(&generation.digest) }
    }),
];

/// `unconfirmed,42s`: how long it has left.
fn state(generation: &GenerationReport) -> String {
    match generation.seconds_left {
        Some(seconds) => format!("{},{seconds}s", generation.state),
        None => generation.state.clone(),
    }
}

/// Writes a row for each generation.
pub fn write_generations(
    out: &mut impl Write,
    generations: &[GenerationReport],
    screen: &Screen,
) -> io::Result<()> {
    write_table(out, screen, COLUMNS, generations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    #[test]
    fn what_has_a_deadline_shows_it() {
        let generation = |generation, state: &str, seconds_left| GenerationReport {
            generation,
            state: state.to_owned(),
            applied_at: "2026-01-02T03:01:05Z".to_owned(),
            seconds_left,
            digest: "1a".repeat(32),
            networks: 3,
            groups: 1,
            rules: 12,
        };
        let generations = [generation(8, "unconfirmed", Some(42)), generation(7, "fallback", None)];
        let mut out = Vec::new();
        write_generations(&mut out, &generations, &samples::screen(Format::Table)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        GENERATION  STATE            APPLIED   NETWORKS  GROUPS  RULES  DIGEST
                 8  unconfirmed,42s  211d ago         3       1     12  1a1a1a1a1a1a…
                 7  fallback         211d ago         3       1     12  1a1a1a1a1a1a…
        ");
    }
}
