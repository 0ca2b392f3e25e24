//! Debian packages without installing any: lists and settings of our own, from the machine's own mirrors.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A part of Debian's archive: its directory on a mirror, and the suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suite(pub &'static str, pub &'static str);

/// An apt with a directory for itself; nothing of the machine's apt changes.
pub struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Reads the lists of these suites; `status` says what counts as installed.
    pub fn new(directory: PathBuf, suites: &[Suite], status: Status) -> Result<Self> {
        for path in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(path))?;
        }
        fs::write(directory.join("status"), "")?;
        fs::write(directory.join("sources.list"), sources(suites)?)?;
        fs::write(directory.join("apt.conf"), settings(&directory, status))?;
        let apt = Self { directory };
        apt.ask("apt-get", ["-qq", "update"])?;
        Ok(apt)
    }

    /// What a package depends on directly.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let only =
            ["recommends", "suggests", "breaks", "conflicts", "replaces"].map(|kind| format!("--no-{kind}"));
        let words = ["depends"].into_iter().map(str::to_owned).chain(only).chain([package.to_owned()]);
        let output = self.ask("apt-cache", words)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let names =
            text.lines().filter_map(|line| line.trim_start_matches([' ', '|']).strip_prefix("Depends: "));
        Ok(names.map(ToOwned::to_owned).collect())
    }

    /// Unpacks these packages below a directory.
    pub fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        let archives = self.directory.join("cache/archives");
        let words = ["-qq", "download"].into_iter().map(str::to_owned).chain(packages.iter().cloned());
        run(self.command("apt-get").current_dir(&archives).args(words))?;
        self.unpack_archives(root)
    }

    /// Unpacks a package and everything that the machine lacks for it below a directory.
    pub fn unpack_with_dependencies(&self, package: &str, release: &str, root: &Path) -> Result<()> {
        let options = ["-qq", "-y", "--no-install-recommends", "--download-only", "-t", release, "install"];
        self.ask("apt-get", options.into_iter().chain([package]))?;
        self.unpack_archives(root)
    }

    fn unpack_archives(&self, root: &Path) -> Result<()> {
        fs::create_dir_all(root)?;
        for entry in fs::read_dir(self.directory.join("cache/archives"))? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("deb")) {
                run(Command::new("dpkg-deb").arg("-x").args([path.as_path(), root]))?;
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn ask<S: AsRef<OsStr>>(&self, program: &str, words: impl IntoIterator<Item = S>) -> Result<Output> {
        run(self.command(program).args(words))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.directory.join("apt.conf")).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// What counts as installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Nothing: packages for another machine.
    Nothing,
    /// What is on this machine: packages that will run here.
    ThisMachine,
}

fn settings(directory: &Path, status: Status) -> String {
    let at = directory.display();
    let status = match status {
        Status::Nothing => format!("Dir::State \"{at}\"; Dir::State::status \"{at}/status\";\n"),
        Status::ThisMachine => String::new(),
    };
    format!(
        "{status}Dir::State::Lists \"{at}/lists\"; Dir::Cache \"{at}/cache\";\n\
         Dir::Etc::sourcelist \"{at}/sources.list\"; Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\"; Dir::Etc::preferences \"/dev/null\";\n\
         Acquire::Languages \"none\"; Acquire::Retries \"3\"; APT::Sandbox::User \"root\";\n\
         APT::Architecture \"amd64\"; APT::Architectures {{ \"amd64\"; }};\n"
    )
}

/// Lines of a sources list, with the mirrors that this machine uses itself.
fn sources(suites: &[Suite]) -> Result<String> {
    let output = run(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let mirrors = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |Suite(archive, suite): &Suite| {
        let ending = format!("/{archive}/");
        let mirror = mirrors.lines().find(|mirror| mirror.ends_with(&ending));
        let mirror = mirror.with_context(|| format!("this machine's apt knows no mirror of {archive}"))?;
        Ok(format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
    };
    suites.iter().map(line).collect()
}

/// Runs a command to its end; its complaints are the error.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("failed to run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// Refuses where there is no apt to ask.
pub fn require() -> Result<()> {
    let there = Command::new("apt-get").arg("--version").output().is_ok();
    ensure!(there, "kernels come as Debian packages: `vm` needs apt-get and dpkg-deb");
    Ok(())
}
