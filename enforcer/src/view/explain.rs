//! "May SRC talk to DST, and why?": the same order of questions that the datapath asks.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, bail};
use enforcer_common::{
    address::{self, Address, Scope},
    flow::{FlowKey, icmp, protocol},
    host::{self, HOST_ALLOW},
    verdict::{DropReason, PassReason, Verdict},
};

use super::memberships;
use crate::{
    daemon::op::Owned,
    policy::{self, Policy},
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

    /// An address as it is written, or the first one of the endpoint with that name.
    fn resolve(&self, end: &str, like: Option<IpAddr>) -> anyhow::Result<IpAddr> {
        if let Ok(address) = end.parse() {
            return Ok(address);
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
    explain(policy, &Ends::default(), (src, dst, service), None)
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
    let key = service.map(|service| service_key(service, src, dst)).transpose()?;
    let end = |address: IpAddr| EndReport {
        address,
        endpoint: ends.owner(address).map(str::to_owned),
        networks: if ends.owner(address) == Some("host") { Vec::new() } else { memberships(policy, address) },
    };
    let (src, dst) = (end(src), end(dst));
    let backwards = key.map(|key| FlowKey { src: key.dst, dst: key.src, ..key });
    let forward = direction(policy, &src, &dst, key.as_ref());
    let reverse = direction(policy, &dst, &src, backwards.as_ref());
    let one_way = forward.verdict != reverse.verdict;
    Ok(ExplainReport { src, dst, service: service.map(str::to_owned), forward, reverse, one_way, generation })
}

fn direction(policy: &Policy, src: &EndReport, dst: &EndReport, key: Option<&FlowKey>) -> DirectionReport {
    let answer = |verdict: Verdict, network: Option<String>, why: String| DirectionReport {
        verdict: verdict.name().to_owned(),
        reason: verdict.slug().to_owned(),
        network,
        why,
    };
    if let Some((reason, why)) = impossible(src.address, dst.address) {
        return answer(Verdict::Drop(reason), None, why);
    }
    if src.endpoint.as_deref() == Some("host") {
        return answer(
            Verdict::Pass(PassReason::HostOpen),
            None,
            "the host may speak to its workloads".to_owned(),
        );
    }
    if dst.endpoint.as_deref() == Some("host") {
        return if key.is_some_and(host::allows) {
            answer(
                Verdict::Pass(PassReason::HostAllowed),
                None,
                format!("a host allows its workloads {HOST_ALLOW}"),
            )
        } else {
            let why = format!(
                "a host allows its workloads {HOST_ALLOW} and answers to what it asked, nothing else"
            );
            answer(Verdict::Drop(DropReason::DefaultDeny), None, why)
        };
    }
    let explanation = policy::explain(policy, src.address, dst.address);
    match explanation.shared.as_ref().filter(|_| is_member(src) && is_member(dst)) {
        Some(network) => {
            let why = format!("both are members of {network}");
            answer(Verdict::Pass(PassReason::SharedNetwork), Some(network.to_string()), why)
        }
        None => answer(Verdict::Drop(DropReason::DefaultDeny), None, explanation.to_string()),
    }
}

/// Only global unicast addresses are members of anything.
fn is_member(end: &EndReport) -> bool {
    Address::from(end.address).scope() == Scope::Global
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

/// `tcp/5432`, `udp/53`, `sctp/…` or `ping`.
fn service_key(service: &str, src: IpAddr, dst: IpAddr) -> anyhow::Result<FlowKey> {
    let key = FlowKey { src: src.into(), dst: dst.into(), ..FlowKey::default() };
    if service == "ping" {
        let (protocol, icmp_type) =
            if src.is_ipv4() { (protocol::ICMP, icmp::ECHO) } else { (protocol::ICMPV6, icmp::V6_ECHO) };
        return Ok(FlowKey { protocol, icmp_type, ..key });
    }
    let form = || format!("{service:?} is no service; write tcp/5432, udp/53, sctp/9 or ping");
    let (name, port) = service.split_once('/').with_context(form)?;
    let protocol = match name {
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "sctp" => protocol::SCTP,
        _ => bail!(form()),
    };
    let port: u16 = port.parse().with_context(form)?;
    Ok(FlowKey { protocol, dst_port: port.to_be(), ..key })
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
    fn mistakes_in_the_question_say_what_to_write() {
        for (src, dst, service, part) in [
            ("nobody", "10.9.0.7", None, "neither an address nor an endpoint"),
            ("10.1.0.5", "2001:db8::1", None, "different address families"),
            ("10.1.0.5", "10.9.0.7", Some("tcp"), "write tcp/5432"),
            ("10.1.0.5", "10.9.0.7", Some("tcp/99999"), "write tcp/5432"),
        ] {
            let error = explain(&policy(), &ends(), (src, dst, service), None).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
