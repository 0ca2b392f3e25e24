//! "May SRC talk to DST, and why?": the same order of questions that the datapath asks.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, bail};
use enforcer_common::{
    address,
    flow::protocol,
    verdict::{DropReason, Verdict},
};

use super::members::told;
use crate::{
    daemon::op::Owned,
    policy::{
        self, Name, Policy,
        explain::{Cause, Owner, Party, Reach},
        service::Service,
    },
    report::{DirectionReport, EndReport, ExplainReport},
};

/// Who owns which address on this host: `host`, or an endpoint's name.
#[derive(Clone, Debug, Default)]
pub struct Ends(BTreeMap<Owned, String>);

impl Ends {
    /// Says who owns a prefix.
    pub fn insert(&mut self, owned: Owned, name: String) {
        self.0.insert(owned, name);
    }

    fn owner(&self, address: IpAddr) -> Option<&str> {
        let address = Owned::from(address);
        self.0
            .iter()
            .filter(|(owned, _)| owned.covers(&address))
            .max_by_key(|(owned, _)| owned.bits)
            .map(|(_, name)| &**name)
    }

    fn whose(&self, address: IpAddr) -> Owner {
        match self.owner(address) {
            Some("host") => Owner::Host,
            Some(_) => Owner::Endpoint,
            None => Owner::Nobody,
        }
    }

    /// An address as it is written, or the first one of the endpoint with that name.
    fn resolve(&self, end: &str, like: Option<IpAddr>) -> anyhow::Result<IpAddr> {
        if let Ok(address) = end.parse::<IpAddr>() {
            return Ok(address.to_canonical());
        }
        let addresses = self.0.iter().filter(|(owned, name)| *name == end && owned.bits == 128);
        let addresses: Vec<IpAddr> = addresses.map(|(owned, _)| owned.address.into()).collect();
        let same_family = |address: &&IpAddr| like.is_none_or(|like| like.is_ipv4() == address.is_ipv4());
        let found = addresses.iter().find(same_family).or(addresses.first()).copied();
        found.with_context(|| format!("{end:?} is neither an address nor an endpoint with one"))
    }
}

/// Answers from files alone.
pub fn explain_policy(
    policy: &Policy,
    src: &str,
    dst: &str,
    service: Option<&str>,
) -> anyhow::Result<ExplainReport> {
    if let Some(name) = [src, dst].into_iter().find(|end| end.parse::<IpAddr>().is_err()) {
        bail!(
            "{name:?} is no address: with --policy only addresses are known: names are those of a host's endpoints"
        );
    }
    let report = explain(policy, &Ends::default(), (src, dst, service), None)?;
    Ok(told(report, policy, None))
}

/// Answers the question (source, destination, service), where `generation` decides.
pub fn explain(
    policy: &Policy,
    ends: &Ends,
    (src, dst, service): (&str, &str, Option<&str>),
    generation: Option<u64>,
) -> anyhow::Result<ExplainReport> {
    let like = dst.parse().ok();
    let src = ends.resolve(src, like)?;
    let dst = ends.resolve(dst, Some(src))?;
    if src.is_ipv4() != dst.is_ipv4() {
        bail!("{src} and {dst} are of different address families: they never meet in one packet");
    }
    let asked = service.map_or(Ok(Service::Any), |text| asked(text, src))?;
    let party = |address| Party::new(policy, address, ends.whose(address));
    let (here, there) = (party(src), party(dst));
    let forward = answer(policy, &here, &there, asked);
    let reverse = answer(policy, &there, &here, asked);
    let report = |answer: Answer| match answer {
        // Without a policy nothing is asked about memberships; the host has a list of its own.
        Answer { verdict: Verdict::Drop(DropReason::DefaultDeny), .. }
            if generation == Some(0) && !here.is_host() && !there.is_host() =>
        {
            let why = "no policy has been applied yet".to_owned();
            Answer { verdict: Verdict::Drop(DropReason::NoPolicy), why, ..answer }.into()
        }
        answer => DirectionReport::from(answer),
    };
    Ok(ExplainReport {
        src: end(&here, ends),
        dst: end(&there, ends),
        service: service.map(str::to_owned),
        one_way: forward.reach != reverse.reach,
        forward: report(forward),
        reverse: report(reverse),
        generation,
        members_unknown: false,
        modes: BTreeMap::new(),
    })
}

fn end(party: &Party, ends: &Ends) -> EndReport {
    let texts = |names: &[Name]| names.iter().map(ToString::to_string).collect();
    EndReport {
        address: party.address,
        endpoint: ends.owner(party.address).map(str::to_owned),
        networks: texts(&party.networks),
        groups: texts(&party.groups),
        selected: BTreeMap::new(),
        world: party.world,
    }
}

/// What becomes of one direction.
struct Answer {
    verdict: Verdict,
    reach: Reach,
    network: Option<String>,
    rule: Option<String>,
    why: String,
}

impl From<Answer> for DirectionReport {
    fn from(Answer { verdict, network, rule, why, .. }: Answer) -> Self {
        Self { verdict: verdict.name().to_owned(), reason: verdict.slug().to_owned(), network, rule, why }
    }
}

fn answer(policy: &Policy, src: &Party, dst: &Party, asked: Service) -> Answer {
    if let Some((reason, why)) = impossible(src.address, dst.address) {
        let verdict = Verdict::Drop(reason);
        return Answer { verdict, reach: Reach::Nothing, network: None, rule: None, why };
    }
    let explanation = policy::explain(policy, src, dst, asked);
    let (network, rule) = match explanation.cause() {
        Cause::Shared(network) => (Some(network.to_string()), None),
        Cause::Allowed(rule) | Cause::Denied(rule) => (None, Some(rule.to_string())),
        _ => (None, None),
    };
    let (verdict, reach) = (explanation.cause().verdict(), explanation.reach());
    Answer { verdict, reach, network, rule, why: explanation.why() }
}

/// Packets that no policy is asked about.
fn impossible(src: IpAddr, dst: IpAddr) -> Option<(DropReason, String)> {
    let reason = address::forbidden(src.into(), dst.into())?;
    let why = match reason {
        DropReason::Multicast => format!("{dst} is a multicast or broadcast address"),
        _ => format!("no packet goes from {src} to {dst} on a wire"),
    };
    Some((reason, why))
}

/// Any service that a rule may name, if packets between such addresses can have it.
fn asked(text: &str, address: IpAddr) -> anyhow::Result<Service> {
    let service: Service = text.parse()?;
    let (protocol, other) = match address {
        IpAddr::V4(_) => (protocol::ICMPV6, "icmp"),
        IpAddr::V6(_) => (protocol::ICMP, "icmp6"),
    };
    match service {
        Service::Protocol(number) | Service::Icmp { protocol: number, .. } if number == protocol => {
            bail!("`{text}` is of the other address family than {address}; ask about {other}")
        }
        service => Ok(service),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    fn policy() -> Policy {
        let text = "version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\", \"10.7.0.0/24\", \"::/0\"]\n\
                    [network.db]\nprefixes = [\"10.9.0.0/24\"]\n";
        Policy::parse(&[Source { name: "policy.toml".to_owned(), text: text.to_owned() }]).unwrap()
    }

    fn ends() -> Ends {
        let mut ends = Ends::default();
        ends.insert(Owned::from("10.1.0.5".parse::<IpAddr>().unwrap()), "veth-web".to_owned());
        ends.insert(Owned::from("10.1.0.1".parse::<IpAddr>().unwrap()), "host".to_owned());
        ends
    }

    fn ask(src: &str, dst: &str, service: Option<&str>) -> ExplainReport {
        explain(&policy(), &ends(), (src, dst, service), Some(1)).unwrap()
    }

    #[test]
    fn a_shared_network_admits_both_ways_and_names_itself() {
        let report = ask("veth-web", "10.7.0.9", Some("tcp/80"));
        assert_eq!((&*report.forward.verdict, report.forward.network.as_deref()), ("pass", Some("blue")));
        assert!(!report.one_way);
        assert_eq!(report.src.endpoint.as_deref(), Some("veth-web"));
    }

    #[test]
    fn a_denial_names_both_memberships() {
        let report = ask("10.1.0.5", "10.9.0.7", None);
        assert_eq!(report.forward.reason, "default-deny");
        assert!(
            report.forward.why.contains("{blue}") && report.forward.why.contains("{db}"),
            "{}",
            report.forward.why
        );
    }

    #[test]
    fn the_host_is_no_member_and_its_list_decides() {
        assert_eq!(ask("veth-web", "10.1.0.1", Some("udp/53")).forward.reason, "host-allowed");
        let ssh = ask("veth-web", "10.1.0.1", Some("tcp/22"));
        assert_eq!((&*ssh.forward.reason, &*ssh.reverse.reason), ("default-deny", "host-open"));
        assert!(ssh.one_way && ssh.dst.networks.is_empty());
    }

    #[test]
    fn kinds_of_addresses_come_before_policy() {
        assert_eq!(ask("10.1.0.5", "224.0.0.1", None).forward.reason, "multicast");
        assert_eq!(ask("10.1.0.5", "127.0.0.1", None).forward.reason, "martian");
        // ::/0 covers it, but a link-local address is a member of nothing.
        assert_eq!(ask("2001:db8::1", "fe80::1", None).forward.reason, "default-deny");
        assert_eq!(ask("2001:db8::1", "2001:db8::2", None).forward.reason, "shared-network");
    }

    #[test]
    fn a_rule_decides_one_way() {
        let rules = r#"{"networks": {"blue": {"prefixes": ["10.1.0.0/24"]}},
            "groups": {"pool": {"prefixes": ["10.1.0.0/28"]}},
            "rules": {"the web": {"from": {"ends": ["pool"]}, "to": {"ends": ["world"]},
                "action": "allow", "services": ["tcp/443"]}}}"#;
        let policy: Policy = serde_json::from_str(rules).unwrap();
        let ask = |dst, service| explain(&policy, &ends(), ("veth-web", dst, service), Some(1)).unwrap();
        let web = ask("1.1.1.1", Some("tcp/443"));
        assert_eq!((&*web.forward.reason, web.forward.rule.as_deref()), ("allowed-by-rule", Some("the web")));
        assert_eq!((&*web.reverse.reason, web.reverse.rule), ("default-deny", None));
        assert!(web.one_way && web.dst.world && web.src.groups == ["pool"]);
        // Some pass, but not all: no, and still one-way.
        let all = ask("1.1.1.1", None);
        assert_eq!((&*all.forward.verdict, all.one_way), ("drop", true));
    }

    #[test]
    fn before_the_first_policy_nobody_is_asked_about_memberships() {
        let ask = |dst| explain(&Policy::default(), &ends(), ("veth-web", dst, None), Some(0)).unwrap();
        assert_eq!(ask("10.9.0.7").forward.reason, "no-policy");
        assert_eq!(ask("10.1.0.1").forward.reason, "default-deny");
    }

    #[test]
    fn files_know_no_endpoints() {
        let error = explain_policy(&policy(), "10.1.0.5", "veth-db", None).unwrap_err().to_string();
        assert!(
            error.contains("veth-db") && error.contains("with --policy only addresses are known"),
            "{error}"
        );
    }

    #[test]
    fn mistakes_in_the_question_say_what_to_write() {
        for (src, dst, service, part) in [
            ("nobody", "10.9.0.7", None, "neither an address nor an endpoint"),
            ("10.1.0.5", "2001:db8::1", None, "different address families"),
            ("10.1.0.5", "10.9.0.7", Some("ssh"), "write any, ping, tcp"),
            ("10.1.0.5", "10.9.0.7", Some("tcp/99999"), "write a number from 0 to 65535"),
            ("10.1.0.5", "10.9.0.7", Some("icmp6/1"), "ask about icmp"),
        ] {
            let error = explain(&policy(), &ends(), (src, dst, service), None).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
