//! Who runs the chore: network namespaces, eBPF and apt want root.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, bail};

/// Whether the effective user is root: the kernel gives a process's entry in `/proc` to that user.
pub fn is() -> bool {
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Refuses to go on as another user, and says what to type instead.
pub fn require(chore: &str) -> Result<()> {
    if !is() {
        bail!("`{chore}` needs root; type: {}", sudo(chore));
    }
    Ok(())
}

/// The command that runs a chore as root with the caller's cargo.
pub fn sudo(chore: &str) -> String {
    format!("sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {chore}")
}
