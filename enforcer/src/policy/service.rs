//! What a rule is about: protocols, ports and ICMP types.
//!
//! On the policy's way: part of the model. Every service is a set of ranges of *points*
//! ([`enforcer_common::policy::Point`]), which is all that the compiler and the kernel know of it.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use enforcer_common::{
    flow::{icmp, protocol},
    policy::Point,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A service as a rule names it: `any`, `tcp`, `udp/53`, `tcp/8000-8999`, `icmp/3`, `icmp6/packet-too-big`,
/// `ping`, `proto/47`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Service {
    /// Every packet.
    Any,
    /// Echo requests of both families; their replies are answers.
    Ping,
    /// Everything of one IP protocol.
    Protocol(u8),
    /// Destination ports of TCP, UDP or SCTP.
    Ports {
        /// [`protocol::TCP`], [`protocol::UDP`] or [`protocol::SCTP`].
        protocol: u8,
        /// Lowest port.
        first: u16,
        /// Highest port, not below `first`; never all ports, which is [`Service::Protocol`].
        last: u16,
    },
    /// One ICMP type, with any code.
    Icmp {
        /// [`protocol::ICMP`] or [`protocol::ICMPV6`].
        protocol: u8,
        /// The type.
        kind: u8,
    },
}

/// Why a text is no service; each message says what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ServiceError {
    /// Nothing that is known.
    #[error(
        "`{text}` is no service; write any, ping, tcp, udp/53, tcp/8000-8999, sctp/9, icmp/3, icmp6/135 or proto/47"
    )]
    Unknown { text: String },
    /// Something that is no port.
    #[error("`{text}` is no port; write a number from 0 to 65535")]
    NotAPort { text: String },
    /// The wrong way round.
    #[error("{first}-{last} is empty; did you mean {last}-{first}?")]
    EmptyRange { first: u16, last: u16 },
    /// Something that is no type.
    #[error("`{text}` is no {family} type; write a number from 0 to 255, or one of {known}")]
    NotAType { text: String, family: &'static str, known: String },
    /// Something that is no protocol.
    #[error("`{text}` is no IP protocol; write a number from 0 to 255")]
    NotAProtocol { text: String },
}

/// Names of ICMP types (IANA), as `ping` and `nft` spell them.
const ICMP_TYPES: [(&str, u8); 11] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("source-quench", 4),
];

/// Names of `ICMPv6` types (IANA).
const ICMP6_TYPES: [(&str, u8); 6] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
];

const TRANSPORTS: [(&str, u8); 3] =
    [("tcp", protocol::TCP), ("udp", protocol::UDP), ("sctp", protocol::SCTP)];

impl Service {
    /// The points that it covers.
    pub fn points(self) -> Vec<RangeInclusive<Point>> {
        let icmp = |protocol, kind: u8| {
            let first = u16::from(kind) << 8;
            Point::port(protocol, first)..=Point::port(protocol, first | 0xff)
        };
        match self {
            Self::Any => vec![Point::FIRST..=Point::LAST],
            Self::Ping => {
                vec![icmp(protocol::ICMP, icmp::ECHO), icmp(protocol::ICMPV6, icmp::V6_ECHO)]
            }
            Self::Protocol(number) => vec![Point::port(number, 0)..=Point::port(number, u16::MAX)],
            Self::Ports { protocol, first, last } => {
                vec![Point::port(protocol, first)..=Point::port(protocol, last)]
            }
            Self::Icmp { protocol, kind } => vec![icmp(protocol, kind)],
        }
    }
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let unknown = || ServiceError::Unknown { text: text.to_owned() };
        let (name, detail) = match text.split_once('/') {
            Some((name, detail)) => (name, Some(detail)),
            None => (text, None),
        };
        let transport = TRANSPORTS.iter().find(|(known, _)| *known == name).map(|&(_, number)| number);
        match (name, detail) {
            ("any", None) => Ok(Self::Any),
            ("ping", None) => Ok(Self::Ping),
            ("icmp", None) => Ok(Self::Protocol(protocol::ICMP)),
            ("icmp6", None) => Ok(Self::Protocol(protocol::ICMPV6)),
            ("icmp", Some(kind)) => icmp_type(protocol::ICMP, "ICMP", &ICMP_TYPES, kind),
            ("icmp6", Some(kind)) => icmp_type(protocol::ICMPV6, "ICMPv6", &ICMP6_TYPES, kind),
            ("proto", Some(number)) => decimal(number)
                .map(Self::Protocol)
                .ok_or_else(|| ServiceError::NotAProtocol { text: number.to_owned() }),
            (_, None) => transport.map(Self::Protocol).ok_or_else(unknown),
            (_, Some(range)) => ports(transport.ok_or_else(unknown)?, range),
        }
    }
}

/// A number as people write it: digits only, no sign, no leading zero.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn ports(protocol: u8, range: &str) -> Result<Service, ServiceError> {
    let port = |text: &str| decimal(text).ok_or_else(|| ServiceError::NotAPort { text: text.to_owned() });
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(range)?, port(range)?),
    };
    match (first, last) {
        (first, last) if first > last => Err(ServiceError::EmptyRange { first, last }),
        (0, u16::MAX) => Ok(Service::Protocol(protocol)),
        _ => Ok(Service::Ports { protocol, first, last }),
    }
}

fn icmp_type(
    protocol: u8,
    family: &'static str,
    known: &[(&str, u8)],
    text: &str,
) -> Result<Service, ServiceError> {
    let named = known.iter().find(|(name, _)| *name == text).map(|&(_, kind)| kind);
    let kind = named.or_else(|| decimal(text)).ok_or_else(|| {
        let spelled: Vec<&str> = known.iter().map(|&(name, _)| name).collect();
        ServiceError::NotAType { text: text.to_owned(), family, known: spelled.join(", ") }
    })?;
    Ok(Service::Icmp { protocol, kind })
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = |number: u8| TRANSPORTS.iter().find(|(_, known)| *known == number);
        match *self {
            Self::Any => f.write_str("any"),
            Self::Ping => f.write_str("ping"),
            Self::Protocol(protocol::ICMP) => f.write_str("icmp"),
            Self::Protocol(protocol::ICMPV6) => f.write_str("icmp6"),
            Self::Protocol(number) => match transport(number) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "proto/{number}"),
            },
            Self::Ports { protocol, first, last } => {
                let name = transport(protocol).map_or("proto", |(name, _)| name);
                if first == last { write!(f, "{name}/{first}") } else { write!(f, "{name}/{first}-{last}") }
            }
            Self::Icmp { protocol: protocol::ICMP, kind } => write!(f, "icmp/{kind}"),
            Self::Icmp { kind, .. } => write!(f, "icmp6/{kind}"),
        }
    }
}

impl From<Service> for String {
    fn from(service: Service) -> Self {
        service.to_string()
    }
}

impl TryFrom<String> for Service {
    type Error = ServiceError;

    fn try_from(text: String) -> Result<Self, ServiceError> {
        text.parse()
    }
}
