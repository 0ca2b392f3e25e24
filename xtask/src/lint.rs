//! `cargo xtask lint`: format and lints, for the workspace and for the eBPF half, which is a workspace of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step;

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

/// Clippy as the kernel's target sees the code, where the toolchain for that target brings a clippy; else as this
/// machine's own target sees it. `RUSTC_BOOTSTRAP` is for aya-ebpf, which has assembly for a target that is not stable.
fn clippy_ebpf() -> Command {
    let debian = Path::new("/usr/bin/cargo-clippy");
    let libraries = Path::new("/usr/lib/rustlib/bpfel-unknown-none");
    let mut clippy;
    if debian.exists() && libraries.exists() {
        // Called directly: cargo would pick a rustup clippy first, which does not fit this rustc.
        clippy = Command::new(debian);
        clippy.current_dir(step::workspace());
        step::forget_this_package(&mut clippy);
        clippy.env("CARGO", "/usr/bin/cargo").env("RUSTC", "/usr/bin/rustc").arg("clippy");
        clippy.args(["--target", "bpfel-unknown-none"]);
    } else {
        clippy = step::cargo();
        clippy.arg("clippy");
    }
    clippy.env("RUSTC_BOOTSTRAP", "1");
    clippy.args(["--manifest-path", EBPF, "--target-dir", "enforcer-ebpf/target", "--", "-D", "warnings"]);
    clippy
}
