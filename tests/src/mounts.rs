//! Mounts that only one test sees: of a disk that is full, of a file system that nobody may write.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

const NOTHING: Option<&str> = None;

/// Mounts that only some programs see, and a `/run` that is empty at first. They end with the value and the programs.
#[derive(Debug)]
pub struct Mounts {
    handle: File,
}

impl Mounts {
    /// What this process sees now, but for `/run`.
    #[track_caller]
    pub fn create() -> Self {
        let inside = thread::spawn(|| {
            keep_to_ourselves();
            mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), NOTHING).expect("failed to mount");
            File::open("/proc/thread-self/ns/mnt").expect("failed to open a namespace just created")
        });
        Self { handle: inside.join().expect("a thread made mounts of its own") }
    }

    /// Lets a command see them.
    pub fn see(&self, command: &mut Command) {
        let namespace = self.handle.try_clone().expect("failed to duplicate a namespace handle");
        // SAFETY: between fork and exec the closure makes one system call on a descriptor it owns; it neither
        // allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNS)?));
        }
    }
}

/// Gives the calling thread, and what it starts from now on, mounts of its own: they end with the last of them.
///
/// To be called before a [`Host`](crate::Host) is made.
#[track_caller]
pub fn keep_to_ourselves() {
    unshare(CloneFlags::CLONE_NEWNS).expect("failed to get mounts of our own");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NOTHING, "/", NOTHING, private, NOTHING).expect("failed to keep mounts to ourselves");
}

/// A file system with room for `bytes` on a directory.
#[track_caller]
pub fn small(directory: &Path, bytes: usize) {
    let size = format!("size={bytes}");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(&*size)).expect("failed to mount");
}

/// Takes away what is mounted on a directory.
#[track_caller]
pub fn remove(directory: &Path) {
    umount2(directory, MntFlags::MNT_DETACH).expect("failed to unmount");
}

/// Lets nobody write below a mount point any more.
#[track_caller]
pub fn forbid_writing(mount_point: &Path) {
    remount(mount_point, MsFlags::MS_RDONLY);
}

/// Lets everybody write there again.
#[track_caller]
pub fn allow_writing(mount_point: &Path) {
    remount(mount_point, MsFlags::empty());
}

#[track_caller]
fn remount(mount_point: &Path, flags: MsFlags) {
    // Of this mount alone, not of the file system behind it.
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(NOTHING, mount_point, NOTHING, flags, NOTHING).expect("failed to remount");
}
