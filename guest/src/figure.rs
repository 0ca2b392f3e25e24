//! What tests measure that a record is kept of.

use serde::{Deserialize, Serialize};

/// How a line begins that has a figure.
const FIGURE: &str = "figure: ";

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Instructions that the verifier walked to be sure of a program.
    Verified,
    /// Bytes of a program behind the verifier, dead code removed.
    Translated,
    /// Nanoseconds that a packet takes; where the clock counts the processor's instructions, these.
    PerPacket,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Verified, Self::Translated, Self::PerPacket];
}

/// A figure of a test.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What was counted.
    pub quantity: Quantity,
    /// Of what.
    pub name: String,
    /// How many.
    pub value: u64,
}

impl Figure {
    /// Says it on a line of the standard output, where [`Figure::all_in`] finds it.
    pub fn say(&self) {
        let figure = serde_json::to_string(self).expect("it has only names and numbers");
        // The test harness may have begun the line.
        println!("\n{FIGURE}{figure}");
    }

    /// The figures in what a test printed.
    pub fn all_in(output: &str) -> impl Iterator<Item = Self> {
        output.lines().filter_map(|line| serde_json::from_str(line.strip_prefix(FIGURE)?).ok())
    }
}
