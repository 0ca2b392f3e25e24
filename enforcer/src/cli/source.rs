//! Who answers: the daemon while it runs, else the kernel's tables, which outlive it.

use std::fmt::Display;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Global,
    client::{Client, ClientError, with_query},
    failure::{NotReachable, Refused},
};
use crate::{
    daemon::offline,
    datapath::{flows::Flow, memory::Memory, pins::Pins},
    report::{
        Drops, EndpointReport, ExplainReport, GenerationReport, ModesReport, NetworkReport, PolicyReport,
        RuleReport, Status,
    },
    view::Offline,
};

/// The answers about this host.
pub struct Source<'a> {
    global: &'a Global,
    client: Client,
    /// The fallback was told; once is enough for a screen that redraws itself.
    told: bool,
}

impl<'a> Source<'a> {
    /// Whoever answers under these options; nobody is asked yet.
    pub fn new(global: &'a Global) -> Self {
        Self { global, client: Client::new(global.socket.clone()), told: false }
    }

    /// The state of the host.
    pub fn status(&mut self) -> anyhow::Result<Status> {
        let mut status: Status = self.ask("/v1/status", Offline::status)?;
        // The daemon has given up the privilege that this takes; whoever asks may have it.
        if status.memory.policies.is_none()
            && let Ok(memory) = Memory::of(&Pins::new(self.global.bpffs.clone()))
        {
            status.memory = memory;
        }
        Ok(status)
    }

    /// The modes in force.
    pub fn modes(&mut self) -> anyhow::Result<ModesReport> {
        self.ask("/v1/mode", Offline::modes)
    }

    /// The logical networks.
    pub fn networks(&mut self) -> anyhow::Result<Vec<NetworkReport>> {
        self.ask("/v1/networks", Offline::networks)
    }

    /// The rules.
    pub fn rules(&mut self) -> anyhow::Result<Vec<RuleReport>> {
        self.ask("/v1/rules", Offline::rules)
    }

    /// The local endpoints.
    pub fn endpoints(&mut self) -> anyhow::Result<Vec<EndpointReport>> {
        self.ask("/v1/endpoints", Offline::endpoints)
    }

    /// All flows.
    pub fn flows(&mut self) -> anyhow::Result<Vec<Flow>> {
        self.ask("/v1/flows", Offline::flows)
    }

    /// Why packets were dropped.
    pub fn drops(&mut self) -> anyhow::Result<Drops> {
        self.ask("/v1/drops", Offline::drops)
    }

    /// The policy in force.
    pub fn policy(&mut self) -> anyhow::Result<PolicyReport> {
        self.ask("/v1/policy", Offline::policy)
    }

    /// The generations to go back to.
    pub fn generations(&mut self) -> anyhow::Result<Vec<GenerationReport>> {
        self.ask("/v1/generations", Offline::generations)
    }

    /// Whether `src` may talk to `dst`.
    pub fn explain(&mut self, src: &str, dst: &str, service: Option<&str>) -> anyhow::Result<ExplainReport> {
        let parameters = [("src", Some(src)), ("dst", Some(dst)), ("service", service)];
        self.ask(&with_query("/v1/explain", &parameters), |offline| offline.explain(src, dst, service))
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        read: impl FnOnce(&Offline) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match self.client.get(path) {
            Err(error) if error.is_unreachable() => read(&self.offline()?),
            answer => answer.map_err(said_by_daemon),
        }
    }

    fn offline(&mut self) -> anyhow::Result<Offline> {
        let offline = Offline::open(&self.global.bpffs, &self.global.state_dir)
            .map_err(|error| nobody(self.global, error, nix::unistd::geteuid().is_root()))?;
        if !self.told {
            eprintln!("note: daemon not reachable, reading the kernel tables");
            self.told = true;
        }
        Ok(offline)
    }
}

/// Gives an order to the daemon or, where none runs, carries it out in its place.
pub fn order<T: DeserializeOwned>(
    global: &Global,
    path: &str,
    body: &impl Serialize,
    instead: impl FnOnce(&mut offline::Offline) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    match Client::new(global.socket.clone()).post(path, body) {
        Err(error) if error.is_unreachable() => {
            let offline = offline::Offline::open(&global.bpffs, &global.state_dir, &global.socket);
            let mut offline =
                offline.map_err(|error| nobody(global, error, nix::unistd::geteuid().is_root()))?;
            eprintln!("note: daemon not reachable, changing the kernel tables in its place");
            instead(&mut offline)
        }
        answer => answer.map_err(said_by_daemon),
    }
}

/// A refusal is an answer, in words of its own; everything else is ours to tell.
pub fn said_by_daemon(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused(text) => Refused(text).into(),
        other => other.into(),
    }
}

/// Neither the daemon nor the kernel answers.
fn nobody(global: &Global, error: anyhow::Error, root: bool) -> anyhow::Error {
    let nobody_at = no_daemon(&global.socket.display());
    let bpffs = global.bpffs.display();
    if !root {
        let text = format!("{nobody_at}, and only root may read the kernel tables: run as root");
        return NotReachable(text).into();
    }
    if Pins::new(global.bpffs.clone()).ours().is_empty() {
        let text = format!("{nobody_at} and nothing is pinned at {bpffs}: is `enforcer run` running?");
        return NotReachable(text).into();
    }
    error.context(NotReachable(format!("{nobody_at}, and the tables pinned at {bpffs} cannot be read")))
}

fn no_daemon(socket: &impl Display) -> String {
    format!("no daemon answers at {socket}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::anyhow;
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, failure};

    fn global(bpffs: &Path) -> Global {
        let bpffs = bpffs.to_str().unwrap();
        let line = ["enforcer", "status", "--socket", "/nonexistent/e.sock", "--bpffs", bpffs];
        Cli::try_parse_from(line).unwrap().global
    }

    #[test]
    fn nothing_pinned_names_the_socket_and_the_pins() {
        let error = nobody(&global(Path::new("/nonexistent/pins")), anyhow!("no table"), true);
        assert_eq!(
            error.to_string(),
            "no daemon answers at /nonexistent/e.sock and nothing is pinned at /nonexistent/pins: \
             is `enforcer run` running?"
        );
        assert_eq!(failure::code(&error), failure::NOT_REACHABLE);
    }

    #[test]
    fn unreadable_tables_say_why() {
        let pins = tempfile::tempdir().unwrap();
        std::fs::create_dir(pins.path().join("links")).unwrap();
        let error = nobody(&global(pins.path()), anyhow!("table CONTROL is missing"), true);
        assert!(format!("{error:#}").ends_with("cannot be read: table CONTROL is missing"));
        assert_eq!(failure::code(&error), failure::NOT_REACHABLE);
    }

    #[test]
    fn who_is_not_root_is_told_so() {
        let error = nobody(&global(Path::new("/nonexistent/pins")), anyhow!("no table"), false);
        assert!(error.to_string().ends_with("run as root"));
    }

    #[test]
    fn nobody_at_all_is_not_reachable() {
        let global = global(Path::new("/nonexistent/pins"));
        let error = Source::new(&global).status().unwrap_err();
        assert_eq!(failure::code(&error), failure::NOT_REACHABLE);
    }
}
