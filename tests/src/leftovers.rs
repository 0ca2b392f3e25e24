//! Removal of what a killed test process could not remove itself.
//!
//! Namespaces and directories of the lab are named `enf-<pid>-<name>` after the process that owns them, so whatever
//! bears the number of a process that is gone belongs to nobody.

use std::fs;
use std::path::Path;
use std::sync::Once;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{cgroup, netns, scratch};

/// Prefix of all names of the lab.
const PREFIX: &str = "enf-";

/// The full name of something this process owns.
pub fn owned_name(name: &str) -> String {
    format!("{PREFIX}{}-{name}", std::process::id())
}

/// Removes the namespaces and directories of dead processes, once per process.
pub fn sweep_once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep_dead);
}

/// Removes the namespaces and directories of dead processes.
pub fn sweep_dead() {
    sweep(|owner| !Path::new("/proc").join(owner.to_string()).exists());
}

/// Removes everything this process owns at once, for a process that will not return from `main`.
pub fn sweep_own() {
    let own = std::process::id();
    sweep(|owner| owner == own);
}

/// Removes the namespaces and directories of every owner that `is_swept`.
fn sweep(is_swept: impl Fn(u32) -> bool) {
    // Namespaces and groups first: this ends the processes that still use the directories.
    for name in names_in(Path::new(netns::DIRECTORY)) {
        if owner_of(&name).is_some_and(&is_swept) {
            netns::remove(&name);
        }
    }
    for name in cgroup::names() {
        if owner_of(&name).is_some_and(&is_swept) {
            cgroup::remove(&name);
        }
    }
    for name in names_in(&std::env::temp_dir()) {
        if owner_of(&name).is_some_and(&is_swept) {
            scratch::remove(&std::env::temp_dir().join(name));
        }
    }
}

/// The names in a directory; none when there is no such directory.
fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The process a name belongs to; `None` for a name that is not the lab's.
fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Kills every process whose network namespace is the one with this inode, except our own; returns how many there were.
pub fn kill_processes_in(inode: u64) -> usize {
    let link = format!("net:[{inode}]");
    let mut killed = 0;
    for name in names_in(Path::new("/proc")) {
        let Ok(pid) = name.parse::<u32>() else { continue };
        let here = fs::read_link(format!("/proc/{pid}/ns/net"));
        if pid != std::process::id() && here.is_ok_and(|namespace| namespace.as_os_str() == link.as_str()) {
            // It may have ended by itself meanwhile.
            kill(Pid::from_raw(pid as i32), Signal::SIGKILL).ok();
            killed += 1;
        }
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_lab_have_an_owner() {
        assert_eq!(owner_of(&owned_name("web")), Some(std::process::id()));
        assert_eq!(owner_of("enf-17-lab-web"), Some(17));
        for foreign in ["enf-", "enf-17", "enf-x-web", "web", "17-web", "enforcer-17-web"] {
            assert_eq!(owner_of(foreign), None, "{foreign}");
        }
    }
}
