//! The real `enforcer` on a host of the lab, with directories and a BPF file system of its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::{output_within, transcript};
use crate::host::Host;
use crate::netns::NetNs;
use crate::scratch::Scratch;
use crate::{tables, wait};

/// The host file of the lab: every workload is an endpoint, and no policy file of this machine counts. The tables are
/// small: to make them is most of a daemon's start.
pub const DEFAULT_CONFIG: &str = "policy = []\n[datapath]\nflows = 32768\nnetworks = 1024\nrules = 1024\n\
                                  [attach]\nmatch = [\"veth-*\"]\n";
/// The same with tables as large as they are unless a host file says otherwise.
pub const ROOMY_CONFIG: &str = "policy = []\n[attach]\nmatch = [\"veth-*\"]\n";

/// The [`DEFAULT_CONFIG`] and how programs are attached.
pub fn attaching_by(mechanism: &str) -> String {
    DEFAULT_CONFIG.replace("[datapath]\n", &format!("[datapath]\nattach = \"{mechanism}\"\n"))
}

/// How long the daemon may take to answer, to end, and to make an endpoint ready.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// An `enforcer` on a host, running or not. When dropped, it is killed and everything of it is removed.
///
/// When a test panics, its destructor prints what the daemon said and knew.
#[derive(Debug)]
pub struct Daemon {
    binary: PathBuf,
    /// What starts the daemon, and is given the command as its last arguments.
    wrapper: Vec<String>,
    netns: Arc<NetNs>,
    scratch: Scratch,
    child: Option<Child>,
    /// Where it finds other programs, unless where this process does.
    path: Option<OsString>,
}

impl Daemon {
    /// Starts the daemon with the [`DEFAULT_CONFIG`] and waits until it answers.
    #[track_caller]
    pub fn start(host: &Host) -> Self {
        Self::start_with(host, DEFAULT_CONFIG)
    }

    /// Starts the daemon with a host file and waits until it answers.
    #[track_caller]
    pub fn start_with(host: &Host, config: &str) -> Self {
        Self::start_through(host, config, &[])
    }

    /// Starts the daemon through a program that starts another, `setpriv` or `env` for example.
    #[track_caller]
    pub fn start_through(host: &Host, config: &str, wrapper: &[&str]) -> Self {
        let mut daemon = Self::prepare(host, config);
        daemon.wrap(wrapper);
        daemon.start_again();
        daemon
    }

    /// A daemon that does not run yet.
    #[track_caller]
    pub fn prepare(host: &Host, config: &str) -> Self {
        let (netns, scratch) = (Arc::clone(host.netns()), Scratch::create());
        let (binary, wrapper) = (binary(), Vec::new());
        let daemon = Self { binary, wrapper, netns, scratch, child: None, path: None };
        daemon.configure(config);
        daemon
    }

    /// Starts it through these words from now on.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
    }

    /// Replaces the host file; the daemon reads it when it starts, and on SIGHUP.
    #[track_caller]
    pub fn configure(&self, config: &str) {
        let config = tables::in_host_file(config);
        fs::write(self.scratch.config(), config).expect("failed to write the host file");
    }

    /// Runs another binary from now on: an upgrade, or the way back.
    pub fn use_binary(&mut self, binary: impl Into<PathBuf>) {
        self.binary = binary.into();
    }

    /// Everybody may look at its directory, and run the copy of its binary there, which it runs from now on: then only
    /// the daemon says who may do what.
    #[track_caller]
    pub fn open_to_all(&mut self) {
        let binary = self.directory().join("enforcer");
        fs::copy(&self.binary, &binary).expect("failed to copy the binary");
        self.use_binary(binary);
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.directory(), all).expect("failed to open a directory to all");
    }

    /// Starts the daemon that was stopped or killed, and waits until it answers.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the daemon runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.scratch.log());
        let log = log.expect("failed to open the daemon's log");
        let errors = log.try_clone().expect("failed to duplicate a file");
        let wrapper: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let mut command = self.command_through(&wrapper, &["run", "--config"]);
        command.arg(self.scratch.config()).stdin(Stdio::null()).stdout(log).stderr(errors);
        match command.process_group(0).spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!("failed to start {}: {error}", self.binary.display()),
        }
        wait::until("the daemon answers", PATIENCE, || {
            self.assert_runs();
            // With the daemon dead, `status` answers from the pins.
            UnixStream::connect(self.scratch.socket()).ok()?;
            self.cli(&["status"]).status.success().then_some(())
        });
    }

    /// Sends the daemon a signal that does not end it.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the daemon does not run");
        kill(Pid::from_raw(child.id() as i32), signal).expect("failed to send a signal");
    }

    /// From its next start on it finds no other programs on this machine.
    pub fn hide_programs(&mut self) {
        self.path = Some("/nonexistent".into());
    }

    /// Kills the daemon: it can tidy up nothing.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Asks the daemon to end and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.end(Signal::SIGTERM)
    }

    /// Stops the daemon and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Runs the command line on the daemon's host.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_with_input(args, "")
    }

    /// Runs the command line with something on its standard input.
    #[track_caller]
    pub fn cli_with_input(&self, args: &[&str], input: &str) -> Output {
        match self.try_cli(args, input) {
            Ok(output) => output,
            Err(error) => panic!("failed to run {}: {error}", self.binary.display()),
        }
    }

    /// Runs the command line through a program that starts another.
    #[track_caller]
    pub fn cli_through(&self, wrapper: &[&str], args: &[&str], input: &str) -> Output {
        let output = output_within(&mut self.command_through(wrapper, args), input, COMMAND_LIMIT);
        output.unwrap_or_else(|error| panic!("failed to run {wrapper:?} {}: {error}", self.binary.display()))
    }

    /// What a command answers as JSON; panics when it fails.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.cli(&[args, &["-o", "json"]].concat());
        assert!(output.status.success(), "enforcer {}: {}", args.join(" "), transcript(&output));
        match serde_json::from_slice(&output.stdout) {
            Ok(value) => value,
            Err(error) => panic!("enforcer {}: no JSON: {error}\n{}", args.join(" "), transcript(&output)),
        }
    }

    /// Packets by reason since the tables were made, of all reasons with this verdict: `pass` or `drop`.
    #[track_caller]
    pub fn counts(&self, verdict: &str) -> BTreeMap<String, u64> {
        let drops = self.json(&["drops"]);
        let reasons = drops["reasons"].as_array().expect("`reasons` is an array").iter();
        let count = |entry: &Value| Some((entry["reason"].as_str()?.to_owned(), entry["packets"].as_u64()?));
        let wanted = reasons.filter(|entry| entry["verdict"] == verdict);
        wanted.map(|entry| count(entry).unwrap_or_else(|| panic!("no count in {entry}"))).collect()
    }

    /// Gives it another host file, and waits until that counts.
    #[track_caller]
    pub fn reload(&self, config: &str) {
        self.configure(config);
        self.read_again();
    }

    /// Lets it read its files again, waits for the end of it, and returns what it said meanwhile.
    #[track_caller]
    pub fn read_again(&self) -> String {
        let before = self.log().len();
        self.signal(Signal::SIGHUP);
        wait::until("the daemon has reloaded, or not", PATIENCE, || {
            let said = self.log()[before..].to_owned();
            said.contains("reloaded").then_some(said)
        })
    }

    /// What of others `status` tells that is in the way of packets.
    #[track_caller]
    pub fn foreign(&self) -> Vec<Value> {
        let status = self.json(&["status"]);
        status["foreign"].as_array().expect("`foreign` is an array").clone()
    }

    /// Applies a policy; panics when it is refused.
    #[track_caller]
    pub fn apply(&self, policy: &str) {
        let output = self.cli_with_input(&["apply", "-"], policy);
        assert!(output.status.success(), "enforcer apply: {}\n{policy}", transcript(&output));
    }

    /// Waits until all the endpoints with these interface names are ready.
    #[track_caller]
    pub fn wait_ready(&self, interfaces: &[&str]) {
        let mut missing = Vec::new();
        let ready = wait::within(PATIENCE, || {
            missing = self.not_ready(interfaces);
            missing.is_empty().then_some(())
        });
        assert!(ready.is_some(), "still not ready after {PATIENCE:?}: {missing:?}");
    }

    /// Those of these interfaces that are not ready endpoints.
    #[track_caller]
    pub fn not_ready<'i>(&self, interfaces: &[&'i str]) -> Vec<&'i str> {
        let endpoints = self.json(&["endpoints"]);
        let endpoints = endpoints.as_array().expect("`endpoints` is an array");
        let is_ready = |interface: &str| {
            endpoints.iter().any(|endpoint| endpoint["name"] == interface && endpoint["state"] == "ready")
        };
        interfaces.iter().copied().filter(|interface| !is_ready(interface)).collect()
    }

    /// Packets dropped for a reason since the tables were made.
    #[track_caller]
    pub fn dropped(&self, reason: &str) -> u64 {
        let drops = self.json(&["drops"]);
        let mut reasons = drops["reasons"].as_array().expect("`reasons` is an array").iter();
        let total = reasons.find(|entry| entry["reason"] == reason).map(|entry| &entry["packets"]);
        total.and_then(Value::as_u64).unwrap_or_else(|| panic!("no reason {reason} in {drops}"))
    }

    /// What the daemon printed since it was first started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.log()).unwrap_or_default()
    }

    /// The daemon's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The binary that is tested.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The directory of everything that it writes.
    pub fn directory(&self) -> &Path {
        self.scratch.directory()
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.socket()
    }

    /// The private BPF file system.
    pub fn bpffs(&self) -> PathBuf {
        self.scratch.bpffs()
    }

    /// Where saved policies are.
    pub fn state_dir(&self) -> PathBuf {
        self.scratch.state()
    }

    /// Removes every pin, as a reboot does; what is saved stays. The daemon must not run.
    #[track_caller]
    pub fn lose_pins(&self) {
        assert!(self.child.is_none(), "the daemon still runs");
        for entry in fs::read_dir(self.bpffs()).expect("failed to list the pins").flatten() {
            if entry.path().is_dir() {
                fs::remove_dir_all(entry.path()).expect("failed to remove pins");
            }
        }
    }

    /// The environment by which the command line finds this daemon and its pins.
    pub fn environment(&self) -> [(&'static str, OsString); 3] {
        [
            ("ENFORCER_SOCKET", self.scratch.socket().into()),
            ("ENFORCER_BPFFS", self.scratch.bpffs().into()),
            ("ENFORCER_STATE_DIR", self.scratch.state().into()),
        ]
    }

    /// The binary with arguments, on the host, with this daemon's environment.
    fn command(&self, args: &[&str]) -> Command {
        self.command_through(&[], args)
    }

    fn command_through(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let mut words = wrapper.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let mut command = self.netns.command(words.next().expect("the binary at least"));
        command.args(words).args(args).envs(self.environment());
        command.envs(self.path.iter().map(|path| ("PATH", path)));
        command
    }

    /// Runs the command line, also from a destructor, which must not panic.
    fn try_cli(&self, args: &[&str], input: &str) -> io::Result<Output> {
        output_within(&mut self.command(args), input, COMMAND_LIMIT)
    }

    /// Panics with the log when the daemon has ended by itself.
    #[track_caller]
    fn assert_runs(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = ended {
            self.child = None;
            panic!("the daemon ended with {status}:\n{}", self.log());
        }
    }

    /// Sends a signal and waits for the daemon's end.
    #[track_caller]
    fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().expect("the daemon does not run");
        // It may have ended by itself: then its status tells.
        kill(Pid::from_raw(child.id() as i32), signal).ok();
        let ended = wait::within(PATIENCE, || child.try_wait().expect("failed to wait for the daemon"));
        ended.unwrap_or_else(|| {
            self.child = Some(child);
            panic!("the daemon still runs {PATIENCE:?} after {signal}");
        })
    }

    /// Prints what helps to understand a failure.
    fn print_findings(&self) {
        eprintln!("---- log of the daemon ----\n{}", self.log());
        for verb in ["status", "endpoints", "flows", "drops"] {
            print_finding(&format!("enforcer {verb}"), self.try_cli(&[verb], ""));
        }
        print_finding("ip address", self.netns.try_run("ip", &["-brief", "address"]));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let is_panicking = std::thread::panicking();
        if is_panicking {
            // A stopped one would answer nobody.
            if let Some(pid) = self.pid() {
                kill(Pid::from_raw(pid as i32), Signal::SIGCONT).ok();
                eprintln!("---- threads of the daemon, and of what it waits for ----");
                print_threads(pid);
            }
            self.print_findings();
        }
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that is gone.
            child.kill().ok();
            child.wait().ok();
        }
        let cleaned = self.try_cli(&["clean"], "");
        if !cleaned.as_ref().is_ok_and(|output| output.status.success()) {
            print_finding("enforcer clean", cleaned);
        }
    }
}

/// Prints where the threads of a process and of its children are, in the kernel.
fn print_threads(pid: u32) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    for task in tasks.flatten().map(|entry| entry.path()) {
        let [name, call, stack] = ["comm", "syscall", "stack"]
            .map(|file| fs::read_to_string(task.join(file)).unwrap_or_else(|error| error.to_string()));
        eprintln!("{}: system call {call}{stack}", name.trim());
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).for_each(print_threads);
    }
}

/// Prints what a command said, or why it could not be run.
fn print_finding(title: &str, output: io::Result<Output>) {
    let text = output.map_or_else(|error| error.to_string(), |output| transcript(&output));
    eprintln!("---- {title} ----\n{text}");
}

/// The `enforcer` to test: `ENFORCER_BIN`, or the one built next to this executable.
#[track_caller]
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ENFORCER_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("failed to find this executable");
    // A test lies in `deps`, one below the binaries.
    let found = own.ancestors().skip(1).take(2).map(|directory| directory.join("enforcer"));
    match found.into_iter().find(|path| path.is_file()) {
        Some(path) => path,
        None => panic!("no enforcer near {}: build it, or set ENFORCER_BIN", own.display()),
    }
}
