//! Project chores: `cargo xtask <chore>`, one file per chore.
//!
//! Every chore first runs `setup`, so a fresh clone needs nothing but cargo.
#![forbid(unsafe_code)]

mod bench;
mod demo;
mod evidence;
mod lint;
mod mutant;
mod mutants;
mod mutate;
mod programs;
mod remedy;
mod root;
mod scratch;
mod services;
mod setup;
mod soak;
mod step;
mod test;
mod tidy;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Project chores of enforcer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Trust that everything needed is installed (distributions without apt, own toolchains).
    #[arg(long)]
    no_setup: bool,
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the build and the tests need and the machine lacks.
    Setup {
        /// Install nothing; list what is missing and exit 1.
        #[arg(long)]
        check: bool,
    },
    /// Run the tests of all crates with cargo-nextest, as root.
    Test {
        /// Run only tests whose name contains one of these.
        filters: Vec<OsString>,
        /// Further arguments for `cargo nextest run`.
        #[arg(last = true)]
        nextest: Vec<OsString>,
    },
    /// Build the demo and run it, as root.
    #[command(disable_help_flag = true)]
    Demo {
        /// Arguments for the demo.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build the benchmark for release and run it, as root.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments for the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Compare the programs with the reference evaluator, over ever other scenes, or count lost packets; as root.
    Soak(soak::Soak),
    /// Break decisions on purpose, in a scratch copy, and show which tests notice; as root.
    Mutate {
        /// Only the mutants whose name contains one of these.
        filters: Vec<String>,
    },
    /// Run the tests on other kernels, in virtual machines.
    Vm(vm::Vm),
    /// Check format and lints of all crates, the eBPF half included.
    Lint,
    /// Write the papers that are made from the source.
    Tidy,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let prepare = || if cli.no_setup { Ok(()) } else { setup::run() };
    match cli.chore {
        Chore::Setup { check: true } => return setup::check(),
        Chore::Setup { check: false } => setup::run()?,
        Chore::Tidy => tidy::run()?,
        Chore::Lint => {
            prepare()?;
            lint::run()?;
        }
        Chore::Test { filters, nextest } => {
            root::require("test")?;
            prepare()?;
            match test::run(&filters, &nextest)? {}
        }
        Chore::Demo { args } => {
            root::require("demo")?;
            prepare()?;
            match demo::run(&args)? {}
        }
        Chore::Bench { args } => {
            root::require("bench")?;
            prepare()?;
            match bench::run(&args)? {}
        }
        Chore::Soak(soak) => {
            root::require("soak")?;
            prepare()?;
            soak::run(soak)?;
        }
        Chore::Vm(vm) => {
            prepare()?;
            return vm::run(&vm);
        }
        Chore::Mutate { filters } => {
            root::require("mutate")?;
            prepare()?;
            mutate::run(&filters)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
