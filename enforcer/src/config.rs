//! The host file, `/etc/enforcer/enforcer.toml`: what is true of this host, whatever the policy says.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use enforcer_common::mode::Mode;
use ipnet::IpNet;
use wildmatch::WildMatch;

use crate::policy::source;

mod attach;
mod datapath;
mod docker;
mod endpoint;
mod file;
mod host;
mod host_file;
mod subject;
mod uplink;

pub use attach::{Attach, Guard, Unknown};
pub use datapath::{DatapathConfig, Fastpath};
pub use docker::Docker;
pub use endpoint::{DeclaredEndpoint, Macs, Provides};
pub use file::Control;
pub use host::{Host, ToWorkloads};
pub use host_file::HostFile;
pub use subject::{Subject, SubjectPattern};
pub use uplink::{Trust, Uplink};

/// Why the host file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is none where there has to be one.
    #[error("{path} does not exist; without a host file the mode would be enforce")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not what a host file looks like; the text names line and column.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What toml said.
        source: Box<toml::de::Error>,
    },
    /// A value of the right type means nothing.
    #[error("{path}: {key} = {value:?}: {fix}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What to write instead.
        fix: String,
    },
}

/// The host file, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Policy files that are loaded when no policy was ever applied.
    pub policy: Vec<PathBuf>,
    /// How often what the kernel holds is compared with what it should.
    pub inspection: Duration,
    /// How seriously verdicts are taken, where nothing else is said.
    pub mode: Mode,
    /// Which interfaces are workloads'.
    pub attach: Attach,
    /// Where the early guard runs.
    pub guard: Guard,
    /// Interfaces that lead outside.
    pub uplinks: Vec<Uplink>,
    /// Endpoints of which something is declared.
    pub endpoints: Vec<DeclaredEndpoint>,
    /// The host as an end of conversations.
    pub host: Host,
    /// Where containers are asked for.
    pub docker: Docker,
    /// Who may use the control socket.
    pub control: Control,
    /// How the datapath works.
    pub datapath: DatapathConfig,
}

impl Config {
    /// Checks the text of a host file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: file::File = toml::from_str(text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        file.check().map_err(|mistake| mistake.at(path))
    }

    /// Those of the policy files that exist; a directory without any is none.
    pub fn policy_files(&self) -> Vec<PathBuf> {
        self.policy.iter().filter(|path| source::is_there(path)).cloned().collect()
    }

    /// The addresses declared for an endpoint.
    pub fn declared<'a>(&'a self, subject: Subject<'a>) -> impl Iterator<Item = IpNet> {
        self.about(subject).flat_map(|endpoint| endpoint.addresses.clone())
    }

    /// What an endpoint is declared to be for others.
    pub fn provided<'a>(&'a self, subject: Subject<'a>) -> impl Iterator<Item = Provides> {
        self.about(subject).flat_map(|endpoint| endpoint.provides.iter().copied())
    }

    /// The mode that the host file gives an endpoint; the first declaration that has one counts.
    pub fn mode_of(&self, subject: Subject<'_>) -> Option<Mode> {
        self.about(subject).find_map(|endpoint| endpoint.mode)
    }

    /// Which source MACs an endpoint may use.
    pub fn macs_of(&self, subject: Subject<'_>) -> Macs {
        let any = self.about(subject).any(|endpoint| endpoint.macs == Macs::Any);
        if any { Macs::Any } else { Macs::Own }
    }

    /// How far what comes from the interface `name` is trusted; `None` if nothing is said of it. The first
    /// table that matches counts.
    pub fn trust(&self, name: &str) -> Option<Trust> {
        self.uplinks.iter().find(|uplink| uplink.is(name)).map(|uplink| uplink.trust)
    }

    /// Whether endpoints are told by the names of their namespaces, so that these have to be looked up.
    pub fn needs_netns(&self) -> bool {
        self.endpoints.iter().any(DeclaredEndpoint::needs_netns)
    }

    /// What is declared of an endpoint. One that may use any MAC is not told by its own: it would choose who
    /// it is.
    fn about<'a>(&'a self, subject: Subject<'a>) -> impl Iterator<Item = &'a DeclaredEndpoint> {
        let chooses = self.endpoints.iter().any(|it| it.macs == Macs::Any && it.is(subject));
        let believed = move |endpoint: &&DeclaredEndpoint| !(chooses && endpoint.goes_by_mac());
        self.endpoints.iter().filter(move |endpoint| endpoint.is(subject)).filter(believed)
    }
}

/// A value that means nothing, in a file that its reader knows.
#[derive(Debug)]
struct Mistake {
    key: &'static str,
    value: String,
    fix: String,
}

impl Mistake {
    fn new(key: &'static str, value: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key, value: value.into(), fix: fix.into() }
    }

    fn at(self, path: &Path) -> ConfigError {
        ConfigError::Value { path: path.to_owned(), key: self.key, value: self.value, fix: self.fix }
    }
}

fn any(patterns: &[WildMatch], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

fn patterns(texts: &[String]) -> Vec<WildMatch> {
    texts.iter().map(|text| WildMatch::new(text)).collect()
}

#[cfg(test)]
mod tests;
