//! `cargo xtask setup`: everything the build and the tests need beyond cargo, installed once.
//!
//! Debian's packages bring a compiler for the eBPF half and the tools the tests drive; two cargo tools go to `.tools`
//! in the workspace. rustup's toolchains are left alone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::{root, services, step};

/// What builds the eBPF half: rustc, clippy and core for its target, and what bpf-linker links against.
const EBPF_PACKAGES: [&str; 10] = [
    "rustc-web",
    "cargo-web",
    "rust-web-clippy",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "build-essential",
    "pkg-config",
];

/// What the tests, the demo and the benchmark call.
const TEST_PACKAGES: [&str; 19] = [
    "iproute2",
    "ethtool",
    "iputils-ping",
    "traceroute",
    "iperf3",
    "sockperf",
    "netsniff-ng",
    "xdp-tools",
    "tcpdump",
    "nftables",
    "ipset",
    "iptables",
    DOCKER,
    "busybox-static",
    "bpftool",
    "procps",
    "util-linux",
    "libcap2-bin",
    "systemd",
];

/// The only one of them that brings a service; the tests start an engine of their own.
const DOCKER: &str = "docker.io";

const BPF_LINKER_VERSION: &str = "0.13.0";
const NEXTEST_VERSION: &str = "0.9.143";
/// LLVM as `llvm-22-dev` installs it; bpf-linker must read what rustc-web's LLVM writes.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// For machines that are not Debian 12.
const ELSEWHERE: &str = "\
elsewhere than on Debian 12, install the counterparts of these packages, then:
  rustup component add rust-src
  cargo install bpf-linker@0.13 cargo-nextest
and pass --no-setup: cargo xtask --no-setup test";

/// What the machine lacks.
struct Missing {
    packages: Vec<&'static str>,
    bpf_linker: bool,
    nextest: bool,
}

/// Installs what is missing.
pub fn run() -> Result<()> {
    let started = Instant::now();
    let missing = Missing::find()?;
    if missing.is_empty() {
        eprintln!("setup: nothing missing ({})", step::seconds(started));
        return Ok(());
    }
    if !missing.packages.is_empty() {
        install_packages(&missing.packages)?;
    }
    if missing.bpf_linker {
        step::run(&format!("setup: bpf-linker {BPF_LINKER_VERSION}"), install_bpf_linker())?;
    }
    if missing.nextest {
        step::run(&format!("setup: cargo-nextest {NEXTEST_VERSION}"), install_nextest())?;
    }
    eprintln!("setup: complete ({})", step::seconds(started));
    Ok(())
}

/// Lists what is missing; success only if nothing is.
pub fn check() -> Result<ExitCode> {
    let missing = Missing::find()?;
    if missing.is_empty() {
        println!("nothing missing");
        return Ok(ExitCode::SUCCESS);
    }
    for package in &missing.packages {
        println!("missing: {package} (Debian package)");
    }
    if missing.bpf_linker {
        println!("missing: bpf-linker {BPF_LINKER_VERSION} (in .tools)");
    }
    if missing.nextest {
        println!("missing: cargo-nextest (in PATH or .tools)");
    }
    println!("to install: cargo xtask setup");
    Ok(ExitCode::FAILURE)
}

/// The cargo-nextest to use: the project's own, or the user's.
pub fn nextest() -> Option<PathBuf> {
    let own = step::tools().join("bin/cargo-nextest");
    if own.exists() { Some(own) } else { program("cargo-nextest") }
}

impl Missing {
    fn find() -> Result<Self> {
        Ok(Self {
            packages: missing_packages()?,
            bpf_linker: !has_bpf_linker(),
            nextest: nextest().is_none(),
        })
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.bpf_linker && !self.nextest
    }
}

/// Asks dpkg once for all packages: it lists those it knows, and complains about the others on stderr.
fn missing_packages() -> Result<Vec<&'static str>> {
    let wanted = || EBPF_PACKAGES.into_iter().chain(TEST_PACKAGES);
    if program("dpkg-query").is_none() || program("apt-get").is_none() {
        let names: Vec<_> = wanted().collect();
        bail!("this distribution has no apt: setup cannot install\n  {}\n{ELSEWHERE}", names.join(" "));
    }
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(wanted())
        .output()
        .context("failed to run dpkg-query")?;
    let known = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<_> = known.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(wanted().filter(|package| !installed.contains(package)).collect())
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if !root::is() {
        bail!(
            "installing packages needs root; type: {}\nmissing: {}",
            root::sudo("setup"),
            packages.join(" ")
        );
    }
    // A stale list of one foreign source is no reason to stop: the install tells whether the packages are there.
    if let Err(error) = step::run("setup: package lists", apt_get(&["update"])) {
        eprintln!("warning: {error:#}");
    }
    let title = format!("setup: {} Debian packages", packages.len());
    let mut install = apt_get(&["install", "--yes", "--no-install-recommends"]);
    install.args(packages);
    let brings_service = packages.contains(&DOCKER);
    let quiet = brings_service.then(services::stay_off).transpose()?;
    // anyhow prints context first; advice reads better after what went wrong.
    step::run(&title, install).map_err(|error| anyhow!("{error:#}\n{ELSEWHERE}"))?;
    drop(quiet);
    if brings_service { services::disable() } else { Ok(()) }
}

/// apt-get that asks no questions and waits for another apt-get to end.
fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["--option", "DPkg::Lock::Timeout=300"]).args(args);
    command
}

fn has_bpf_linker() -> bool {
    let output = Command::new(step::tools().join("bin/bpf-linker")).arg("--version").output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == BPF_LINKER_VERSION)
    })
}

fn install_bpf_linker() -> Command {
    let mut install = cargo_install();
    install.env("LLVM_SYS_221_PREFIX", LLVM_PREFIX).env("LLVM_PREFIX", LLVM_PREFIX);
    install.args(["bpf-linker", "--version", BPF_LINKER_VERSION]);
    // Only a linker that is absent, old or broken is installed: what lies there may be replaced.
    install.args(["--no-default-features", "--features", "llvm-22", "--force"]);
    install
}

fn install_nextest() -> Command {
    let mut install = cargo_install();
    install.args(["cargo-nextest", "--version", NEXTEST_VERSION]);
    install
}

fn cargo_install() -> Command {
    let mut install = step::cargo();
    install.args(["install", "--locked", "--root"]).arg(step::tools());
    install
}

/// A program's path, looked up as a shell does, and then where `cargo install` puts programs.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin"));
    env::split_paths(&path).chain(cargo_home).map(|dir| dir.join(name)).find(|file| file.is_file())
}
