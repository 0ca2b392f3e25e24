//! The place of a daemon: one of each socket, and one of each pin directory. Nobody but root can take it, or keep it
//! from whoever should.

use std::{
    fs::{self, Permissions},
    io::{Seek, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};

/// Whoever can open a file can lock it.
const OURS_ALONE: u32 = 0o600;

/// The locks of a daemon, for who acts in its place.
pub struct Place(
    #[expect(dead_code, reason = "dropping it unlocks")] Lock,
    #[expect(dead_code, reason = "dropping it unlocks")] Option<Flock<fs::File>>,
);

impl Place {
    /// Takes both; pins that are not there cannot be locked.
    pub fn take(socket: &Path, bpffs: &Path) -> anyhow::Result<Self> {
        let lock = Lock::take(socket)?;
        Ok(Self(lock, bpffs.exists().then(|| lock_directory(bpffs)).transpose()?))
    }
}

/// Two daemons with different sockets could still share the pins.
pub fn lock_directory(path: &Path) -> anyhow::Result<Flock<fs::File>> {
    let directory = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| anyhow!("another enforcer holds the tables at {} ({errno})", path.display()))
}

/// Held by the one daemon of a socket.
pub struct Lock(#[expect(dead_code, reason = "dropping it unlocks")] Flock<fs::File>);

impl Lock {
    /// Where the lock of a socket is.
    pub fn path(socket: &Path) -> PathBuf {
        socket.with_extension("lock")
    }

    /// Takes it, unless another process has it.
    pub fn take(socket: &Path) -> anyhow::Result<Self> {
        let path = Self::path(socket);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(OURS_ALONE);
        let file = options.open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        // An earlier version let everybody read it.
        file.set_permissions(Permissions::from_mode(OURS_ALONE))
            .with_context(|| format!("cannot close {} to others", path.display()))?;
        let Ok(mut file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            bail!("another enforcer (process {}) serves {} already", pid.trim(), socket.display());
        };
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_open_the_lock_and_only_one_has_it() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("enforcer.sock");
        let path = Lock::path(&socket);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(Lock::take(&socket).unwrap());
        assert_eq!(mode(), OURS_ALONE);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _lock = Lock::take(&socket).unwrap();
        assert_eq!(mode(), OURS_ALONE, "an earlier version's");
        let refused = Lock::take(&socket).err().unwrap().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    }
}
