//! The host file, `/etc/enforcer/enforcer.toml`: what is true of this host, whatever the policy says.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use enforcer_common::{
    address::{Address, Scope},
    endpoint::Endpoint,
};
use ipnet::IpNet;
use serde::Deserialize;
use wildmatch::WildMatch;

use crate::{
    datapath::{attach::Mechanism, load::DEFAULT_MARK_MASK},
    policy::Prefix,
};

/// Why the host file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
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
    /// Which interfaces are workloads'.
    pub attach: Attach,
    /// Where the early guard runs.
    pub guard: Guard,
    /// Endpoints of which something is declared.
    pub endpoints: Vec<DeclaredEndpoint>,
    /// Who may use the control socket.
    pub control: Control,
    /// How the datapath works.
    pub datapath: DatapathConfig,
}

/// Which interfaces are workloads'.
#[derive(Clone, Debug)]
pub struct Attach {
    include: Vec<WildMatch>,
    exclude: Vec<WildMatch>,
    /// What happens at a workload whose address is not known.
    pub unknown: Unknown,
}

impl Attach {
    /// Whether the host-side interface `name` belongs to a workload.
    pub fn wants(&self, name: &str) -> bool {
        any(&self.include, name) && !any(&self.exclude, name)
    }

    /// The patterns of `match`.
    pub fn included(&self) -> impl Iterator<Item = String> {
        self.include.iter().map(WildMatch::pattern)
    }

    /// The patterns of `exclude`.
    pub fn excluded(&self) -> impl Iterator<Item = String> {
        self.exclude.iter().map(WildMatch::pattern)
    }
}

/// Where the early guard runs: at an endpoint's veth it judges what the endpoint sends, any other
/// interface is an uplink.
#[derive(Clone, Debug)]
pub struct Guard {
    include: Vec<WildMatch>,
}

impl Guard {
    /// Whether the guard is to run on the interface `name`.
    pub fn wants(&self, name: &str) -> bool {
        any(&self.include, name)
    }
}

/// What happens at a workload whose address is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Attach at once: nothing passes until the address is known.
    #[default]
    Quarantine,
    /// Leave the interface alone until the address is known.
    Ignore,
}

/// What is declared of an endpoint instead of discovered.
#[derive(Clone, Debug)]
pub struct DeclaredEndpoint {
    name: WildMatch,
    /// Addresses and prefixes that it owns; none means that they are discovered.
    pub addresses: Vec<IpNet>,
    /// What it may be for others.
    pub provides: Vec<Provides>,
}

/// What an endpoint may be for others, and no endpoint is by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provides {
    /// It answers DHCP.
    DhcpServer,
    /// It advertises itself as a router, redirects, and reports errors about what others sent.
    Router,
}

impl Provides {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::DhcpServer, Self::Router];

    /// Its word in the host file and in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::DhcpServer => "dhcp-server",
            Self::Router => "router",
        }
    }

    /// Its flag in an endpoint's record.
    pub const fn flag(self) -> u32 {
        match self {
            Self::DhcpServer => Endpoint::DHCP_SERVER,
            Self::Router => Endpoint::ROUTER,
        }
    }
}

impl DeclaredEndpoint {
    /// Whether this declares the endpoint behind the host-side interface `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name.matches(name)
    }
}

/// Who may use the control socket, besides root. Groups are named, or given by number.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Whose members may connect and read.
    pub group: String,
    /// Whose members may change things, too.
    pub admin_group: Option<String>,
}

impl Default for Control {
    fn default() -> Self {
        Self { group: "enforcer".to_owned(), admin_group: None }
    }
}

/// How the datapath works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatapathConfig {
    /// Bits of the packet mark that carry stamps.
    pub mark_mask: u32,
    /// How programs are attached; the best way where it is not given.
    pub attach: Mechanism,
}

impl Config {
    /// Reads the host file; one that does not exist means the defaults.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::parse(path, ""),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Checks the text of a host file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        let endpoints = file.endpoint.into_iter().map(|endpoint| endpoint.check(path));
        Ok(Self {
            policy: file.policy,
            inspection: inspection(path, file.inspection)?,
            attach: Attach {
                include: patterns(&file.attach.include),
                exclude: patterns(&file.attach.exclude),
                unknown: file.attach.unknown,
            },
            guard: Guard { include: patterns(&file.guard.include) },
            endpoints: endpoints.collect::<Result<_, _>>()?,
            control: file.control,
            datapath: file.datapath.check(path)?,
        })
    }

    /// Those of the policy files that exist.
    pub fn policy_files(&self) -> Vec<PathBuf> {
        self.policy.iter().filter(|path| path.exists()).cloned().collect()
    }

    /// The addresses declared for the endpoint behind `name`.
    pub fn declared(&self, name: &str) -> impl Iterator<Item = IpNet> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.is(name))
            .flat_map(|endpoint| endpoint.addresses.clone())
    }

    /// What the endpoint behind `name` is declared to be for others.
    pub fn provided(&self, name: &str) -> impl Iterator<Item = Provides> {
        let endpoints = self.endpoints.iter().filter(|endpoint| endpoint.is(name));
        endpoints.flat_map(|endpoint| endpoint.provides.iter().copied())
    }
}

fn inspection(path: &Path, text: String) -> Result<Duration, ConfigError> {
    let period = humantime::parse_duration(&text).ok().filter(|period| *period >= Duration::from_millis(100));
    period.ok_or_else(|| ConfigError::Value {
        path: path.to_owned(),
        key: "inspection",
        value: text,
        fix: "write a duration of at least 100ms, such as \"30s\"".to_owned(),
    })
}

fn any(patterns: &[WildMatch], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

fn patterns(texts: &[String]) -> Vec<WildMatch> {
    texts.iter().map(|text| WildMatch::new(text)).collect()
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_policy")]
    policy: Vec<PathBuf>,
    #[serde(default = "default_inspection")]
    inspection: String,
    #[serde(default)]
    attach: AttachTable,
    #[serde(default)]
    guard: GuardTable,
    #[serde(default)]
    endpoint: Vec<EndpointTable>,
    #[serde(default)]
    control: Control,
    #[serde(default)]
    datapath: DatapathTable,
}

fn default_inspection() -> String {
    "30s".to_owned()
}

fn default_policy() -> Vec<PathBuf> {
    vec!["/etc/enforcer/policy.toml".into(), "/etc/enforcer/policy.d".into()]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AttachTable {
    #[serde(rename = "match")]
    include: Vec<String>,
    exclude: Vec<String>,
    unknown: Unknown,
}

impl Default for AttachTable {
    fn default() -> Self {
        let include = ["veth*", "ve-*", "cali*"].map(str::to_owned).to_vec();
        Self { include, exclude: Vec::new(), unknown: Unknown::default() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardTable {
    #[serde(rename = "match")]
    include: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    #[serde(rename = "match")]
    name: String,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    provides: Vec<Provides>,
}

impl EndpointTable {
    fn check(self, path: &Path) -> Result<DeclaredEndpoint, ConfigError> {
        if self.addresses.is_empty() && self.provides.is_empty() {
            return Err(ConfigError::Value {
                path: path.to_owned(),
                key: "endpoint.match",
                value: self.name,
                fix: "nothing is declared of it; add `addresses`, `provides` or both".to_owned(),
            });
        }
        let addresses = self.addresses.iter().map(|text| {
            declared(text).map_err(|fix| ConfigError::Value {
                path: path.to_owned(),
                key: "endpoint.addresses",
                value: text.clone(),
                fix,
            })
        });
        Ok(DeclaredEndpoint {
            name: WildMatch::new(&self.name),
            addresses: addresses.collect::<Result<_, _>>()?,
            provides: self.provides,
        })
    }
}

/// An address, or a prefix as strict as in a policy; else how to write it. What covers addresses that are
/// nobody's own is refused: its owner would speak for every link.
fn declared(text: &str) -> Result<IpNet, String> {
    const NOBODYS: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)),
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)),
        IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)),
    ];
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<Prefix>().map(IpNet::from).map_err(|error| error.to_string())?,
    };
    let own = Address::from(network.network()).scope() == Scope::Global;
    match NOBODYS.iter().find(|address| network.contains(*address)) {
        None if own => Ok(network),
        None => Err(format!("{text} means something else on every link: no endpoint can own it")),
        Some(address) => Err(format!("it covers {address}, which no endpoint can own")),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatapathTable {
    mark_mask: Option<String>,
    attach: AttachWith,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AttachWith {
    #[default]
    Auto,
    Tcx,
    Clsact,
}

impl DatapathTable {
    fn check(self, path: &Path) -> Result<DatapathConfig, ConfigError> {
        let mark_mask = match self.mark_mask {
            None => DEFAULT_MARK_MASK,
            Some(text) => {
                let digits = text.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
                digits.ok_or_else(|| ConfigError::Value {
                    path: path.to_owned(),
                    key: "datapath.mark_mask",
                    value: text,
                    fix: "write a hexadecimal number such as \"0x0ff00000\"".to_owned(),
                })?
            }
        };
        let attach = match self.attach {
            AttachWith::Auto => Mechanism::best(),
            AttachWith::Tcx => Mechanism::Tcx,
            AttachWith::Clsact => Mechanism::Clsact,
        };
        Ok(DatapathConfig { mark_mask, attach })
    }
}

#[cfg(test)]
mod tests;
