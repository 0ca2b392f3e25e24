//! From the bare kernel to a machine on which the tests' programs feel at home.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use enforcer_guest::{REPORTS, Report};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

/// File system, directory, options. What a kernel does not have is missed by the test that wants it. None lies over
/// `/tmp`: the workspace may lie there, and with it the programs.
const MOUNTS: [(&str, &str, &str); 9] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/run", ""),
    ("tmpfs", "/dev/shm", ""),
    ("devpts", "/dev/pts", ""),
    ("bpf", "/sys/fs/bpf", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
];

/// Mounts, and brings up the loopback interface.
pub fn prepare() -> Result<()> {
    for (kind, directory, options) in MOUNTS {
        // Below /proc and /sys the kernel makes the directories.
        fs::create_dir_all(directory).ok();
        mount(Some(kind), directory, Some(kind), MsFlags::empty(), Some(options)).ok();
    }
    ensure!(Path::new("/proc/self").exists(), "/proc is not mounted");
    fs::create_dir_all("/run/netns").context("failed to make /run/netns")?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).env("PATH", PATH).status();
    ensure!(up.context("failed to run ip")?.success(), "{} does not come up", Ipv4Addr::LOCALHOST);
    Ok(())
}

/// Where programs are.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Loads modules in this order.
pub fn load(modules: &[PathBuf]) -> Result<()> {
    for module in modules {
        let file = File::open(module).with_context(|| format!("no module {}", module.display()))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("failed to load {}", module.display())),
        }
    }
    // Else each namespace that a test makes gets a device from every kind of tunnel.
    fs::write("/proc/sys/net/core/fb_tunnels_only_for_init_net", "1").context("failed to set a sysctl")
}

/// Reports why this machine cannot go on.
pub fn say_broken(error: &anyhow::Error) {
    eprintln!("guest: {error:#}");
    let report = Report::Broken(format!("{error:#}"));
    if let (Ok(mut port), Ok(line)) =
        (File::options().write(true).open(REPORTS), serde_json::to_string(&report))
    {
        // The console has it already.
        writeln!(port, "{line}").ok();
    }
}
