//! How a demo shows what it does: steps in time, matrices, what the enforcer says, and the tally at the end.

use std::io::{IsTerminal, stdout};
use std::time::Instant;

use anyhow::{Result, ensure};
use enforcer_tests::Daemon;
use enforcer_tests::command::transcript;
use enforcer_tests::matrix::{self, Matrix};

use crate::interrupt;

/// What the demo is judged by.
pub struct Tally {
    /// Probes that went as the policy says.
    pub as_expected: usize,
    /// All that were asked.
    pub probes: usize,
}

impl Tally {
    /// Of all that was asked.
    pub fn of<'m>(matrices: impl IntoIterator<Item = &'m Matrix>) -> Self {
        let nothing = Self { as_expected: 0, probes: 0 };
        matrices.into_iter().fold(nothing, |sum, matrix| Self {
            as_expected: sum.as_expected + matrix.as_expected(),
            probes: sum.probes + matrix.probes(),
        })
    }
}

/// The course of the demo in time.
pub struct Steps {
    /// When it began.
    pub begin: Instant,
}

impl Steps {
    /// Begins a step, unless somebody wants the demo to end.
    pub fn step(&self, what: &str) -> Result<()> {
        interrupt::check()?;
        self.say(what);
        Ok(())
    }

    /// Prints a line with the time since the beginning.
    pub fn say(&self, what: &str) {
        println!("[{:5.2}s] {what}", self.begin.elapsed().as_secs_f32());
    }
}

/// Insists on it, as long as there is no enforcer.
pub fn everybody_answered(before: &[Matrix]) -> Result<()> {
    let (answered, probes) = (before.iter().map(Matrix::answered).sum::<usize>(), Tally::of(before).probes);
    ensure!(answered == probes, "no enforcer yet, but only {answered} of {probes} probes answered");
    println!("         yes: {answered} of {probes} probes answered");
    Ok(())
}

/// The matrices and what their letters mean.
pub fn print_matrices(matrices: &[Matrix]) {
    let is_coloured = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    println!("{}", matrix::legend());
    for matrix in matrices {
        println!("\n{}", matrix.shown(is_coloured).trim_end());
    }
    println!();
}

/// Runs a command, prints it and what it says, and insists on its exit status.
pub fn print_answer(daemon: &Daemon, args: &[&str], status: i32) -> Result<()> {
    interrupt::check()?;
    let output = daemon.cli(args);
    let line = format!("enforcer {}", args.join(" "));
    ensure!(output.status.code() == Some(status), "{line}: {}", transcript(&output));
    println!("\n$ {line}\n{}", String::from_utf8_lossy(&output.stdout).trim_end());
    Ok(())
}

/// A text, moved to the right of the time.
pub fn indented(text: &str) -> String {
    text.lines().map(|line| format!("         {line}").trim_end().to_owned() + "\n").collect()
}
