//! QEMU: the machine's own, or one unpacked under `target/vm`; nothing is installed.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::apt::{Apt, Status, Suite};

const PROGRAM: &str = "qemu-system-x86_64";
/// Where Debian 12 has a QEMU that works with newer libraries of its own.
const SUITES: [Suite; 3] = [
    Suite("debian", "bookworm"),
    Suite("debian-security", "bookworm-security"),
    Suite("debian", "bookworm-backports"),
];
const RELEASE: &str = "bookworm-backports";
/// The kernel's own messages go to the first serial port. A panic ends the machine, and so does what the kernel survives
/// only with luck. The rest saves time under emulation: a page is not cleared before it is needed, and a grace period
/// does not wait until each processor had its turn, since machines share theirs.
const KERNEL_LINE: &str = "console=ttyS0 quiet panic=-1 oops=panic nokaslr mitigations=off init_on_alloc=0 \
                           rcupdate.rcu_expedited=1 audit=0 apparmor=0";

/// A QEMU that runs.
#[derive(Clone, Debug)]
pub struct Emulator {
    /// The directory that it was unpacked into; `None` for the machine's own.
    root: Option<PathBuf>,
}

/// What a machine's clock counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Clock {
    /// Time.
    Time,
    /// The instructions of its processor, one a nanosecond: nothing else that this machine does can be seen in them.
    Instructions,
}

impl Clock {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Time, Self::Instructions];

    /// For names of files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Instructions => "instructions",
        }
    }
}

/// What to boot.
pub struct Boot<'a> {
    /// What its clock counts.
    pub clock: Clock,
    /// How many processors it has.
    pub processors: usize,
    /// The kernel.
    pub kernel: &'a Path,
    /// Its first file system.
    pub files: &'a Path,
    /// Where its console is written to.
    pub console: &'a Path,
}

impl Emulator {
    /// The machine's own QEMU, or the unpacked one; fetched when there is none.
    pub fn fetch(cache: &Path) -> Result<Self> {
        let own = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status();
        if own.is_ok_and(|status| status.success()) {
            return Ok(Self { root: None });
        }
        let directory = cache.join("qemu");
        let (root, stamp) = (directory.join("root"), directory.join("complete"));
        if !stamp.exists() {
            fs::remove_dir_all(&directory).ok();
            let private = directory.join("apt");
            let apt = Apt::new(private.clone(), &SUITES, Status::ThisMachine)?;
            apt.unpack_with_dependencies("qemu-system-x86", RELEASE, &root)
                .context("failed to fetch QEMU")?;
            fs::remove_dir_all(private)?;
            File::create(stamp)?;
        }
        Ok(Self { root: Some(root) })
    }

    /// A command that boots a machine; what its second serial port says is the command's standard output.
    pub fn boot(&self, boot: &Boot<'_>) -> Command {
        let mut command = self.program();
        match boot.clock {
            Clock::Time => command.args(["-accel", accelerator(), "-smp", &boot.processors.to_string()]),
            Clock::Instructions => command
                .args(["-accel", "tcg,thread=single", "-smp", "1"])
                .args(["-icount", "shift=0,sleep=off"]),
        };
        // Of the machine types, microvm hangs now and then under emulation. Where "rep movsb" passes for fast the kernel
        // copies with it, and an emulator byte by byte.
        command.args([
            "-M",
            "q35",
            "-cpu",
            "max,erms=off,fsrm=off",
            "-m",
            "2048",
            "-nodefaults",
            "-no-user-config",
        ]);
        command.args(["-display", "none", "-no-reboot", "-append", KERNEL_LINE]);
        command.arg("-serial").arg(format!("file:{}", boot.console.display())).args(["-serial", "stdio"]);
        command.arg("-kernel").arg(boot.kernel).arg("-initrd").arg(boot.files);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn program(&self) -> Command {
        let Some(root) = &self.root else { return Command::new(PROGRAM) };
        let mut command = Command::new(root.join("usr/bin").join(PROGRAM));
        let libraries = ["usr/lib", "lib"].map(|place| root.join(place).join("x86_64-linux-gnu"));
        command.env("LD_LIBRARY_PATH", env::join_paths(libraries).unwrap_or_default());
        for firmware in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(root.join(firmware));
        }
        command
    }
}

/// The processor's own virtualization where it really has one: inside of some virtual machines `/dev/kvm` can be opened,
/// and then hangs. `VM_ACCEL` decides otherwise.
fn accelerator() -> &'static str {
    let asked = env::var("VM_ACCEL").unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = flags.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm"));
    match asked.as_str() {
        "kvm" => "kvm",
        "" if has && File::options().write(true).open("/dev/kvm").is_ok() => "kvm",
        _ => "tcg,thread=multi",
    }
}
