//! Modes, the host as an end, uplinks' records, and whom stamps stand for.

use std::collections::BTreeMap;

use enforcer_common::{
    address::Address,
    endpoint::{Endpoint, EndpointId, MaskedSender},
    mode::{Mode, ModeRecord},
};

use super::Machine;
use crate::{
    config::{Config, Subject},
    daemon::op::Owned,
};

/// Somebody behind NAT is taken for somebody else, or for an address that was never his.
pub fn masks(machine: &Machine) -> Option<String> {
    let alive = machine.links.iter().filter(|(ifindex, link)| machine.is_alive(**ifindex, link));
    alive.into_iter().find_map(|(ifindex, _)| {
        let record = machine.endpoints.get(ifindex)?;
        let sender = machine.senders.get(&record.stamp)?;
        let interface = &machine.host.interfaces[ifindex];
        let name = &interface.veth.name;
        if sender.endpoint != record.id {
            return Some(format!("{name} (endpoint {}) is taken for {sender:?} behind NAT", record.id.0));
        }
        let addresses = [sender.v4, sender.v6].into_iter().filter(|address| *address != Address::default());
        let stolen = addresses.map(|address| Owned { address, bits: 128 });
        let mut stolen = stolen.filter(|owned| !interface.given.iter().any(|given| given.covers(owned)));
        stolen.next().map(|address| format!("{name} is taken for {} behind NAT", address.text()))
    })
}

/// What the host file says, and what follows from who owns what.
pub fn at_rest(machine: &Machine, config: &Config) -> Option<String> {
    let configured = |slot: u32| {
        let record = machine.modes.get(&slot).copied().unwrap_or_default();
        Mode::from_number(record.configured)
    };
    if configured(ModeRecord::HOST) != Some(config.mode) || machine.host_end != *config.host.end() {
        return Some("the kernel does not know what the host file says of the host".to_owned());
    }
    for (ifindex, record) in &machine.endpoints {
        let name = &machine.host.interfaces[ifindex].veth.name;
        let is_external = record.flags & Endpoint::EXTERNAL != 0;
        if record.id == EndpointId::REMOTE && is_external != (name == "eth1") {
            return Some(format!("{name} is external: {is_external}"));
        }
        let wanted = config.mode_of(Subject::named(name));
        if record.id != EndpointId::REMOTE && configured(record.id.0) != wanted {
            return Some(format!("{name} has the mode {:?}, should be {wanted:?}", configured(record.id.0)));
        }
    }
    let wanted = senders(machine);
    (machine.senders != wanted)
        .then(|| format!("stamps stand for {:?}, should be {wanted:?}", machine.senders))
}

fn senders(machine: &Machine) -> BTreeMap<u32, MaskedSender> {
    let mut senders = BTreeMap::new();
    let endpoints = || machine.endpoints.iter().filter(|(_, record)| record.id != EndpointId::REMOTE);
    for (ifindex, record) in endpoints() {
        let alone = endpoints().filter(|(_, other)| other.stamp == record.stamp).count() == 1;
        let owned = machine.addresses.iter().filter(|(_, owner)| owner.endpoint == record.id);
        let owned: Vec<&Owned> = owned.map(|(owned, _)| owned).collect();
        let only = |v4: bool| match owned.iter().filter(|it| it.address.is_v4() == v4).collect::<Vec<_>>()[..]
        {
            [one] if one.bits == 128 => one.address,
            _ => Address::default(),
        };
        let sender = MaskedSender { v4: only(true), v6: only(false), endpoint: record.id, ifindex: *ifindex };
        if alone && (sender.v4 != Address::default() || sender.v6 != Address::default()) {
            senders.insert(record.stamp, sender);
        }
    }
    senders
}
