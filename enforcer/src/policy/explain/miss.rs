//! What came closest to allowing it.

use std::{fmt, net::IpAddr};

use serde::Serialize;

use super::{party::Party, ruling::overlapping};
use crate::policy::{
    model::{AddressSet, Policy},
    name::{Name, RuleName},
    prefix::Prefix,
    rule::{Action, End, Rule, Side},
    service::Service,
};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Miss {
    /// A network or group covers the address but excepts it.
    Excepted {
        /// The end that is excepted.
        address: IpAddr,
        /// The network or group it would be in.
        network: Name,
        /// The exception.
        except: Prefix,
    },
    /// A rule is about both ends, but excepts one.
    ExceptedByRule {
        /// The end that is excepted.
        address: IpAddr,
        /// The rule.
        rule: RuleName,
        /// The exception.
        except: End,
    },
    /// A rule allows it the other way around.
    OtherWay {
        /// The rule.
        rule: RuleName,
    },
    /// A rule allows both ends something else.
    OtherService {
        /// The rule.
        rule: RuleName,
        /// What it allows.
        allows: Vec<Service>,
        /// What was asked about.
        asked: Service,
    },
    /// The address is in no network.
    Outside {
        /// The end that nothing covers.
        address: IpAddr,
        /// The prefix with most leading bits in common.
        prefix: Prefix,
        /// Its network or group.
        network: Name,
    },
    /// The address is in no network, and no network has a prefix of its family.
    NoPrefixes {
        /// The end that nothing covers.
        address: IpAddr,
    },
    /// A rule is about one end, but not about the other.
    OtherPeer {
        /// The rule.
        rule: RuleName,
        /// Whether it matches the source; else it matches the destination.
        source: bool,
    },
    /// Both are in networks, but not in the same.
    Disjoint,
}

/// A question that nothing answers with yes.
pub(super) struct Denial<'a> {
    pub policy: &'a Policy,
    pub src: &'a Party,
    pub dst: &'a Party,
    pub asked: Service,
}

impl<'a> Denial<'a> {
    /// The nearest: one exception away, else the other direction, else another service, else a prefix, a
    /// rule or a network away. Networks mean nothing to the host.
    pub fn nearest_miss(&self) -> Option<Miss> {
        let with_host = self.src.is_host() || self.dst.is_host();
        let member = |find: fn(&Self) -> Option<Miss>| (!with_host).then(|| find(self)).flatten();
        member(Self::excepted_from_peers)
            .or_else(|| self.excepted_from_rule())
            .or_else(|| self.other_way())
            .or_else(|| self.other_service())
            .or_else(|| member(Self::homeless))
            .or_else(|| self.other_peer())
            .or_else(|| member(|_| Some(Miss::Disjoint)))
    }

    fn ends(&self) -> [(&'a Party, &'a Party); 2] {
        [(self.src, self.dst), (self.dst, self.src)]
    }

    fn excepted_from_peers(&self) -> Option<Miss> {
        let of_peer = |(end, peer): (&Party, &Party)| {
            excepted(self.policy.networks.iter(), end.address, |name| peer.networks.contains(name))
        };
        self.ends().into_iter().find_map(of_peer)
    }

    /// The rules that allow, and whether they are about something that is asked.
    fn allowing(&self) -> impl Iterator<Item = (&'a RuleName, &'a Rule, bool)> {
        let asked_by = |rule: &Rule| !overlapping(rule.services(), self.asked, self.src).is_empty();
        let rules = self.policy.rules.iter().filter(|(_, rule)| rule.action() == Action::Allow);
        rules.map(move |(name, rule)| (name, rule, asked_by(rule)))
    }

    /// A rule that matches one end, and would match the other but for an exception.
    fn excepted_from_rule(&self) -> Option<Miss> {
        self.allowing().filter(|(_, _, asked)| *asked).find_map(|(name, rule, _)| {
            let sides = [(self.src, rule.from()), (self.dst, rule.to())];
            let [from, to] = sides.map(|(end, side)| end.matches(side));
            match (from, to) {
                (false, true) => self.excepted_from_side(name, sides[0]),
                (true, false) => self.excepted_from_side(name, sides[1]),
                _ => None,
            }
        })
    }

    fn excepted_from_side(&self, rule: &RuleName, (end, side): (&Party, &Side)) -> Option<Miss> {
        let address = end.address;
        if end.is_host() {
            return None;
        }
        if end.is_among(&side.ends) {
            let except = side.except.iter().find(|except| end.is(except))?.clone();
            return Some(Miss::ExceptedByRule { address, rule: rule.clone(), except });
        }
        let sets = self.policy.networks.iter().chain(&self.policy.groups);
        let names = |end: &End, name: &Name| match end {
            End::Named(named) => named == name,
            End::Glob(glob) => glob.matches(name),
            _ => false,
        };
        excepted(sets, address, |name| side.ends.iter().any(|end| names(end, name)))
    }

    fn other_way(&self) -> Option<Miss> {
        let mut rules = self.allowing().filter(|(_, _, asked)| *asked);
        let (rule, _, _) =
            rules.find(|(_, rule, _)| self.dst.matches(rule.from()) && self.src.matches(rule.to()))?;
        Some(Miss::OtherWay { rule: rule.clone() })
    }

    fn other_service(&self) -> Option<Miss> {
        let mut rules = self.allowing();
        let (name, rule, _) =
            rules.find(|(_, rule, _)| self.src.matches(rule.from()) && self.dst.matches(rule.to()))?;
        let allows = rule.services().iter().copied().collect();
        Some(Miss::OtherService { rule: name.clone(), allows, asked: self.asked })
    }

    fn homeless(&self) -> Option<Miss> {
        let sets = || self.policy.networks.iter().chain(&self.policy.groups);
        let mut ends = [self.src, self.dst].into_iter();
        let end = ends.find(|end| end.networks.is_empty() && end.groups.is_empty())?;
        Some(excepted(sets(), end.address, |_| true).unwrap_or_else(|| outside(sets(), end.address)))
    }

    fn other_peer(&self) -> Option<Miss> {
        let one_end = |source: bool| {
            let mut rules = self.allowing().filter(|(_, _, asked)| *asked);
            let about = |rule: &Rule| {
                if source { self.src.matches(rule.from()) } else { self.dst.matches(rule.to()) }
            };
            let (rule, _, _) = rules.find(|(_, rule, _)| about(rule))?;
            Some(Miss::OtherPeer { rule: rule.clone(), source })
        };
        // Towards the host only rules about the host are near.
        let from_source = if self.dst.is_host() { None } else { one_end(true) };
        from_source.or_else(|| one_end(false))
    }
}

/// The first eligible set that covers `address` and excepts it.
fn excepted<'a>(
    sets: impl Iterator<Item = (&'a Name, &'a AddressSet)>,
    address: IpAddr,
    eligible: impl Fn(&Name) -> bool,
) -> Option<Miss> {
    let covering = sets.filter(|(name, set)| eligible(name) && set.covers(address));
    covering
        .filter_map(|(name, set)| Some((name, set.exception(address)?)))
        .map(|(name, except)| Miss::Excepted { address, network: name.clone(), except })
        .next()
}

fn outside<'a>(sets: impl Iterator<Item = (&'a Name, &'a AddressSet)>, address: IpAddr) -> Miss {
    let prefixes: Vec<(&Prefix, &Name)> = sets
        .flat_map(|(name, set)| set.prefixes().iter().map(move |prefix| (prefix, name)))
        .filter(|(prefix, _)| prefix.is_v4() == address.is_ipv4())
        .collect();
    // Of equally near prefixes the first by name; `max_by_key` alone would take the last.
    let nearest = prefixes.into_iter().rev().max_by_key(|(prefix, _)| prefix.common_bits(address));
    match nearest {
        Some((&prefix, network)) => Miss::Outside { address, prefix, network: network.clone() },
        None => Miss::NoPrefixes { address },
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excepted { address, network, except } => {
                write!(f, "{address} is excepted from {network} by {except}")
            }
            Self::ExceptedByRule { address, rule, except } => {
                write!(f, "{address} is excepted from rule `{rule}` by {except}")
            }
            Self::OtherWay { rule } => write!(f, "rule `{rule}` is the other way around"),
            Self::OtherService { rule, allows, asked: Service::Any } => {
                write!(f, "rule `{rule}` would allow {}", services(allows))
            }
            Self::OtherService { rule, allows, asked } => {
                write!(f, "rule `{rule}` would allow {}, you asked for {asked}", services(allows))
            }
            Self::Outside { address, prefix, network } => {
                write!(f, "{address} is in no network; nearest is {prefix} of {network}")
            }
            Self::NoPrefixes { address } => {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                write!(f, "{address} is in no network; none has an {family} prefix")
            }
            Self::OtherPeer { rule, source: true } => {
                write!(f, "rule `{rule}` matches the source but not the destination")
            }
            Self::OtherPeer { rule, source: false } => {
                write!(f, "rule `{rule}` matches the destination but not the source")
            }
            Self::Disjoint => f.write_str("no common network"),
        }
    }
}

/// Services as people list them.
pub(super) fn services(services: &[Service]) -> String {
    services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
