//! Who is where in the fabric, and who reaches whom there. Both are the same on every underlay.

use crate::fabric::Underlay;
use crate::host::Host;
use crate::traffic::Protocol;
use crate::workload::Workload;

/// The policy of both hosts.
pub const POLICY: &str = include_str!("policy.toml");

/// What the policy means: the letters of what an answer comes to, by row (who asks) and column (who is asked).
///
/// Written by hand, not computed: nothing that could be wrong in the same way as the enforcer has a say in it.
#[rustfmt::skip]
const EXPECTED: [(&str, [&str; 8]); 8] = [
    //           web    db     hub    probe  api    store  shop   watch
    ("web",   [".",   "---", "TUP", "---", "TUP", "---", "---", "---"]),
    ("db",    ["---", ".",   "TUP", "---", "---", "TUP", "---", "---"]),
    ("hub",   ["TUP", "TUP", ".",   "---", "TUP", "TUP", "---", "---"]),
    ("probe", ["T-P", "---", "T-P", ".",   "T-P", "---", "---", "---"]),
    ("api",   ["TUP", "---", "TUP", "---", ".",   "---", "---", "---"]),
    ("store", ["---", "TUP", "TUP", "---", "---", ".",   "---", "---"]),
    ("shop",  ["---", "T--", "T--", "---", "---", "T--", ".",   "---"]),
    ("watch", ["T-P", "---", "T-P", "---", "T-P", "---", "---", "."]),
];

/// A workload of the fabric.
#[derive(Debug)]
pub struct Place {
    /// Its name; the host side of its veth is `veth-<name>`.
    pub name: &'static str,
    /// Its addresses. How long their subnet's prefix is depends on the underlay.
    pub ipv4: &'static str,
    /// The same for IPv6.
    pub ipv6: &'static str,
    /// Whether it has a link of its own where the underlay leaves the choice.
    is_routed: bool,
    /// What it is a member of, in words.
    pub membership: &'static str,
}

const fn routed(
    name: &'static str,
    ipv4: &'static str,
    ipv6: &'static str,
    membership: &'static str,
) -> Place {
    Place { name, ipv4, ipv6, is_routed: true, membership }
}

const fn bridged(
    name: &'static str,
    ipv4: &'static str,
    ipv6: &'static str,
    membership: &'static str,
) -> Place {
    Place { name, ipv4, ipv6, is_routed: false, membership }
}

/// The workloads of each host, in three subnets each.
#[rustfmt::skip]
pub const PLACES: [[Place; 4]; 2] = [
    [
        bridged("web",   "10.10.1.10",  "2001:db8:a:101::10",  "blue"),
        bridged("db",    "10.10.1.20",  "2001:db8:a:101::20",  "green"),
        routed("hub",    "10.10.1.70",  "2001:db8:a:102::70",  "blue, green"),
        routed("probe",  "10.10.1.140", "2001:db8:a:103::140", "(monitors)"),
    ],
    [
        routed("api",    "10.10.2.10",  "2001:db8:a:201::10",  "blue"),
        bridged("store", "10.10.2.80",  "2001:db8:a:202::80",  "green"),
        bridged("shop",  "10.10.2.90",  "2001:db8:a:202::90",  "red"),
        routed("watch",  "10.10.2.140", "2001:db8:a:203::140", "(monitors)"),
    ],
];

impl Place {
    /// Creates the workload as the underlay wants it.
    #[track_caller]
    pub(crate) fn build(&self, host: &Host, underlay: Underlay) -> Workload {
        let (ipv4, ipv6) = underlay.subnets();
        let mut workload = host.workload(self.name);
        if let Some(length) = ipv4 {
            workload = workload.at(&format!("{}/{length}", self.ipv4));
        }
        workload = workload.at(&format!("{}/{ipv6}", self.ipv6));
        if underlay.leaves_the_choice() && self.is_routed { workload.routed() } else { workload.bridged() }
    }
}

/// Whether the policy lets one workload open this to another.
pub fn may_open(from: &Workload, to: &Workload, protocol: Protocol) -> bool {
    let place = |workload: &Workload| {
        let found = EXPECTED.iter().position(|(name, _)| *name == workload.name());
        found.expect("whoever is asked has a place in the table")
    };
    let letter = match protocol {
        Protocol::Tcp(_) => 'T',
        Protocol::Udp(_) => 'U',
        Protocol::Ping => 'P',
    };
    EXPECTED[place(from)].1[place(to)].contains(letter)
}
