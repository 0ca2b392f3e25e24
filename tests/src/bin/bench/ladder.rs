//! The ladder: what a host may do with a packet between two of its workloads, from nothing to thousands of rules.

use std::any::Any;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use enforcer_tests::cost::NETWORKS;
use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::packet::{BLUE_A, BLUE_B, Family};
use enforcer_tests::{Daemon, Host, NetNs};

/// What decides about a packet, and forwards it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rung {
    /// Nothing: it ends where it enters the host. The sender's part of all others.
    FirstHop,
    /// There is no host: one veth from workload to workload.
    DirectVeth,
    /// A program that hands everything over, unseen: the floor.
    RedirectPeer,
    Routing,
    Bridge,
    /// So many rules, all but the last about others, and connection tracking.
    IptablesLegacy(u32),
    IptablesNft(u32),
    /// A set of so many addresses for both ends.
    Ipset(u32),
    NftSet(u32),
    /// A verdict for so many pairs of addresses.
    NftMap(u32),
    /// A policy of so many networks.
    Enforcer(u32),
    /// The same of two, edited again and again.
    Edited,
    /// The same of two, with flows in the kernel's own kind of table.
    KernelTables,
    /// The same of two, and the host's stack forwards.
    ByTheStack,
    /// The same of two, with a guard where workloads send.
    Guarded,
    /// The same of two, by another binary.
    Other(&'static Path),
}

/// Interfaces of a host, by what they lead to.
#[derive(Clone, Copy)]
pub struct Doors<'name> {
    pub endpoints: &'name [&'name str],
    pub uplinks: &'name [&'name str],
}

/// Flows that the enforcer has room for on both processors: twice the most that are sent, from one of them.
const FLOWS: u32 = 1 << 22;

/// In the order of the table. All are compared with [`Rung::Routing`].
pub const LADDER: [Rung; 24] = [
    Rung::FirstHop,
    Rung::DirectVeth,
    Rung::RedirectPeer,
    Rung::Routing,
    Rung::Bridge,
    Rung::IptablesLegacy(10),
    Rung::IptablesLegacy(1_000),
    Rung::IptablesLegacy(10_000),
    Rung::IptablesNft(10),
    Rung::IptablesNft(1_000),
    Rung::IptablesNft(10_000),
    Rung::Ipset(1_000),
    Rung::Ipset(10_000),
    Rung::Ipset(100_000),
    Rung::NftSet(1_000),
    Rung::NftSet(10_000),
    Rung::NftSet(100_000),
    Rung::NftMap(10_000),
    Rung::Enforcer(2),
    Rung::Enforcer(10_000),
    Rung::Edited,
    Rung::KernelTables,
    Rung::ByTheStack,
    Rung::Guarded,
];

impl Rung {
    /// What the table calls it.
    pub fn name(self) -> String {
        match self {
            Self::FirstHop => "first hop alone".to_owned(),
            Self::DirectVeth => "one veth between both, no host".to_owned(),
            Self::RedirectPeer => "constant redirect_peer".to_owned(),
            Self::Routing => "routing, no firewall".to_owned(),
            Self::Bridge => "bridge, no firewall".to_owned(),
            Self::IptablesLegacy(rules) => format!("iptables-legacy, conntrack, {rules} rules to walk"),
            Self::IptablesNft(rules) => format!("iptables-nft, conntrack, {rules} rules to walk"),
            Self::Ipset(prefixes) => format!("iptables-legacy, ipset of {prefixes} addresses"),
            Self::NftSet(prefixes) => format!("nftables, interval set of {prefixes} addresses"),
            Self::NftMap(pairs) => format!("nftables, verdict map of {pairs} pairs"),
            Self::Enforcer(networks) => format!("enforcer, {networks} networks"),
            Self::Edited => "enforcer, 2 networks, edited before each measurement".to_owned(),
            Self::KernelTables => "enforcer, 2 networks, tables = \"kernel\"".to_owned(),
            Self::ByTheStack => "enforcer, 2 networks, fastpath = \"off\"".to_owned(),
            Self::Guarded => "enforcer, 2 networks, guard (XDP) at the workloads".to_owned(),
            Self::Other(binary) => format!("{}, 2 networks", binary.display()),
        }
    }

    /// Of a rung that is there with few and with many: what it is, and with how many rules, networks or addresses.
    pub fn entries(self) -> Option<(&'static str, u32)> {
        match self {
            Self::IptablesLegacy(rules) => Some(("iptables-legacy", rules)),
            Self::IptablesNft(rules) => Some(("iptables-nft", rules)),
            Self::Ipset(addresses) => Some(("iptables-legacy, ipset", addresses)),
            Self::NftSet(addresses) => Some(("nftables, interval set", addresses)),
            Self::Enforcer(networks) => Some(("enforcer", networks)),
            _ => None,
        }
    }

    /// Whether packets get to the receiver.
    pub fn arrives(self) -> bool {
        self != Self::FirstHop
    }

    /// Whether a host is between both, so that something is beyond the first hop.
    pub fn forwards(self) -> bool {
        !matches!(self, Self::FirstHop | Self::DirectVeth)
    }

    /// Rules so many that a round with them takes long.
    pub fn is_slow(self) -> bool {
        matches!(self, Self::IptablesLegacy(rules) | Self::IptablesNft(rules) if rules >= 1_000)
    }

    /// Whether it is there to show what more of the same cost, for which one flow will do.
    pub fn is_for_one_flow(self) -> bool {
        self.is_slow() || matches!(self, Self::Ipset(count) | Self::NftSet(count) if count != 10_000)
    }

    /// Whether a quick run has it: neither what takes long, nor what differs from another one in its figures alone.
    pub fn is_quick(self) -> bool {
        !self.is_for_one_flow() && !matches!(self, Self::IptablesNft(_) | Self::Enforcer(10_000))
    }

    /// Whether it is also measured between a workload and a machine beyond an uplink.
    pub fn is_for_uplinks(self) -> bool {
        matches!(
            self,
            Self::FirstHop
                | Self::Routing
                | Self::IptablesLegacy(10)
                | Self::Enforcer(2)
                | Self::KernelTables
                | Self::ByTheStack
        )
    }

    /// Lets it decide on a host with these interfaces. Returns what must live on so that it stays so; `None` for what needs
    /// more than a host, or nothing.
    pub fn set_up(self, host: &Host, doors: Doors) -> Option<Box<dyn Any>> {
        let netns = host.netns();
        match self {
            Self::FirstHop | Self::DirectVeth | Self::RedirectPeer | Self::Routing | Self::Bridge => {
                return None;
            }
            Self::IptablesLegacy(rules) => iptables(netns, "legacy", rules),
            Self::IptablesNft(rules) => iptables(netns, "nft", rules),
            Self::Ipset(prefixes) => ipset(netns, prefixes),
            Self::NftSet(prefixes) => nft(netns, &nft_set(prefixes)),
            Self::NftMap(pairs) => nft(netns, &nft_map(pairs)),
            Self::Enforcer(_)
            | Self::Edited
            | Self::KernelTables
            | Self::ByTheStack
            | Self::Guarded
            | Self::Other(_) => return Some(Box::new(self.enforcer(host, doors))),
        }
        None
    }

    fn enforcer(self, host: &Host, doors: Doors) -> Daemon {
        let networks = if let Self::Enforcer(networks) = self { networks } else { 2 };
        let datapath = match self {
            Self::KernelTables => "tables = \"kernel\"\n",
            Self::ByTheStack => "fastpath = \"off\"\n",
            _ => "",
        };
        let mut config = format!("{ROOMY_CONFIG}[datapath]\nflows = {FLOWS}\n{datapath}");
        if self == Self::Guarded {
            writeln!(config, "[guard]\nmatch = {:?}", doors.endpoints).expect("a string");
        }
        for uplink in doors.uplinks {
            writeln!(config, "[[uplink]]\nmatch = \"{uplink}\"\ntrust = \"fabric\"").expect("a string");
        }
        let mut daemon = Daemon::prepare(host, &config);
        if let Self::Other(binary) = self {
            daemon.use_binary(binary);
        }
        daemon.start_again();
        daemon.apply(&policy(networks));
        daemon.wait_ready(doors.endpoints);
        daemon
    }
}

/// One prefix of a network comes, or goes: packets that are measured are about none of it.
pub fn edit(daemon: &Daemon, round: usize) {
    let prefixes =
        if round.is_multiple_of(2) { "\"192.0.2.0/24\"" } else { "\"192.0.2.0/24\", \"198.51.100.0/24\"" };
    daemon.apply(&format!("{NETWORKS}[network.edited]\nprefixes = [{prefixes}]\n"));
}

/// The two, and others with a prefix of each family.
fn policy(networks: u32) -> String {
    let mut text = NETWORKS.to_owned();
    for number in 2..networks {
        let [_, _, high, low] = number.to_be_bytes();
        writeln!(
            text,
            "[network.tenant-{number}]\nprefixes = [\"100.{high}.{low}.0/24\", \"2001:db8:f:{number:x}::/64\"]"
        )
        .expect("a string");
    }
    text
}

/// Addresses of others, each another one.
fn other(family: Family, number: u32) -> String {
    let [_, highest, high, low] = number.to_be_bytes();
    match family {
        Family::V4 => format!("172.{}.{high}.{low}", 16 + highest),
        Family::V6 => format!("2001:db8:f::{highest:x}:{:x}", number & 0xffff),
    }
}

fn iptables(host: &NetNs, variant: &str, rules: u32) {
    for (family, prefix) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        let mut text = String::from("*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n");
        for number in 1..rules {
            let (source, port) = (other(family, number), 1024 + number % 60_000);
            writeln!(text, "-A FORWARD -s {source} -p udp --dport {port} -j DROP").expect("a string");
        }
        text += "-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\nCOMMIT\n";
        feed(host, &format!("{prefix}tables-{variant}-restore"), &[], &text);
    }
    // What a container sends bears no checksum yet, and is not verified either.
    host.sysctls(&[("net/netfilter/nf_conntrack_checksum", "0")]);
}

fn ipset(host: &NetNs, prefixes: u32) {
    for (family, prefix, kind) in [(Family::V4, "ip", "inet"), (Family::V6, "ip6", "inet6")] {
        let mut text = format!("create {kind} hash:net family {kind} maxelem {prefixes}\n");
        for member in members(family, prefixes) {
            writeln!(text, "add {kind} {member}").expect("a string");
        }
        feed(host, "ipset", &["restore"], &text);
        let rules = format!(
            "*filter\n:FORWARD DROP\n-A FORWARD -m set --match-set {kind} src -m set --match-set {kind} dst -j ACCEPT\nCOMMIT\n"
        );
        feed(host, &format!("{prefix}tables-legacy-restore"), &[], &rules);
    }
}

/// So many addresses, no two of which are neighbours and so one interval; among them both workloads'.
fn members(family: Family, count: u32) -> impl Iterator<Item = String> {
    let both = [BLUE_A, BLUE_B].map(|party| party.on(family).to_string());
    (0..count.saturating_sub(2)).map(move |number| other(family, 2 * number)).chain(both)
}

fn nft_set(addresses: u32) -> String {
    let mut text = String::from("table inet bench {\n");
    for (family, kind) in [(Family::V4, "ipv4_addr"), (Family::V6, "ipv6_addr")] {
        let elements = members(family, addresses).collect::<Vec<_>>().join(", ");
        writeln!(text, "set {family:?} {{ type {kind}; flags interval; elements = {{ {elements} }}; }}")
            .expect("a string");
    }
    text + "chain forward { type filter hook forward priority 0; policy drop;\n\
            ip saddr @V4 ip daddr @V4 accept\nip6 saddr @V6 ip6 daddr @V6 accept\n}\n}\n"
}

fn nft_map(pairs: u32) -> String {
    let mut text = String::from("table inet bench {\n");
    for (family, kind) in [(Family::V4, "ipv4_addr"), (Family::V6, "ipv6_addr")] {
        let mut elements = format!("{} . {} : accept", BLUE_A.on(family), BLUE_B.on(family));
        for number in 1..pairs {
            let (source, target) = (other(family, number), other(family, number ^ 1));
            write!(elements, ", {source} . {target} : accept").expect("a string");
        }
        writeln!(text, "map {family:?} {{ type {kind} . {kind} : verdict; elements = {{ {elements} }}; }}")
            .expect("a string");
    }
    text + "chain forward { type filter hook forward priority 0; policy drop;\n\
            ip saddr . ip daddr vmap @V4\nip6 saddr . ip6 daddr vmap @V6\n}\n}\n"
}

fn nft(host: &NetNs, rules: &str) {
    feed(host, "nft", &["-f", "-"], rules);
}

/// Runs a command with this input; panics when it fails.
pub fn feed(netns: &NetNs, program: &str, arguments: &[&str], input: &str) {
    let child = netns.command(program).args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("failed to start {program}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).unwrap_or_else(|error| panic!("{program} does not read: {error}"));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
