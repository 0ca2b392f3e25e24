//! A network namespace that lives as long as a value.
//!
//! Commands are run in it with `setns(2)`, not with `ip netns exec`: the latter mounts a new `/sys`, which hides
//! the pins of BPF objects.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};

use crate::command::{output_within, transcript};
use crate::leftovers::{kill_processes_in, owned_name, sweep_once};
use crate::{carrier, wait};

/// Where `ip netns` keeps named namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// The longest a command in a namespace may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// A network namespace. One that was created here is named, and removed when the value goes.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    path: PathBuf,
    handle: File,
    is_ours: bool,
}

impl NetNs {
    /// Creates the namespace `enf-<pid>-<name>`, with `lo` up and without duplicate address detection.
    #[track_caller]
    pub fn create(name: &str) -> Self {
        sweep_once();
        let name = owned_name(name);
        let output = output_within(Command::new("ip").args(["netns", "add", &name]), "", COMMAND_LIMIT);
        let output = output.expect("failed to start ip");
        assert!(output.status.success(), "failed to create namespace {name}: {}", transcript(&output));
        let path = path_of(&name);
        let handle = File::open(&path).expect("failed to open a namespace just created");
        let netns = Self { name, path, handle, is_ours: true };
        // Addresses are usable at once; nothing in the lab is a duplicate by accident. Nobody asks for routers: nothing
        // but what a test sends is counted.
        netns.sysctls(&[
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
        ]);
        netns.ip("link set lo up");
        netns
    }

    /// The namespace of a process, under a name for messages. Others have made it, and end it.
    #[track_caller]
    pub fn of_process(name: &str, pid: u32) -> Self {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let handle = File::open(&path);
        let handle = handle.unwrap_or_else(|error| panic!("no namespace of {name}, process {pid}: {error}"));
        Self { name: name.to_owned(), path, handle, is_ours: false }
    }

    /// The name under which `ip netns` lists it, if it was created here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as `nsenter --net=…` wants it.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The number by which the kernel tells namespaces apart.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.handle.metadata()?.ino())
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let namespace = self.handle.try_clone().expect("failed to duplicate a namespace handle");
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes one system call on a descriptor it owns; it neither
        // allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
        }
        command
    }

    /// Runs a command inside the namespace to its end.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        match self.try_run(program, args) {
            Ok(output) => output,
            Err(error) => panic!("failed to run {program} in {}: {error}", self.name),
        }
    }

    /// Like [`run`](Self::run), for destructors: these must not panic.
    pub(crate) fn try_run(&self, program: &str, args: &[&str]) -> io::Result<Output> {
        output_within(self.command(program).args(args), "", COMMAND_LIMIT)
    }

    /// Starts a command inside the namespace. It is killed when the namespace goes.
    #[track_caller]
    pub fn spawn(&self, program: &str, args: &[&str]) -> Child {
        match self.command(program).args(args).process_group(0).spawn() {
            Ok(child) => child,
            Err(error) => panic!("failed to start {program} in {}: {error}", self.name),
        }
    }

    /// Runs lines of `ip` commands inside the namespace as one batch; panics when one of them fails.
    #[track_caller]
    pub fn ip(&self, batch: &str) {
        let output = output_within(self.command("ip").args(["-batch", "-"]), batch, COMMAND_LIMIT);
        let output = output.expect("failed to start ip");
        assert!(output.status.success(), "ip in {}: {}\n{batch}", self.name, transcript(&output));
    }

    /// Waits until an interface of the namespace carries packets; "up" alone is not enough.
    #[track_caller]
    pub fn wait_for_carrier(&self, interface: &str) {
        wait::until(&format!("{interface} in {} has a carrier", self.name), COMMAND_LIMIT, || {
            self.enter(|| carrier::is_on(interface)).expect("failed to ask for a link").then_some(())
        });
    }

    /// The hardware address of an interface.
    #[track_caller]
    pub fn mac(&self, interface: &str) -> [u8; 6] {
        self.try_mac(interface).unwrap_or_else(|| panic!("no MAC of {interface} in {}", self.name))
    }

    /// The hardware address of an interface, if it carries Ethernet frames.
    #[track_caller]
    pub fn try_mac(&self, interface: &str) -> Option<[u8; 6]> {
        let output = self.run("ip", &["-o", "link", "show", "dev", interface]);
        let text = String::from_utf8_lossy(&output.stdout);
        let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1)?;
        let bytes: Vec<u8> = mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        bytes.try_into().ok()
    }

    /// Gives nftables one command per line.
    #[track_caller]
    pub fn nft(&self, commands: &str) {
        for command in commands.lines() {
            let output = self.run("nft", &[command]);
            assert!(output.status.success(), "nft {command}: {output:?}");
        }
    }

    /// Sets kernel parameters of the namespace, named by their path under `/proc/sys`.
    #[track_caller]
    pub fn sysctls(&self, settings: &[(&str, &str)]) {
        self.enter(|| {
            for (key, value) in settings {
                if let Err(error) = fs::write(Path::new("/proc/sys").join(key), value) {
                    panic!("failed to set {key} to {value}: {error}");
                }
            }
        });
    }

    /// Calls `work` on a thread inside the namespace and returns what it returns.
    ///
    /// A socket opened by `work` stays in the namespace wherever it is used afterwards. A panic of `work` goes on
    /// in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let joined = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.move_this_thread_here();
                work()
            });
            inside.join()
        });
        joined.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Moves the calling thread into the namespace, for good: only for threads that the lab started itself.
    pub(crate) fn move_this_thread_here(&self) {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).expect("failed to enter a namespace");
    }
}

impl AsRef<Self> for NetNs {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if self.is_ours {
            remove(&self.name);
        }
    }
}

/// Kills what runs in the namespace and takes its name away; the kernel frees it with its last socket.
pub fn remove(name: &str) {
    let path = path_of(name);
    if let Ok(file) = fs::metadata(&path) {
        kill_processes_in(file.ino());
    }
    if let Err(error) = umount2(&path, MntFlags::MNT_DETACH) {
        eprintln!("failed to unmount {}: {error}", path.display());
    }
    if let Err(error) = fs::remove_file(&path) {
        eprintln!("failed to remove {}: {error}", path.display());
    }
}

/// The file that stands for a named namespace.
fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
