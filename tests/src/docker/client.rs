//! The command line `docker`, for one engine.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::command::{output_within, transcript};

/// The longest one command may take, on a machine that is busy.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// What asks an engine, by its socket.
#[derive(Debug, Clone)]
pub struct Client {
    directory: PathBuf,
}

impl Client {
    /// The engine that has this directory.
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// What the engine said so far, containerd's words among its own; without what its shims say of themselves.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        log.split_inclusive('\n').filter(|line| !line.contains("level=info")).collect()
    }

    /// Where it says it.
    pub(super) fn log_file(&self) -> PathBuf {
        self.directory.join("engine.log")
    }

    /// Runs a command and returns what it prints; panics with the engine's log when it fails.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        self.run_with_input(args, "")
    }

    /// The same for a command that reads.
    #[track_caller]
    pub fn run_with_input(&self, args: &[&str], input: &str) -> String {
        let output = output_within(&mut self.command(args), input, COMMAND_LIMIT);
        let output = output.expect("failed to start docker; is docker.io installed?");
        assert!(
            output.status.success(),
            "docker {}: {}\n---- log of the engine ----\n{}",
            args.join(" "),
            transcript(&output),
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs a command that may fail.
    pub fn try_run(&self, args: &[&str]) -> io::Result<Output> {
        output_within(&mut self.command(args), "", COMMAND_LIMIT)
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        // Nothing that the user has configured counts, contexts and plugins for example.
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command.env("DOCKER_CONFIG", &self.directory);
        command.args(args);
        command
    }
}
