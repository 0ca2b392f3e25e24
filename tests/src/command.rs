//! Running a command to its end, with input, output and a time limit.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// Runs `command` with `input` as its standard input and returns what it printed.
///
/// A command that is still running after `limit` is killed; its output then tells so by its exit status.
pub fn output_within(command: &mut Command, input: &str, limit: Duration) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A Ctrl-C at the terminal is for the one who drives the lab.
    let mut child = command.process_group(0).spawn()?;
    feed(&mut child, input);
    let pid = Pid::from_raw(child.id() as i32);
    let (ended, wait_for_end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if wait_for_end.recv_timeout(wait::scaled(limit)) == Err(RecvTimeoutError::Timeout) {
                // It may have ended just now; then there is nothing to kill.
                kill(pid, Signal::SIGKILL).ok();
            }
        });
        let output = child.wait_with_output();
        drop(ended);
        output
    })
}

/// Writes `input` and closes the pipe. A command that does not read its input is not an error.
fn feed(child: &mut Child, input: &str) {
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).ok();
    }
}

/// What a command complained of.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Both streams of an output, for a message about what went wrong.
pub fn transcript(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{}\n{stdout}{stderr}", output.status)
}
