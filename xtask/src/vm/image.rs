//! The guest's files: the programs under the paths that they have here, what they call, and the libraries of both.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use enforcer_guest::{PLAN, Plan};

use super::archive::Archive;
use super::modules::Module;
use super::programs::{Programs, stripped};
use crate::step;

/// What the tests and the daemon call. One that this machine lacks is missed by the test that wants it.
const TOOLS: [&str; 41] = [
    "ip",
    "tc",
    "bridge",
    "ping",
    "traceroute",
    "iperf3",
    "tcpdump",
    "nft",
    "bpftool",
    "sysctl",
    "ss",
    "ps",
    "setarch",
    "setpriv",
    "unshare",
    "nsenter",
    "mount",
    "umount",
    "capsh",
    "sh",
    "cat",
    "sleep",
    "ls",
    "true",
    "false",
    "echo",
    "env",
    "kill",
    "id",
    "date",
    "grep",
    "sed",
    "head",
    "tail",
    "mkdir",
    "rm",
    "cp",
    "chmod",
    "chown",
    "touch",
    "getent",
];
/// Directories of this project that tests read.
const DATA: [&str; 2] = ["packaging", "tests/prog_run/differential/found"];
/// Files of the machine that programs read.
const SETTINGS: [&str; 5] =
    ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/protocols", "/etc/iproute2/rt_protos"];
/// Where merged distributions keep everything.
const MERGED: [(&str, &str); 4] =
    [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")];

/// What goes into an image.
pub struct Image<'a> {
    /// The programs.
    pub programs: &'a Programs,
    /// The kernel's modules.
    pub modules: &'a [Module],
    /// What to do.
    pub plan: Plan,
}

impl Image<'_> {
    /// Writes the image.
    pub fn write(mut self, path: &Path, cache: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
        let mut files = Files { archive: Archive::new(BufWriter::new(file)), seen: BTreeSet::new() };
        for (link, target) in MERGED {
            files.archive.link(link, target)?;
        }
        // The first process cannot mount what has no place.
        for directory in ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/var/lib", "/var/run", "/etc"] {
            files.archive.directory(directory)?;
        }
        for program in self.programs.paths() {
            files.archive.file(&program.to_string_lossy(), &stripped(program, cache)?)?;
            files.libraries(program)?;
        }
        files.archive.file("/init", &stripped(self.programs.path("guest")?, cache)?)?;
        files.tools()?;
        files.data()?;
        self.plan.modules = files.modules(self.modules)?;
        files.archive.file(PLAN, &serde_json::to_vec(&self.plan)?)?;
        files.archive.finish()?;
        Ok(())
    }
}

struct Files<W> {
    archive: Archive<W>,
    seen: BTreeSet<PathBuf>,
}

impl<W: Write> Files<W> {
    fn tools(&mut self) -> Result<()> {
        for tool in TOOLS {
            let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|place| Path::new(place).join(tool));
            if let Some(path) = places.into_iter().find(|path| path.is_file()) {
                self.copy(&path)?;
                self.libraries(&path)?;
            }
        }
        Ok(())
    }

    fn data(&mut self) -> Result<()> {
        for directory in DATA.map(|name| step::workspace().join(name)) {
            let entries = fs::read_dir(directory).into_iter().flatten();
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
                self.copy(&path)?;
            }
        }
        SETTINGS.iter().map(Path::new).filter(|path| path.is_file()).try_for_each(|path| self.copy(path))
    }

    fn modules(&mut self, modules: &[Module]) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for module in modules {
            let path = format!("/vm/modules/{}", module.file);
            self.archive.file(&path, &module.bytes)?;
            paths.push(path.into());
        }
        Ok(paths)
    }

    /// A file under the name of its directory behind all links; what it is itself a link to is copied.
    fn copy(&mut self, path: &Path) -> Result<()> {
        let directory = path.parent().context("a file is in a directory")?.canonicalize()?;
        let place = directory.join(path.file_name().context("a file has a name")?);
        if self.seen.insert(place.clone()) {
            let content = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
            self.archive.file(&place.to_string_lossy(), &content)?;
        }
        Ok(())
    }

    /// The libraries of a program, as the loader finds them here.
    fn libraries(&mut self, program: &Path) -> Result<()> {
        let output = Command::new("ldd").arg(program).output().context("failed to run ldd")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = text.split_whitespace().map(Path::new).filter(|word| word.is_absolute());
        words
            .filter(|word| word.extension() != Some(OsStr::new(":")))
            .try_for_each(|library| self.copy(library))
    }
}
