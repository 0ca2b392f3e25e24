//! `nft`, the program: the one interface to netfilter's rules that every version of the kernel and of its
//! own knows.

use std::{
    io::{self, Write},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The longest that one call may take: the daemon waits for it, and systemd for the daemon.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why `nft` did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error("there is no `nft`; install the package nftables")]
    Missing,
    /// It could not be run.
    #[error("failed to run nft")]
    Run(#[source] io::Error),
    /// It, or the kernel, refused.
    #[error("nft refuses: {0}")]
    Refused(String),
    /// It did not come to an end, and was killed.
    #[error("nft does not come to an end")]
    Endless,
}

/// Hands a script over: all of it takes effect in one transaction, or nothing.
pub fn commit(script: &str) -> Result<(), NftError> {
    run(&["-f", "-"], script).map(drop)
}

/// Whether there is a table.
pub fn has_table(family: &str, name: &str) -> Result<bool, NftError> {
    let tables = run(&["list", "tables", family], "")?;
    Ok(tables.lines().any(|line| line == format!("table {family} {name}")))
}

/// A table as nft writes it, without what its counters count.
pub fn list_table(family: &str, name: &str) -> Result<String, NftError> {
    run(&["--stateless", "list", "table", family, name], "")
}

fn run(arguments: &[&str], input: &str) -> Result<String, NftError> {
    let output = bounded(Command::new("nft").args(arguments), input, PATIENCE)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(NftError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// Runs a program that may take only so long.
fn bounded(command: &mut Command, input: &str, patience: Duration) -> Result<Output, NftError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NftError::Missing,
        _ => NftError::Run(error),
    })?;
    let (pid, input) = (Pid::from_raw(child.id().cast_signed()), input.to_owned());
    let (done, outcome) = mpsc::channel();
    // Whoever waited may have given up.
    let talk = move || done.send(talk(child, &input)).unwrap_or_default();
    thread::Builder::new().spawn(talk).map_err(NftError::Run)?;
    if let Ok(outcome) = outcome.recv_timeout(patience) {
        return outcome.map_err(NftError::Run);
    }
    // Not reaped yet, or it would have been heard of.
    let _ = kill(pid, Signal::SIGKILL);
    Err(NftError::Endless)
}

fn talk(mut child: Child, input: &str) -> io::Result<Output> {
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_program_is_told_and_heard_or_ended() {
        let patience = Duration::from_millis(200);
        let output = bounded(&mut Command::new("cat"), "table inet enforcer", PATIENCE).unwrap();
        assert_eq!(output.stdout, b"table inet enforcer");
        let begun = Instant::now();
        let endless = bounded(Command::new("sleep").arg("60"), "", patience);
        assert!(matches!(endless, Err(NftError::Endless)), "{endless:?}");
        assert!(begun.elapsed() < PATIENCE);
        let missing = bounded(&mut Command::new("/nowhere/nft"), "", patience);
        assert!(matches!(missing, Err(NftError::Missing)), "{missing:?}");
    }
}
