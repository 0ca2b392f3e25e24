//! Answers as people and scripts read them: aligned tables and prose, or JSON straight from the types.
//!
//! Every screen is a `write_…(&mut impl Write, …)`, so that tests see what users see. Tables are plain
//! columns without borders, one word per cell as far as it goes and `-` for nothing: `awk` reads them too.
//! Units are for people only; JSON has the raw numbers.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use clap::ValueEnum;
use serde::Serialize;

mod adopt;
mod applied;
mod drops;
mod endpoints;
mod explain;
mod flows;
mod generations;
mod modes;
mod networks;
mod plan;
mod replay;
mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod status;
mod table;
mod units;

pub use adopt::write_adopt;
pub use applied::{write_applied, write_confirmed, write_rolled_back};
pub use drops::write_drops;
pub use endpoints::write_endpoints;
pub use explain::write_explain;
pub use flows::write_flows;
pub use generations::write_generations;
pub use modes::{write_forgotten, write_modes};
pub use networks::write_networks;
pub use plan::{write_plan, write_warnings, write_world};
pub use replay::write_replay;
pub use rules::write_rules;
pub use status::write_status;
pub use units::{count, short_digest};

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// The same with more columns, and nothing shortened
    Wide,
    /// JSON, indented; a list is one array
    Json,
    /// JSON, one object per line
    Jsonl,
}

/// What a screen is drawn for.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// How to print.
    pub format: Format,
    /// Whether tables begin with the names of their columns.
    pub headers: bool,
    /// Whether the reader sees colours.
    pub colour: bool,
    /// What "ago" counts from.
    pub now: SystemTime,
}

/// A colour with a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tint {
    Good,
    Doubtful,
    Bad,
}

impl Screen {
    fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// `text` in a colour, where there are colours.
    fn paint(&self, tint: Tint, text: &str) -> String {
        let code = match tint {
            Tint::Good => 32,
            Tint::Doubtful => 33,
            Tint::Bad => 31,
        };
        if self.colour { format!("\x1b[1;{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Tint {
    /// The colour of a word, whatever column it stands in.
    fn of(word: &str) -> Option<Self> {
        match word {
            "pass" | "ready" => Some(Self::Good),
            "would-drop" => Some(Self::Doubtful),
            "drop" | "quarantined" => Some(Self::Bad),
            _ => None,
        }
    }
}

/// Writes one answer: as JSON, or as `people` like it.
pub fn write_one<W: Write>(
    out: &mut W,
    format: Format,
    answer: &impl Serialize,
    people: impl FnOnce(&mut W) -> io::Result<()>,
) -> io::Result<()> {
    match format {
        Format::Table | Format::Wide => people(out),
        Format::Json => write_json(out, answer),
        Format::Jsonl => write_json_line(out, answer),
    }
}

/// Writes a list of answers: as JSON, or as `people` like it.
pub fn write_list<W: Write>(
    out: &mut W,
    format: Format,
    answers: &[impl Serialize],
    people: impl FnOnce(&mut W) -> io::Result<()>,
) -> io::Result<()> {
    match format {
        Format::Table | Format::Wide => people(out),
        Format::Json => write_json(out, &answers),
        Format::Jsonl => answers.iter().try_for_each(|answer| write_json_line(out, answer)),
    }
}

fn write_json(out: &mut impl Write, answer: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, answer)?;
    writeln!(out)
}

fn write_json_line(out: &mut impl Write, answer: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_is_an_array_or_a_line_each() {
        let list = |format| text(|out| write_list(out, format, &[1, 2], |out| writeln!(out, "one, two")));
        assert_eq!(list(Format::Json), "[\n  1,\n  2\n]\n");
        assert_eq!(list(Format::Jsonl), "1\n2\n");
        assert_eq!(list(Format::Table), "one, two\n");
        assert_eq!(list(Format::Wide), "one, two\n");
    }

    #[test]
    fn one_answer_is_one_object() {
        let one = |format| text(|out| write_one(out, format, &[1, 2], |out| writeln!(out, "one, two")));
        assert_eq!(one(Format::Json), "[\n  1,\n  2\n]\n");
        assert_eq!(one(Format::Jsonl), "[1,2]\n");
        assert_eq!(one(Format::Table), "one, two\n");
    }

    #[test]
    fn a_closed_pipe_stays_recognisable() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(write_json(&mut Closed, &1).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
