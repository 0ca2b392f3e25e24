//! Control groups, by which everything that a container started is found and ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// Where they are: one hierarchy, or a directory for each of several.
const ROOT: &str = "/sys/fs/cgroup";

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills everything in the groups with this name, of every hierarchy, and removes them.
pub fn remove(name: &str) {
    for group in hierarchies().map(|hierarchy| hierarchy.join(name)).filter(|group| group.is_dir()) {
        let removed = wait::within(PATIENCE, || {
            kill_all(&group);
            remove_empty(&group).then_some(())
        });
        if removed.is_none() {
            eprintln!("failed to remove {}", group.display());
        }
    }
}

/// The names of all groups that are no part of another.
pub(crate) fn names() -> Vec<String> {
    let entries = hierarchies().filter_map(|hierarchy| fs::read_dir(hierarchy).ok()).flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let root = PathBuf::from(ROOT);
    let mut all = directories(&root);
    all.push(root);
    all.into_iter()
}

fn kill_all(group: &Path) {
    for below in directories(group) {
        kill_all(&below);
    }
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        // It may have ended by itself meanwhile.
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}

/// Whether it is gone: a group goes after those below it, and when its last process has ended.
fn remove_empty(group: &Path) -> bool {
    for below in directories(group) {
        remove_empty(&below);
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(of) else { return Vec::new() };
    let entries = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    entries.map(|entry| entry.path()).collect()
}
