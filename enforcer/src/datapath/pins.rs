//! Where the kernel's objects live while no process holds them: a directory on a bpf filesystem.
//!
//! ```text
//! DIR/maps-v4/NAME           one pin per table; the number is the ABI version of the layouts
//! DIR/links/IFINDEX-PROGRAM  one pin per attached program; an early guard's says its mode
//! DIR/qdiscs/IFINDEX         an empty directory: the clsact qdisc there was made by us
//! ```
//!
//! No name has a dot in it: a bpf filesystem refuses those.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use enforcer_common::ABI_VERSION;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{guard::Mode, load::FROM_UPLINK};

/// Where bpf filesystems are mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";

const QDISCS: &str = "qdiscs";

/// Why the pin directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Not on a bpf filesystem, and it was not ours to mount one.
    #[error("{path} is not on a bpf filesystem; mount one with `mount -t bpf bpf {path}`")]
    NotBpffs {
        /// The directory asked for.
        path: PathBuf,
    },
    /// Mounting the conventional one failed.
    #[error("failed to mount a bpf filesystem on {BPFFS}; try `mount -t bpf bpf {BPFFS}` as root")]
    Mount(#[source] nix::Error),
    /// A file operation failed.
    #[error("failed to {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The pin directory of one enforcer.
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Pins below `directory`; nothing is touched yet.
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the table `name` is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Where the tables of this ABI version are pinned.
    pub fn maps(&self) -> PathBuf {
        self.maps_of(ABI_VERSION)
    }

    /// Where the tables of an ABI version are pinned.
    pub fn maps_of(&self, version: u32) -> PathBuf {
        self.directory.join(format!("maps-v{version}"))
    }

    /// The ABI versions of which tables are pinned.
    pub fn versions(&self) -> Result<BTreeSet<u32>, PinError> {
        let names = list(&self.directory)?;
        Ok(names.iter().filter_map(|name| name.strip_prefix("maps-v")?.parse().ok()).collect())
    }

    /// Removes the pins of the tables of an ABI version. Programs that use them still do.
    pub fn remove_maps(&self, version: u32) -> Result<(), PinError> {
        self.remove_directory(&self.maps_of(version))
    }

    /// Removes a directory of pins.
    pub fn remove_directory(&self, path: &Path) -> Result<(), PinError> {
        remove_tree(path).map_err(|source| PinError::Io {
            operation: "remove",
            path: path.to_owned(),
            source,
        })
    }

    /// Where links are pinned.
    pub fn links(&self) -> PathBuf {
        self.directory.join("links")
    }

    /// Where the link of `program` on `ifindex` is pinned.
    pub fn link(&self, ifindex: u32, program: &str) -> PathBuf {
        self.links().join(format!("{ifindex}-{program}"))
    }

    /// Where the link of the early guard on `ifindex` is pinned: its mode is one for its life.
    pub fn guard(&self, ifindex: u32, mode: Mode) -> PathBuf {
        self.link(ifindex, mode.pin_name())
    }

    /// The interfaces with a pinned guard.
    pub fn list_guards(&self) -> Result<Vec<(u32, Mode)>, PinError> {
        let links = self.list_links()?.into_iter();
        Ok(links.filter_map(|(ifindex, name, _)| Some((ifindex, Mode::of_pin(&name)?))).collect())
    }

    /// The interfaces with a pinned link of an uplink's program.
    pub fn list_uplinks(&self) -> Result<Vec<u32>, PinError> {
        let links = self.list_links()?.into_iter();
        Ok(links.filter(|(_, program, _)| program == FROM_UPLINK).map(|(ifindex, ..)| ifindex).collect())
    }

    /// Remembers that we made the clsact qdisc of an interface. Without the mark the qdisc stays behind,
    /// which harms nobody.
    pub fn mark_qdisc(&self, ifindex: u32) {
        drop(fs::create_dir_all(self.qdisc_mark(ifindex)));
    }

    /// The interface is gone, and its index may be another's next.
    pub fn unmark_qdisc(&self, ifindex: u32) {
        drop(fs::remove_dir(self.qdisc_mark(ifindex)));
    }

    /// Whether we made it.
    pub fn has_qdisc_mark(&self, ifindex: u32) -> bool {
        self.qdisc_mark(ifindex).exists()
    }

    fn qdisc_mark(&self, ifindex: u32) -> PathBuf {
        self.directory.join(QDISCS).join(ifindex.to_string())
    }

    /// The pinned links: interface, program name, path.
    pub fn list_links(&self) -> Result<Vec<(u32, String, PathBuf)>, PinError> {
        let directory = self.links();
        let mut links = Vec::new();
        for name in list(&directory)? {
            if let Some((ifindex, program)) = name.split_once('-')
                && let Ok(ifindex) = ifindex.parse()
            {
                links.push((ifindex, program.to_owned(), directory.join(&name)));
            }
        }
        links.sort();
        Ok(links)
    }

    /// Creates the directory of the links, mounting the conventional bpf filesystem where it is missing.
    pub fn prepare(&self) -> Result<(), PinError> {
        self.ensure_bpffs()?;
        create(self.links())
    }

    /// Creates the directory of the tables; before, those of another version may be taken over.
    pub fn prepare_maps(&self) -> Result<(), PinError> {
        create(self.maps())
    }

    /// What lies in the directory that is ours.
    pub fn ours(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let is_ours = |name: &str| name == "links" || name == QDISCS || name.starts_with("maps-v");
        let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours));
        ours.map(|entry| entry.path()).collect()
    }

    /// Removes every pin of ours, and the directory if nothing else is in it. What is attached through
    /// links is detached by it.
    pub fn remove_all(&self) -> Result<(), PinError> {
        for path in self.ours() {
            remove_tree(&path).map_err(|source| PinError::Io { operation: "remove", path, source })?;
        }
        // It may be a mount point, or hold things of somebody else.
        drop(fs::remove_dir(&self.directory));
        Ok(())
    }

    fn ensure_bpffs(&self) -> Result<(), PinError> {
        let existing = self.directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if is_bpffs(existing) {
            return Ok(());
        }
        if !self.directory.starts_with(BPFFS) {
            return Err(PinError::NotBpffs { path: self.directory.clone() });
        }
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(PinError::Mount)
    }
}

/// What is ours is nobody else's to open: who can open a directory can lock it.
fn create(path: PathBuf) -> Result<(), PinError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    created.map_err(|source| PinError::Io { operation: "create", path, source })
}

/// The names in a directory; none if it does not exist.
fn list(directory: &Path) -> Result<Vec<String>, PinError> {
    let failed = |source| PinError::Io { operation: "list", path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(failed)
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_can_open_what_is_made() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::new(root.path().join("enforcer"));
        pins.prepare_maps().unwrap();
        for path in [pins.directory(), &pins.maps()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
        }
    }
}
