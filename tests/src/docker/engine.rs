//! The engine: its processes, its directory, and their end.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::client::Client;
use super::container::NewContainer;
use super::image;
use crate::cgroup;
use crate::host::Host;
use crate::leftovers::{kill_processes_in, owned_name};
use crate::mounts::Mounts;
use crate::netns::NetNs;
use crate::wait;

/// How long the engine may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Docker engine on a host. When dropped, it is killed with all its containers, and everything of it is removed.
///
/// When a test panics, its destructor prints what the engine said and the rules that it wrote.
#[derive(Debug)]
pub struct Engine {
    client: Client,
    options: Vec<String>,
    netns: Arc<NetNs>,
    mounts: Mounts,
    /// Name of the control group of its containers.
    group: String,
    child: Option<Child>,
    directory: TempDir,
}

impl Engine {
    /// Starts an engine with options of `dockerd` and waits until it answers.
    #[track_caller]
    pub fn start(host: &Host, options: &[&str]) -> Self {
        let group = owned_name("docker-");
        let directory = TempDir::with_prefix(&group).expect("failed to create a directory");
        let name = directory.path().file_name().expect("a directory just made has a name");
        let mut engine = Self {
            client: Client::of(directory.path()),
            options: options.iter().map(ToString::to_string).collect(),
            netns: Arc::clone(host.netns()),
            mounts: Mounts::create(),
            group: name.to_string_lossy().into_owned(),
            child: None,
            directory,
        };
        engine.start_again();
        image::import(&engine.client, engine.directory.path());
        engine
    }

    /// Starts the engine that was stopped or killed, and waits until it answers.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the engine runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.client.log_file());
        let log = log.expect("failed to open the engine's log");
        let errors = log.try_clone().expect("failed to duplicate a file");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.process_group(0).spawn();
        self.child = Some(child.expect("failed to start dockerd; is docker.io installed?"));
        wait::until("the engine answers", PATIENCE, || {
            self.assert_runs();
            self.client.try_run(&["version"]).is_ok_and(|output| output.status.success()).then_some(())
        });
    }

    /// Asks the engine to end and waits until it has. Its containers end too, unless it runs with `--live-restore`.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Kills the engine; its containers go on.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
        // The next engine would wait for the containerd of this one, which ends with it, but a little later.
        let noted = self.directory.path().join("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&noted).expect("failed to read containerd's process id");
        wait::until("containerd has ended", PATIENCE, || {
            fs::read_link(format!("/proc/{}/exe", pid.trim())).is_err().then_some(())
        });
        fs::remove_file(noted).expect("failed to remove containerd's process id");
    }

    /// What asks it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates a network with a subnet, whose bridge is `br-<name>`; further options of `docker network create`.
    #[track_caller]
    pub fn network(&self, name: &str, subnet: &str, options: &[&str]) {
        let bridge = format!("com.docker.network.bridge.name=br-{name}");
        let wanted = ["network", "create", "--subnet", subnet, "--opt", &bridge];
        self.client.run(&[&wanted[..], options, &[name]].concat());
    }

    /// Starts the description of a container.
    pub fn container(&self, name: &str) -> NewContainer<'_> {
        NewContainer::of(self, name)
    }

    /// A host file by which an enforcer on the same host finds the containers, by their veths and by the engine.
    pub fn host_file(&self) -> String {
        format!(
            "policy = []\n[attach]\nmatch = [\"veth*\"]\n[docker]\nsocket = \"{}\"\n",
            self.client.socket().display()
        )
    }

    /// The host's namespace, in which the engine is.
    pub(super) fn netns(&self) -> &Arc<NetNs> {
        &self.netns
    }

    /// `dockerd` in the host's namespace, with mounts of its own and with nothing of this machine's configuration.
    fn command(&self) -> Command {
        let directory = self.directory.path();
        let mut command = self.netns.command("dockerd");
        self.mounts.see(&mut command);
        let nothing = directory.join("daemon.json");
        fs::write(&nothing, "{}").expect("failed to write the engine's configuration");
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(directory.join(name));
        }
        command.arg("--config-file").arg(nothing);
        command.arg("--host").arg(format!("unix://{}", self.client.socket().display()));
        // By its own name, whether or not systemd runs.
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.args(["--log-level", "warn", "--cgroup-parent", &format!("/{}", self.group)]);
        command.args(&self.options);
        command
    }

    /// Panics with the log when the engine has ended by itself.
    #[track_caller]
    fn assert_runs(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = ended {
            self.child = None;
            panic!("dockerd ended with {status}:\n{}", self.client.log());
        }
    }

    #[track_caller]
    fn end(&mut self, signal: Signal) {
        let mut child = self.child.take().expect("the engine does not run");
        // It may have ended by itself.
        kill(Pid::from_raw(child.id() as i32), signal).ok();
        let ended = wait::within(PATIENCE, || child.try_wait().expect("failed to wait for dockerd"));
        if ended.is_none() {
            self.child = Some(child);
            panic!("dockerd still runs {PATIENCE:?} after {signal}:\n{}", self.client.log());
        }
    }

    /// Prints what helps to understand a failure.
    fn print_findings(&self) {
        eprintln!("---- log of the engine ----\n{}", self.client.log());
        if let Ok(output) = self.client.try_run(&["ps", "--all"]) {
            eprintln!("---- docker ps --all ----\n{}", String::from_utf8_lossy(&output.stdout));
        }
        if let Ok(output) = self.netns.try_run("nft", &["list", "ruleset"]) {
            eprintln!("---- nft list ruleset ----\n{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_findings();
        }
        // The shims are dockerd's grandchildren, in the host's namespace like itself; containers are in their own.
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if let Ok(inode) = self.netns.inode() {
            wait::within(PATIENCE, || (kill_processes_in(inode) == 0).then_some(()));
        }
        cgroup::remove(&self.group);
    }
}
