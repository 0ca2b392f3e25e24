//! Private directories for one daemon: configuration, state, socket, log, and a BPF file system of its own.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::leftovers::owned_name;

/// Name of the directory the BPF file system is mounted on.
const BPFFS: &str = "bpf";

/// A directory with everything a daemon writes; unmounted and removed when the value goes.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// Creates the directories and mounts a fresh BPF file system.
    #[track_caller]
    pub fn create() -> Self {
        let prefix = owned_name("daemon-");
        let directory = TempDir::with_prefix(prefix).expect("failed to create a scratch directory");
        let scratch = Self { directory };
        fs::create_dir(scratch.state()).expect("failed to create the state directory");
        fs::create_dir(scratch.bpffs()).expect("failed to create a mount point");
        mount(Some("bpf"), &scratch.bpffs(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .expect("failed to mount a BPF file system");
        scratch
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The private BPF file system.
    pub fn bpffs(&self) -> PathBuf {
        self.directory.path().join(BPFFS)
    }

    /// What the daemon remembers over restarts.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The daemon's control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("enforcer.sock")
    }

    /// The host file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("enforcer.toml")
    }

    /// What the daemon says on its standard output and error.
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("daemon.log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(self.directory.path());
    }
}

/// Unmounts the BPF file system in a scratch directory, if there is one, and removes the directory.
pub fn remove(directory: &Path) {
    // A sweep also meets directories in which nothing is mounted.
    umount2(&directory.join(BPFFS), MntFlags::MNT_DETACH).ok();
    if let Err(error) = fs::remove_dir_all(directory) {
        eprintln!("failed to remove {}: {error}", directory.display());
    }
}
