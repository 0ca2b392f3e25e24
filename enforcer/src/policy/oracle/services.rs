//! Whether the services of a rule cover a packet.

use std::collections::BTreeSet;

use super::{
    super::service::Service,
    extension::is_extension,
    flow::{Flow, ICMP, ICMPV6},
};

/// Whether a rule is about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cover {
    No,
    /// It depends on ports that nobody knows.
    Perhaps,
    Surely,
}

/// Whether one of the services is about packets of `flow`.
pub(super) fn cover(services: &BTreeSet<Service>, flow: &Flow) -> Cover {
    if let Some((_, port)) = flow.ports {
        let covered = services.iter().any(|&service| covers(service, flow, port));
        return if covered { Cover::Surely } else { Cover::No };
    }
    if !is_extension(flow.protocol) {
        return cover_protocol(services, flow.protocol);
    }
    // Extension headers in front of who knows what.
    let everything = (0..=255).all(|protocol| cover_protocol(services, protocol) == Cover::Surely);
    if everything { Cover::Surely } else { Cover::Perhaps }
}

fn covers(service: Service, flow: &Flow, port: u16) -> bool {
    match service {
        Service::Any => true,
        Service::Ping => flow.is_echo_request(),
        Service::Protocol(protocol) => flow.protocol == protocol,
        Service::Ports { protocol, first, last } => {
            flow.protocol == protocol && (first..=last).contains(&port)
        }
        Service::Icmp { protocol, kind } => {
            flow.protocol == protocol && flow.icmp.is_some_and(|(other, _)| other == kind)
        }
    }
}

/// Whether the services, taken together, are about all packets of a protocol, or about some.
fn cover_protocol(services: &BTreeSet<Service>, protocol: u8) -> Cover {
    let mut ranges: Vec<(u32, u32)> =
        services.iter().filter_map(|&service| range(service, protocol)).collect();
    if ranges.is_empty() {
        return Cover::No;
    }
    ranges.sort_unstable();
    let mut uncovered = 0;
    for (first, last) in ranges {
        if first <= uncovered {
            uncovered = uncovered.max(last + 1);
        }
    }
    if uncovered == 0x1_0000 { Cover::Surely } else { Cover::Perhaps }
}

/// The ports of a protocol that a service is about, or ICMP types times 256 plus codes.
fn range(service: Service, protocol: u8) -> Option<(u32, u32)> {
    let icmp = |kind: u8| (u32::from(kind) << 8, u32::from(kind) << 8 | 0xff);
    match service {
        Service::Any => Some((0, 0xffff)),
        Service::Ping if protocol == ICMP => Some(icmp(8)),
        Service::Ping if protocol == ICMPV6 => Some(icmp(128)),
        Service::Ping => None,
        Service::Protocol(other) => (other == protocol).then_some((0, 0xffff)),
        Service::Ports { protocol: other, first, last } => {
            (other == protocol).then_some((u32::from(first), u32::from(last)))
        }
        Service::Icmp { protocol: other, kind } => (other == protocol).then_some(icmp(kind)),
    }
}
