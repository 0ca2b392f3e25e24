//! Random policies, over a few prefixes that lie within and next to each other.

use std::fmt::Write as _;

use ipnet::IpNet;
use proptest::{collection::vec, prelude::*, sample::select};

/// What networks and groups are made of.
const PREFIXES: [&str; 26] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.0.0/24",
    "10.1.0.0/25",
    "10.1.0.4/30",
    "10.1.0.5/32",
    "10.1.0.6/32",
    "10.1.1.0/24",
    "10.2.0.0/24",
    "10.2.0.128/25",
    "203.0.113.0/24",
    "::/0",
    "::/1",
    "8000::/1",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1::/64",
    "2001:db8:1::4/126",
    "2001:db8:1::5/128",
    "2001:db8:1::6/128",
    "2001:db8:1:1::/64",
    "2001:db8:2::/64",
    "64:ff9b::/96",
];

/// What only a rule may name.
const LINK_LOCAL: [&str; 5] =
    ["169.254.0.0/16", "169.254.169.254/32", "fe80::/10", "fe80::/64", "fe80::5/128"];

const SERVICES: [&str; 26] = [
    "any",
    "tcp",
    "udp",
    "sctp",
    "ping",
    "icmp",
    "icmp6",
    "tcp/22",
    "tcp/53",
    "tcp/4000",
    "tcp/0-1023",
    "udp/53",
    "udp/67-68",
    "udp/4000",
    "udp/0-99",
    "udp/100-65535",
    "sctp/22",
    "icmp/0",
    "icmp/3",
    "icmp/8",
    "icmp6/1",
    "icmp6/2",
    "icmp6/129",
    "proto/44",
    "proto/47",
    "proto/60",
];

/// Prefixes and exceptions, by their indices.
type Set = (Vec<usize>, Vec<usize>);

/// A policy that is not written yet.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    networks: Vec<Set>,
    /// Networks that are being audited.
    audited: Vec<bool>,
    groups: Vec<Set>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Names come and go, so that the order of ids is not that of names.
    name: u8,
    deny: bool,
    /// If it denies.
    audit: bool,
    from: Set,
    to: Set,
    services: Vec<&'static str>,
}

impl Sketch {
    pub(super) fn any() -> impl Strategy<Value = Self> + Clone {
        let prefixes = |least| vec(0..PREFIXES.len(), least..5);
        let sets = move |most: usize| vec((prefixes(1), prefixes(0)), 0..most);
        let side = || {
            (vec(any::<usize>(), 1..3), prop_oneof![3 => Just(Vec::new()), 1 => vec(any::<usize>(), 1..3)])
        };
        let broad = select(&["any", "tcp", "udp", "ping"][..]);
        let services = vec(prop_oneof![1 => broad, 2 => select(&SERVICES[..])], 1..5);
        let actions = (prop::bool::weighted(0.35), prop::bool::weighted(0.4));
        let rule = (0..9_u8, actions, side(), side(), services).prop_map(
            |(name, (deny, audit), from, to, services)| Rule { name, deny, audit, from, to, services },
        );
        let audited = vec(prop::bool::weighted(0.3), 4);
        (sets(4), audited, sets(3), vec(rule, 0..9)).prop_map(|(networks, audited, groups, rules)| Self {
            networks,
            audited,
            groups,
            rules,
        })
    }

    /// The policy as a file.
    pub(super) fn text(&self) -> String {
        let mut text = "version = 1\n".to_owned();
        for (kind, letter, sets) in [("network", 'n', &self.networks), ("group", 'g', &self.groups)] {
            for (number, (prefixes, except)) in sets.iter().enumerate() {
                let prefixes = chosen(prefixes);
                let mut except = chosen(except);
                // An exception from nothing is a mistake.
                except.retain(|except| {
                    prefixes.iter().any(|prefix| prefix.contains(except) || except.contains(prefix))
                });
                let _ = write!(
                    text,
                    "[{kind}.{letter}{number}]\nprefixes = {}\nexcept = {}\n",
                    list(&prefixes),
                    list(&except)
                );
                if kind == "network" && self.audited[number] {
                    text += "mode = \"audit\"\n";
                }
            }
        }
        let mut written = Vec::new();
        for rule in &self.rules {
            if !written.contains(&rule.name) {
                written.push(rule.name);
                text += &self.rule(rule);
            }
        }
        text
    }

    fn rule(&self, rule: &Rule) -> String {
        let known = self.names();
        // So often that rules match at all.
        let words = ["any", "any", "any", "any", "world", "host", "host"].map(str::to_owned);
        let all = [&words[..], &known].concat();
        let (from, mut to) = (pick(&all, &rule.from.0), pick(&all, &rule.to.0));
        // No packet goes from one family to the other, and who writes such a rule is told so.
        if let (Some(one), Some(other)) = (only_family(&from), only_family(&to))
            && one != other
        {
            to.push("any".to_owned());
        }
        let except = |ends: &[String], except: &[usize]| {
            let host_alone = ends.iter().all(|end| end == "host");
            if host_alone { Vec::new() } else { pick(&known, except) }
        };
        let mut services = rule.services.clone();
        services.sort_unstable();
        services.dedup();
        format!(
            "[[rule]]\nname = \"r{}\"\nfrom = {from:?}\nto = {to:?}\nexcept_from = {:?}\nexcept_to = {:?}\n{} = {services:?}\n{}",
            rule.name,
            except(&from, &rule.from.1),
            except(&to, &rule.to.1),
            if rule.deny { "deny" } else { "allow" },
            if rule.deny && rule.audit { "mode = \"audit\"\n" } else { "" },
        )
    }

    /// What a rule may except, and name besides the words.
    fn names(&self) -> Vec<String> {
        let numbered = |letter: char, count: usize| (0..count).map(move |number| format!("{letter}{number}"));
        let mut names: Vec<String> =
            numbered('n', self.networks.len()).chain(numbered('g', self.groups.len())).collect();
        let globs: Vec<String> = ["*", "n*", "g?", "?1"]
            .into_iter()
            .filter(|glob| names.iter().any(|name| is_like(glob, name)))
            .map(str::to_owned)
            .collect();
        names.extend(globs);
        // Twice, so that names are not drowned.
        names.extend(names.clone());
        names.extend(PREFIXES.iter().step_by(4).chain(&LINK_LOCAL).map(|&text| text.to_owned()));
        names
    }
}

/// For the patterns above: one character each, but for the star.
fn is_like(glob: &str, name: &str) -> bool {
    let mut pairs = glob.chars().zip(name.chars());
    pairs.all(|(pattern, letter)| "*?".contains(pattern) || pattern == letter)
}

/// Each once.
fn pick(all: &[String], indices: &[usize]) -> Vec<String> {
    let mut picked: Vec<String> = indices.iter().map(|index| all[index % all.len()].clone()).collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

/// Whether all are IPv4, if all are prefixes of one family.
fn only_family(ends: &[String]) -> Option<bool> {
    let families: Option<Vec<bool>> =
        ends.iter().map(|end| end.parse::<IpNet>().ok().map(|net| net.addr().is_ipv4())).collect();
    let families = families?;
    families.iter().all(|family| *family == families[0]).then(|| families[0])
}

/// Each once.
fn chosen(indices: &[usize]) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> =
        indices.iter().map(|&index| PREFIXES[index].parse().expect("a prefix")).collect();
    nets.sort_unstable();
    nets.dedup();
    nets
}

fn list(nets: &[IpNet]) -> String {
    format!("{:?}", nets.iter().map(ToString::to_string).collect::<Vec<_>>())
}
