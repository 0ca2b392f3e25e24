//! `nft`, the program: the one interface to netfilter's rules that every version of the kernel and of its
//! own knows.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

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
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NftError::Missing,
        _ => NftError::Run(error),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(NftError::Run)?;
    }
    let output = child.wait_with_output().map_err(NftError::Run)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(NftError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
