//! The kernels: Debian's cloud images, unpacked under `target/vm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use super::apt::{Apt, Status, Suite};

/// A series of kernels that somebody runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Series {
    /// The floor: Debian 11.
    V5_10,
    /// Debian 12, without tcx.
    V6_1,
    /// Debian 13.
    V6_12,
    /// The newest that Debian builds for its stable release.
    Newest,
}

impl Series {
    /// All of them, the oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::Newest];

    /// What people type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    const fn suite(self) -> Suite {
        match self {
            Self::V5_10 => Suite("debian-security", "bullseye-security"),
            Self::V6_1 => Suite("debian-security", "bookworm-security"),
            Self::V6_12 => Suite("debian", "trixie"),
            Self::Newest => Suite("debian", "trixie-backports"),
        }
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|series| series.name() == name)
            .ok_or_else(|| format!("known are {}", known()))
    }
}

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its release, as `uname -r` says it.
    pub release: String,
    directory: PathBuf,
}

impl Kernel {
    /// The kernel of a series; fetched when it is not there.
    pub fn fetch(series: Series, cache: &Path) -> Result<Self> {
        let directory = cache.join(series.name());
        // Written last: what was interrupted is fetched anew.
        let stamp = directory.join("release");
        if !stamp.exists() {
            fs::remove_dir_all(&directory).ok();
            let release = unpack(series, &directory)
                .with_context(|| format!("failed to fetch the kernel {}", series.name()))?;
            fs::write(&stamp, release)?;
        }
        let release = fs::read_to_string(&stamp)?;
        Ok(Self { release, directory })
    }

    /// What QEMU boots: beside the modules in newer packages, in `/boot` in older ones.
    pub fn image(&self) -> PathBuf {
        let beside = self.modules().join("vmlinuz");
        if beside.exists() {
            beside
        } else {
            self.directory.join("root/boot").join(format!("vmlinuz-{}", self.release))
        }
    }

    /// The directory of its modules.
    pub fn modules(&self) -> PathBuf {
        let places = ["root/usr/lib/modules", "root/lib/modules"];
        let found = places.map(|place| self.directory.join(place).join(&self.release));
        found.iter().find(|path| path.is_dir()).unwrap_or(&found[0]).clone()
    }
}

fn unpack(series: Series, directory: &Path) -> Result<String> {
    let private = directory.join("apt");
    let apt = Apt::new(private.clone(), &[series.suite()], Status::Nothing)?;
    let is_image = |name: &String| name.starts_with("linux-image-");
    let image = apt.dependencies("linux-image-cloud-amd64")?.into_iter().find(is_image);
    let image = image.context("linux-image-cloud-amd64 names no kernel")?;
    let mut packages = vec![image.clone()];
    // Newer images are empty, and depend on packages with the kernel and its modules.
    let parts = ["linux-binary-", "linux-modules-"];
    packages.extend(
        apt.dependencies(&image)?.into_iter().filter(|name| parts.iter().any(|part| name.starts_with(part))),
    );
    apt.unpack(&packages, &directory.join("root"))?;
    fs::remove_dir_all(private)?;
    let release = image.trim_start_matches("linux-image-").to_owned();
    let kernel = Kernel { release: release.clone(), directory: directory.to_owned() };
    ensure!(kernel.image().exists(), "{image} has no kernel where kernels are");
    Ok(release)
}
