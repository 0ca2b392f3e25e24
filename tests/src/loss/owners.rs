//! Who may have lost a packet: counters of the enforcer, of the machine and of the workloads' own stacks.

use std::collections::BTreeMap;
use std::fs;

use super::scene::Scene;
use crate::netns::NetNs;

/// Counters by name, to be compared with earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners(BTreeMap<String, u64>);

/// Packets that the machine had no room for in a processor's backlog.
pub const BACKLOG: &str = "backlog of the machine";
/// Datagrams that a socket had no room for.
pub const SOCKETS: &str = "socket buffers";
/// Packets that the policy denied.
pub const DENIALS: &str = "enforcer: default-deny";
/// Prefix of the enforcer's own reasons.
const ENFORCER: &str = "enforcer: ";

impl Owners {
    /// Reads all counters now.
    #[track_caller]
    pub fn read(scene: &Scene) -> Self {
        let mut all = BTreeMap::from([(BACKLOG.to_owned(), backlog_drops())]);
        for (reason, packets) in scene.daemon.counts("drop") {
            all.insert(format!("{ENFORCER}{reason}"), packets);
        }
        for stack in scene.workloads().map(|workload| Stack::read(workload.netns())) {
            *all.entry(SOCKETS.to_owned()).or_default() += stack.without_room();
        }
        Self(all)
    }

    /// What was added since.
    pub fn since(&self, before: &Self) -> Self {
        let added = |(name, count): (&String, &u64)| {
            (name.clone(), count.saturating_sub(before.0.get(name).copied().unwrap_or(0)))
        };
        Self(self.0.iter().map(added).collect())
    }

    /// One counter.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Those that are not 0.
    pub fn counted(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter(|(_, count)| **count > 0).map(|(name, count)| (name.as_str(), *count))
    }
}

/// Second column of every processor's line, hexadecimal.
fn backlog_drops() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").expect("every kernel has one");
    let dropped = text.lines().filter_map(|line| line.split_whitespace().nth(1));
    dropped.map(|count| u64::from_str_radix(count, 16).expect("a hexadecimal number")).sum()
}

/// The counters of one namespace's network stack, as `Group.Name`.
struct Stack(BTreeMap<String, u64>);

impl Stack {
    fn read(netns: &NetNs) -> Self {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        let [snmp, snmp6] = netns.enter(|| ["snmp", "snmp6"].map(read));
        let mut counters = in_columns(&snmp);
        counters.extend(snmp6.lines().filter_map(|line| {
            let (name, count) = line.split_once(char::is_whitespace)?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        }));
        Self(counters)
    }

    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn without_room(&self) -> u64 {
        self.of("Udp.RcvbufErrors") + self.of("Udp6RcvbufErrors")
    }
}

/// Pairs of lines: the names of a group, then its counts.
fn in_columns(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let groups = lines.chunks_exact(2).filter_map(|pair| {
        let ((group, names), (_, counts)) = (pair[0].split_once(':')?, pair[1].split_once(':')?);
        Some(names.split_whitespace().zip(counts.split_whitespace()).filter_map(move |(name, count)| {
            // A few are signed, and none of those is asked for.
            Some((format!("{group}.{name}"), count.parse().ok()?))
        }))
    });
    groups.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_the_kernel_are_understood() {
        let counters =
            in_columns("Tcp: MaxConn InSegs\nTcp: -1 7\nUdp: InDatagrams RcvbufErrors\nUdp: 5 3\n");
        let stack = Stack(counters);
        assert_eq!((stack.of("Tcp.InSegs"), stack.without_room()), (7, 3));
    }
}
