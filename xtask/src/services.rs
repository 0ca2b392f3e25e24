//! Packages that bring services are installed without starting any: setup wants programs, not a daemon on this
//! machine.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Debian's packages ask this program whether they may start something.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The services of docker.io and of what it needs.
const SERVICES: [&str; 3] = ["docker.service", "docker.socket", "containerd.service"];

/// Nothing is started as long as this lives.
pub struct Quiet {
    /// Whether the answer is ours, and not that of whoever looks after this machine.
    is_ours: bool,
}

/// From now on no package starts a service; an answer that the machine gives already stays.
pub fn stay_off() -> Result<Quiet> {
    match File::create_new(POLICY) {
        Ok(file) => write(file).with_context(|| format!("failed to write {POLICY}"))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Quiet { is_ours: false }),
        Err(error) => return Err(error).with_context(|| format!("failed to create {POLICY}")),
    }
    Ok(Quiet { is_ours: true })
}

/// "No" for as long as this process lives. If it is killed, the next question removes the answer.
fn write(mut file: File) -> std::io::Result<()> {
    let own = std::process::id();
    write!(file, "#!/bin/sh\n[ -e /proc/{own} ] && exit 101\nrm -f {POLICY}\nexit 104\n")?;
    file.set_permissions(fs::Permissions::from_mode(0o755))
}

/// What was installed just now is not started at the next boot either.
pub fn disable() -> Result<()> {
    let mut disable = Command::new("systemctl");
    disable.arg("disable").args(SERVICES).stdout(Stdio::null()).stderr(Stdio::null());
    match disable.status() {
        // Some of them may not be there, and a machine without systemd starts nothing by it.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("failed to run systemctl"),
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.is_ours {
            // The script would remove itself.
            fs::remove_file(POLICY).ok();
        }
    }
}
