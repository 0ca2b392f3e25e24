//! The host file, `/etc/enforcer/enforcer.toml`: what is true of this host, whatever the policy says.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use enforcer_common::address::{Address, Scope};
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
    /// Which interfaces are workloads'.
    pub attach: Attach,
    /// Endpoints whose addresses are declared.
    pub endpoints: Vec<DeclaredEndpoint>,
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
        let any = |patterns: &[WildMatch]| patterns.iter().any(|pattern| pattern.matches(name));
        any(&self.include) && !any(&self.exclude)
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

/// An endpoint whose addresses are declared instead of discovered.
#[derive(Clone, Debug)]
pub struct DeclaredEndpoint {
    name: WildMatch,
    /// Addresses and prefixes that it owns.
    pub addresses: Vec<IpNet>,
}

impl DeclaredEndpoint {
    /// Whether this declares the endpoint behind the host-side interface `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name.matches(name)
    }
}

/// How the datapath works.
#[derive(Clone, Copy, Debug)]
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
            attach: Attach {
                include: patterns(&file.attach.include),
                exclude: patterns(&file.attach.exclude),
                unknown: file.attach.unknown,
            },
            endpoints: endpoints.collect::<Result<_, _>>()?,
            datapath: file.datapath.check(path)?,
        })
    }

    /// The addresses declared for the endpoint behind `name`.
    pub fn declared(&self, name: &str) -> impl Iterator<Item = IpNet> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.is(name))
            .flat_map(|endpoint| endpoint.addresses.clone())
    }
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
    #[serde(default)]
    attach: AttachTable,
    #[serde(default)]
    endpoint: Vec<EndpointTable>,
    #[serde(default)]
    datapath: DatapathTable,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    #[serde(rename = "match")]
    name: String,
    addresses: Vec<String>,
}

impl EndpointTable {
    fn check(self, path: &Path) -> Result<DeclaredEndpoint, ConfigError> {
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
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("enforcer.toml"), text)
    }

    #[test]
    fn defaults_want_container_veths_only() {
        let config = parse("").unwrap();
        for (name, wanted) in [("veth1a2b", true), ("ve-web", true), ("cali12", true), ("eth0", false)] {
            assert_eq!(config.attach.wants(name), wanted, "{name}");
        }
        assert_eq!(config.attach.unknown, Unknown::Quarantine);
        assert_eq!(config.datapath.mark_mask, 0x0ff0_0000);
    }

    #[test]
    fn exclusion_beats_inclusion() {
        let config = parse("[attach]\nmatch = [\"veth*\"]\nexclude = [\"veth-mgmt*\"]").unwrap();
        assert!(config.attach.wants("veth-web") && !config.attach.wants("veth-mgmt0"));
    }

    #[test]
    fn declared_addresses_are_found_by_name() {
        let config =
            parse("[[endpoint]]\nmatch = \"veth-web\"\naddresses = [\"10.1.0.5\", \"2001:db8::/64\"]")
                .unwrap();
        let declared: Vec<String> = config.declared("veth-web").map(|network| network.to_string()).collect();
        assert_eq!(declared, ["10.1.0.5/32", "2001:db8::/64"]);
        assert_eq!(config.declared("veth-db").count(), 0);
    }

    #[test]
    fn mistakes_name_file_place_and_fix() {
        let unknown = parse("[attach]\nmatched = []").unwrap_err().to_string();
        assert!(
            unknown.contains("enforcer.toml") && unknown.contains("line 2") && unknown.contains("match"),
            "{unknown}"
        );
        let bits =
            parse("[[endpoint]]\nmatch = \"v\"\naddresses = [\"10.1.0.5/24\"]").unwrap_err().to_string();
        assert!(bits.contains("10.1.0.5/24") && bits.contains("host bits"), "{bits}");
        for wide in ["::/0", "0.0.0.0/0", "fe80::1", "fe80::/9"] {
            let text = format!("[[endpoint]]\nmatch = \"v\"\naddresses = [\"{wide}\"]");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(wide) && error.contains("no endpoint can own"), "{error}");
        }
        let mask = parse("[datapath]\nmark_mask = \"ff\"").unwrap_err().to_string();
        assert!(mask.contains("0x0ff00000"), "{mask}");
    }
}
