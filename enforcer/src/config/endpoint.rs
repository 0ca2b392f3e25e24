//! What is declared of an endpoint instead of discovered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::{
    address::{Address, Scope},
    endpoint::Endpoint,
    mode::Mode,
};
use ipnet::IpNet;
use serde::Deserialize;

use super::{
    Mistake,
    subject::{Subject, SubjectPattern},
};
use crate::policy::Prefix;

/// What is declared of an endpoint instead of discovered.
#[derive(Clone, Debug)]
pub struct DeclaredEndpoint {
    subject: SubjectPattern,
    /// Addresses and prefixes that it owns; none means that they are discovered.
    pub addresses: Vec<IpNet>,
    /// What it may be for others.
    pub provides: Vec<Provides>,
    /// How seriously verdicts about it are taken; `None` means as everywhere on the host.
    pub mode: Option<Mode>,
    /// Which source MACs it may use.
    pub macs: Macs,
}

impl DeclaredEndpoint {
    /// Whether this declares an endpoint.
    pub fn is(&self, subject: Subject<'_>) -> bool {
        self.subject.is(subject)
    }

    /// Whether it goes by a MAC, which the workload itself may choose.
    pub(super) const fn goes_by_mac(&self) -> bool {
        matches!(self.subject, SubjectPattern::Mac(_))
    }

    pub(super) const fn needs_netns(&self) -> bool {
        matches!(self.subject, SubjectPattern::Netns(_))
    }
}

/// Which source MACs an endpoint may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Macs {
    /// Its interface's own.
    #[default]
    Own,
    /// Any: it bridges others behind itself. Its addresses are checked as ever.
    Any,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointTable {
    #[serde(rename = "match")]
    subject: String,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    provides: Vec<Provides>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    macs: Macs,
}

impl EndpointTable {
    pub(super) fn check(self) -> Result<DeclaredEndpoint, Mistake> {
        let subject = SubjectPattern::parse(&self.subject)
            .map_err(|fix| Mistake::new("endpoint.match", &self.subject, fix))?;
        let is_empty = self.addresses.is_empty() && self.provides.is_empty();
        if is_empty && self.mode.is_none() && self.macs == Macs::Own {
            let fix = "nothing is declared of it; add `addresses`, `provides`, `mode` or `macs`";
            return Err(Mistake::new("endpoint.match", self.subject, fix));
        }
        if matches!(subject, SubjectPattern::Mac(_)) && self.macs == Macs::Any {
            let fix = "with `macs = \"any\"` its MAC is the workload's choice; tell it by something else";
            return Err(Mistake::new("endpoint.match", self.subject, fix));
        }
        let addresses = self
            .addresses
            .iter()
            .map(|text| declared(text).map_err(|fix| Mistake::new("endpoint.addresses", text, fix)));
        Ok(DeclaredEndpoint {
            subject,
            addresses: addresses.collect::<Result<_, _>>()?,
            provides: self.provides,
            mode: self.mode,
            macs: self.macs,
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
