//! Chains of netfilter that what is forwarded or bridged has to pass, and are not our own gate's.

use std::{collections::BTreeSet, fs, io, path::Path};

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{Barrier, Kinds};
use crate::{
    datapath::gate,
    netlink::{self, Scope, attributes, number, word},
};

/// `NFNL_SUBSYS_NFTABLES << 8`, with `NFT_MSG_NEWCHAIN`, `NFT_MSG_GETCHAIN`, `NFT_MSG_NEWGEN`, `NFT_MSG_GETGEN`.
const NFTABLES: u16 = 10 << 8;
const NEW_CHAIN: u16 = NFTABLES | 3;
const GET_CHAIN: u16 = NFTABLES | 4;
const NEW_GENERATION: u16 = NFTABLES | 15;
const GET_GENERATION: u16 = NFTABLES | 16;

/// `struct nfgenmsg`; its first byte is the family.
const GENERIC: usize = 4;

/// Attributes of a chain, of its hook, and of a generation.
const TABLE: u16 = 1;
const NAME: u16 = 3;
const HOOK: u16 = 4;
const POLICY: u16 = 5;
const USE: u16 = 6;
const TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const GENERATION: u16 = 1;

/// `NFPROTO_…`
const INET: u8 = 1;
const IPV4: u8 = 2;
const NETDEV: u8 = 5;
const BRIDGE: u8 = 7;
const IPV6: u8 = 10;

/// `NF_INET_…` hooks that end or begin at the host itself: nothing that is forwarded comes past.
const LOCAL_IN: u32 = 1;
const FORWARD: u32 = 2;
const LOCAL_OUT: u32 = 3;

/// Whether a bridge shows its frames to the rules of IP, and which.
const BRIDGE_ASKS: [(&str, Kinds); 2] = [
    ("/proc/sys/net/bridge/bridge-nf-call-iptables", Kinds::ROUTED_V4),
    ("/proc/sys/net/bridge/bridge-nf-call-ip6tables", Kinds::ROUTED_V6),
];

/// Where the kernel lists the tables of iptables-legacy that somebody has used.
const LEGACY: [(&str, &str, Kinds); 2] = [
    ("/proc/net/ip_tables_names", "iptables-legacy", Kinds::ROUTED_V4),
    ("/proc/net/ip6_tables_names", "ip6tables-legacy", Kinds::ROUTED_V6),
];

/// Modules of ebtables-legacy; what they do is written nowhere.
const EBTABLES: [&str; 3] = ["ebtable_filter", "ebtable_nat", "ebtable_broute"];

/// What netfilter was like when it was looked at last; nftables says whether that still holds.
#[derive(Debug, Default)]
pub struct Chains {
    generation: Option<u32>,
    barriers: Vec<Barrier>,
}

impl Chains {
    /// What is on the way now.
    pub fn barriers(&mut self) -> Vec<Barrier> {
        let mut barriers = self.nftables().unwrap_or_else(|error| {
            self.generation = None;
            vec![Barrier::unseen("nftables", &error)]
        });
        barriers.extend(legacy());
        barriers.extend(ipvs());
        let mut asked = Kinds::NONE;
        for (path, kinds) in BRIDGE_ASKS {
            match read_if_there(path) {
                Ok(value) if matches!(value.trim(), "" | "0") => {}
                _ => asked = asked.and(kinds),
            }
        }
        for barrier in &mut barriers {
            if barrier.blocks.0 & asked.0 != 0 {
                barrier.blocks = barrier.blocks.and(Kinds::BRIDGED);
            }
        }
        barriers
    }

    fn nftables(&mut self) -> io::Result<Vec<Barrier>> {
        let generation = generation()?;
        if generation.is_none() || generation != self.generation {
            // In this order: what changes meanwhile is looked at again.
            self.generation = generation;
            self.barriers = chains()?;
        }
        Ok(self.barriers.clone())
    }
}

/// Counts the changes of nftables; `None` where the kernel has none.
fn generation() -> io::Result<Option<u32>> {
    let mut generation = None;
    let asked =
        netlink::ask(NETLINK_NETFILTER, GET_GENERATION, Scope::One, &[0; GENERIC], |kind, payload| {
            if kind == NEW_GENERATION {
                let mut read = attributes(payload.get(GENERIC..).unwrap_or_default());
                generation = read.find(|(kind, _)| *kind == GENERATION).and_then(|(_, value)| number(value));
            }
        });
    if is_absent(&asked) { Ok(None) } else { asked.map(|()| generation) }
}

fn chains() -> io::Result<Vec<Barrier>> {
    let mut found = BTreeSet::new();
    let asked = netlink::ask(NETLINK_NETFILTER, GET_CHAIN, Scope::All, &[0; GENERIC], |kind, payload| {
        if kind == NEW_CHAIN {
            found.extend(barrier(payload));
        }
    });
    if is_absent(&asked) { Ok(Vec::new()) } else { asked.map(|()| found.into_iter().collect()) }
}

/// Without the module there is nothing that it could do.
fn is_absent(asked: &io::Result<()>) -> bool {
    let code = asked.as_ref().err().and_then(io::Error::raw_os_error);
    matches!(code, Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT))
}

/// A chain that packets come to by themselves, if it can make a difference to what is not the host's.
fn barrier(payload: &[u8]) -> Option<Barrier> {
    let family = *payload.first()?;
    let (mut table, mut name, mut kind_of, mut hook, mut accepts, mut rules) =
        (String::new(), String::new(), String::new(), None, true, 0);
    for (kind, value) in attributes(payload.get(GENERIC..)?) {
        match kind {
            TABLE => table = word(value),
            NAME => name = word(value),
            HOOK => {
                hook = attributes(value)
                    .find(|(kind, _)| *kind == HOOK_NUMBER)
                    .and_then(|(_, hook)| number(hook));
            }
            POLICY => accepts = number(value) != Some(0),
            TYPE => kind_of = word(value),
            USE => rules = number(value)?,
            _ => {}
        }
    }
    let blocks = blocked(family, hook?);
    // An empty one for NAT still translates what began when it had rules.
    let does_nothing = accepts && rules == 0 && kind_of != "nat";
    let harmless = does_nothing || blocks == Kinds::NONE || table == gate::TABLE;
    let family = words(family);
    (!harmless).then(|| Barrier::new(blocks, format!("rules of nftables: {family} {table} {name}")))
}

fn blocked(family: u8, hook: u32) -> Kinds {
    match family {
        INET | IPV4 | IPV6 if matches!(hook, LOCAL_IN | LOCAL_OUT) => Kinds::NONE,
        // Beyond those of IP there is one at the interfaces themselves.
        INET if hook > 4 => Kinds::ALL,
        INET => Kinds::ROUTED,
        IPV4 => Kinds::ROUTED_V4,
        IPV6 => Kinds::ROUTED_V6,
        // What a port sends to its router comes in by the bridge, and what is routed to a port goes out by it.
        BRIDGE if matches!(hook, LOCAL_IN | LOCAL_OUT) => Kinds::ROUTED,
        BRIDGE if hook == FORWARD => Kinds::BRIDGED,
        BRIDGE | NETDEV => Kinds::ALL,
        _ => Kinds::NONE,
    }
}

const fn words(family: u8) -> &'static str {
    match family {
        INET => "inet",
        IPV4 => "ip",
        IPV6 => "ip6",
        BRIDGE => "bridge",
        NETDEV => "netdev",
        _ => "other",
    }
}

/// The older tables: which there are is all that can be seen without asking each for its rules.
fn legacy() -> impl Iterator<Item = Barrier> {
    let tables = LEGACY.into_iter().filter_map(|(path, program, blocks)| match read_if_there(path) {
        Ok(names) if names.trim().is_empty() => None,
        Ok(names) => {
            let names = names.split_whitespace().collect::<Vec<_>>().join(", ");
            Some(Barrier::new(blocks, format!("tables of {program}: {names}")))
        }
        Err(error) => Some(Barrier::unseen(program, &error)),
    });
    let modules = EBTABLES.into_iter().filter(|module| Path::new("/sys/module").join(module).exists());
    tables.chain(modules.map(|module| Barrier::new(Kinds::ALL, format!("ebtables-legacy: {module}"))))
}

/// Virtual servers: answers have to come back past them, and there is no chain that says so.
fn ipvs() -> Option<Barrier> {
    match read_if_there("/proc/net/ip_vs") {
        Ok(services) => {
            let is_service =
                |line: &str| ["TCP", "UDP", "SCTP", "FWM"].iter().any(|kind| line.starts_with(kind));
            services.lines().any(is_service).then(|| Barrier::new(Kinds::ROUTED, "virtual servers (IPVS)"))
        }
        Err(error) => Some(Barrier::unseen("IPVS", &error)),
    }
}

/// A file of the kernel's; without the module that it belongs to there is none, and nothing in it.
pub(super) fn read_if_there(path: &str) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn chain(family: u8, table: &str, hook: u32, policy: u32, rules: u32) -> Vec<u8> {
        let mut bytes = vec![family, 0, 0, 0];
        bytes.extend(attribute(TYPE, if table == "nat" { b"nat\0" } else { b"filter\0" }));
        bytes.extend(attribute(TABLE, format!("{table}\0").as_bytes()));
        bytes.extend(attribute(NAME, b"c\0"));
        bytes.extend(attribute(HOOK, &attribute(HOOK_NUMBER, &hook.to_be_bytes())));
        bytes.extend(attribute(POLICY, &policy.to_be_bytes()));
        bytes.extend(attribute(USE, &rules.to_be_bytes()));
        bytes
    }

    #[test]
    fn a_chain_matters_where_it_drops_or_has_rules() {
        let nat = barrier(&chain(IPV4, "nat", 4, 1, 1)).unwrap();
        assert_eq!((nat.blocks, &*nat.what), (Kinds::ROUTED_V4, "rules of nftables: ip nat c"));
        assert_eq!(barrier(&chain(IPV4, "filter", 2, 1, 0)), None, "empty");
        assert!(barrier(&chain(IPV4, "nat", 4, 1, 0)).is_some(), "empty, but what it has begun goes on");
        assert_eq!(barrier(&chain(IPV6, "filter", 2, 0, 0)).unwrap().blocks, Kinds::ROUTED_V6, "drops");
        assert_eq!(barrier(&chain(INET, "fw", 2, 1, 7)).unwrap().blocks, Kinds::ROUTED);
        assert_eq!(barrier(&chain(INET, "fw", 1, 0, 7)), None, "the host's own");
        let bridge = |hook| barrier(&chain(BRIDGE, "fw", hook, 1, 7)).unwrap().blocks;
        let all = [Kinds::ALL, Kinds::ROUTED, Kinds::BRIDGED, Kinds::ROUTED, Kinds::ALL];
        assert_eq!([0, 1, 2, 3, 4].map(bridge), all, "what is routed comes in and goes out by it");
        assert_eq!(barrier(&chain(NETDEV, "fw", 0, 1, 7)).unwrap().blocks, Kinds::ALL);
        assert_eq!(barrier(&chain(INET, gate::TABLE, 0, 1, 7)), None, "our own gate");
        let mut plain = vec![IPV4, 0, 0, 0];
        plain.extend(attribute(USE, &7_u32.to_be_bytes()));
        assert_eq!(barrier(&plain), None, "nothing comes to it by itself");
    }
}
