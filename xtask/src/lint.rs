//! `cargo xtask lint`: format and lints, for the workspace and for the eBPF half, which is a workspace of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{evidence, step, tidy};

/// The manifest of the eBPF half.
const EBPF: &str = "enforcer-ebpf/Cargo.toml";

/// Runs every check, also after one has failed, and names those that failed.
pub fn run() -> Result<()> {
    let checks = [
        ("format", format()),
        ("format of enforcer-ebpf", format_ebpf()),
        ("clippy", clippy()),
        ("clippy of enforcer-ebpf", clippy_ebpf()),
    ];
    let mut failed = Vec::new();
    for (title, check) in checks {
        if let Err(error) = step::show(title, check) {
            eprintln!("{error:#}");
            failed.push(title);
        }
    }
    if let Err(error) = tidy::check() {
        eprintln!("{error:#}");
        failed.push("tidy");
    }
    if let Err(error) = evidence::check() {
        eprintln!("{error:#}");
        failed.push("evidence");
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    Ok(())
}

fn format() -> Command {
    let mut fmt = step::cargo();
    fmt.args(["fmt", "--all", "--check"]);
    fmt
}

fn format_ebpf() -> Command {
    let mut fmt = step::cargo();
    fmt.args(["fmt", "--manifest-path", EBPF, "--check"]);
    fmt
}

fn clippy() -> Command {
    let mut clippy = step::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    clippy
}

/// Clippy for the kernel's target: Debian's where it is installed, with its ready-made core; else that of the
/// toolchain in use, which then compiles core from `rust-src`.
fn clippy_ebpf() -> Command {
    let debian = Path::new("/usr/bin/cargo-clippy");
    let core = Path::new("/usr/lib/rustlib/bpfel-unknown-none");
    let mut clippy;
    if debian.exists() && core.exists() {
        // Called directly: cargo would find rustup's clippy first, which does not fit Debian's rustc.
        clippy = Command::new(debian);
        clippy.current_dir(step::workspace());
        step::forget_this_package(&mut clippy);
        clippy.env("CARGO", "/usr/bin/cargo").env("RUSTC", "/usr/bin/rustc").arg("clippy");
    } else {
        clippy = step::cargo();
        clippy.args(["clippy", "-Zbuild-std=core"]);
    }
    // For `-Z`, and for aya-ebpf: assembly for this target is not stable.
    clippy.env("RUSTC_BOOTSTRAP", "1");
    clippy.args(["--target", "bpfel-unknown-none", "--manifest-path", EBPF]);
    clippy.args(["--target-dir", "enforcer-ebpf/target", "--", "-D", "warnings"]);
    clippy
}
