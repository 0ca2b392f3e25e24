//! The policies that costs are measured under: the same two networks, and ever more rules.

use std::fmt::Write as _;

/// *blue* over several subnets, and *db*; nobody is in both.
pub const NETWORKS: &str = r#"
version = 1
[network.blue]
prefixes = ["10.1.0.0/24", "10.7.3.0/26", "2001:db8:1::/64", "2001:db8:73::/64"]
[network.db]
prefixes = ["10.9.0.0/24", "2001:db8:9::/64"]
"#;

/// Groups that have rules with each other, and with nobody whose packets are measured: squared, the rules.
const GROUPS: u32 = 100;
/// Ports in the one rule that is asked for.
const PORTS: u32 = 10_000;

/// What decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// Networks alone.
    Networks,
    /// And one rule, about one port.
    OneRule,
    /// And ten thousand rules between others.
    ManyRules,
    /// And the one rule is about ten thousand ports and a range.
    ManyPorts,
}

impl Law {
    /// In the order in which they take turns.
    pub const ALL: [Self; 4] = [Self::Networks, Self::OneRule, Self::ManyRules, Self::ManyPorts];

    /// The text of the policy.
    pub fn policy(self) -> String {
        match self {
            Self::Networks => NETWORKS.to_owned(),
            Self::OneRule => format!("{NETWORKS}{}", rule("\"udp/53\"")),
            Self::ManyRules => format!("{NETWORKS}{}{}", rule("\"udp/53\""), others()),
            Self::ManyPorts => format!("{NETWORKS}{}{}", rule(&many_ports()), others()),
        }
    }
}

fn rule(services: &str) -> String {
    format!("[[rule]]\nname = \"blue asks db\"\nfrom = [\"blue\"]\nto = [\"db\"]\nallow = [{services}]\n")
}

/// Every second port, so that none joins another, 53 among them.
fn many_ports() -> String {
    let ports: String = (0..PORTS).fold(String::new(), |mut text, port| {
        write!(text, "\"udp/{}\", ", 2 * port + 1).expect("a string");
        text
    });
    format!("{ports}\"udp/30000-40000\"")
}

fn others() -> String {
    let mut text = String::new();
    for group in 0..GROUPS {
        let prefixes = format!("\"172.16.{group}.0/24\", \"2001:db8:f:{group:x}::/64\"");
        write!(text, "[group.g{group}]\nprefixes = [{prefixes}]\n").expect("a string");
    }
    for number in 0..GROUPS * GROUPS {
        let (from, to) = (number / GROUPS, number % GROUPS);
        write!(text, "[[rule]]\nname = \"rule {number}\"\nallow = [\"tcp/{}\"]\n", number + 1)
            .expect("a string");
        write!(text, "from = [\"g{from}\"]\nto = [\"g{to}\"]\n").expect("a string");
    }
    text
}
