//! Which flows are wanted, and in which order: pure, on whatever the source answered.

use std::{cmp::Reverse, net::IpAddr, str::FromStr};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use enforcer_common::verdict::{DropReason, PassReason};
use ipnet::IpNet;

use crate::datapath::flows::{Flow, protocol_name};

/// Filters, order and number; a flow must match every filter that is given.
#[derive(Clone, Debug, Default, Args)]
pub struct FlowQuery {
    /// Flows that this network admitted
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Flows that this rule admitted or denied
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// Flows from or to this local endpoint
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
    /// Flows opened from this address or prefix
    #[arg(long, value_name = "ADDRESS[/LENGTH]")]
    pub src: Option<Block>,
    /// Flows opened to this address or prefix
    #[arg(long, value_name = "ADDRESS[/LENGTH]")]
    pub dst: Option<Block>,
    /// Flows of this protocol: tcp, udp, icmp, icmp6, sctp or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    pub proto: Option<String>,
    /// Flows with this port at either end
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Flows whose latest packet got this verdict
    #[arg(long, value_parser = ["pass", "drop", "would-drop"])]
    pub verdict: Option<String>,
    /// Flows judged for this reason, such as default-deny; `enforcer drops -o wide` lists all
    #[arg(long, value_parser = reasons(), hide_possible_values = true)]
    pub reason: Option<String>,
    /// Most packets, most bytes or latest packet first
    #[arg(long, value_name = "KEY", default_value = "last")]
    pub sort: Sort,
    /// At most this many, after sorting
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// What comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Sort {
    /// Most packets of both directions
    Packets,
    /// Most bytes of both directions
    Bytes,
    /// Latest packet
    #[default]
    Last,
}

/// An address or a prefix; host bits do not matter to a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block(IpNet);

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse().map(|address: IpAddr| address.into()).ok();
        let net = text.parse().ok().or_else(address).map(Self);
        net.ok_or_else(|| "neither an address nor a prefix; write 10.1.0.5 or 10.1.0.0/24".to_owned())
    }
}

/// The name that flows carry; numbers and the common other spelling of `icmp6` are understood.
fn protocol(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    if let Ok(number) = text.parse() {
        return Ok(protocol_name(number));
    }
    match text.as_str() {
        "icmpv6" | "ipv6-icmp" => Ok("icmp6".to_owned()),
        "tcp" | "udp" | "icmp" | "icmp6" | "sctp" => Ok(text),
        _ => Err("write tcp, udp, icmp, icmp6, sctp or a protocol number".to_owned()),
    }
}

fn reasons() -> PossibleValuesParser {
    let passes = PassReason::ALL.iter().map(|reason| reason.slug());
    passes.chain(DropReason::ALL.iter().map(|reason| reason.slug())).into()
}

impl FlowQuery {
    /// Those of `flows` that match, sorted and limited.
    pub fn select(&self, mut flows: Vec<Flow>) -> Vec<Flow> {
        flows.retain(|flow| self.matches(flow));
        // The tuple makes the order total, so that a redrawn screen stands still.
        let tuple = |flow: &Flow| (flow.proto.clone(), flow.src, flow.src_port, flow.dst, flow.dst_port);
        flows.sort_by_cached_key(|flow| (Reverse(self.weight(flow)), tuple(flow)));
        flows.truncate(self.limit.unwrap_or(usize::MAX));
        flows
    }

    /// Larger comes first. The times are RFC 3339 of one length, so text compares as time does.
    fn weight(&self, flow: &Flow) -> (u64, String) {
        let number = match self.sort {
            Sort::Packets => flow.packets_fwd.saturating_add(flow.packets_rev),
            Sort::Bytes => flow.bytes_fwd.saturating_add(flow.bytes_rev),
            Sort::Last => 0,
        };
        (number, flow.last_seen.clone())
    }

    fn matches(&self, flow: &Flow) -> bool {
        let is = |wanted: &Option<String>, actual: &str| wanted.as_deref().is_none_or(|name| name == actual);
        let has = |wanted: &Option<String>, actual: &[&Option<String>]| {
            wanted.is_none() || actual.contains(&wanted)
        };
        has(&self.network, &[&flow.network])
            && has(&self.rule, &[&flow.rule])
            && has(&self.endpoint, &[&flow.endpoint_src, &flow.endpoint_dst])
            && self.src.is_none_or(|block| block.contains(flow.src))
            && self.dst.is_none_or(|block| block.contains(flow.dst))
            && is(&self.proto, &flow.proto)
            && self.port.is_none_or(|port| has_port(flow, port))
            && is(&self.verdict, &flow.verdict)
            && is(&self.reason, &flow.reason)
    }
}

impl Block {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// The identifier of an ICMP echo stands where ports do, but is none.
fn has_port(flow: &Flow, port: u16) -> bool {
    !flow.proto.starts_with("icmp") && [flow.src_port, flow.dst_port].contains(&port)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::render::samples;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        query: FlowQuery,
    }

    /// The destinations of the sample flows that a line of options selects, in order.
    fn select(options: &str) -> String {
        let line = Line::try_parse_from(["flows"].into_iter().chain(options.split_whitespace())).unwrap();
        let flows = line.query.select(samples::flows());
        flows.iter().map(|flow| flow.dst.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[rstest]
    #[case::everything("", "10.1.0.6 2001:db8:1::2 10.9.0.7 10.1.0.7")]
    #[case::network("--network blue", "10.1.0.6 2001:db8:1::2 10.1.0.7")]
    #[case::other_network("--network green", "")]
    #[case::either_endpoint("--endpoint veth-db", "10.9.0.7")]
    #[case::sending_endpoint("--endpoint veth-web", "10.1.0.6 2001:db8:1::2 10.9.0.7 10.1.0.7")]
    #[case::address("--dst 10.9.0.7", "10.9.0.7")]
    #[case::prefix("--dst 10.1.0.0/24", "10.1.0.6 10.1.0.7")]
    #[case::prefix_with_host_bits("--dst 10.1.0.9/24", "10.1.0.6 10.1.0.7")]
    #[case::source("--src 2001:db8:1::/64", "2001:db8:1::2")]
    #[case::a_family_is_not_the_other("--src ::/0", "2001:db8:1::2")]
    #[case::protocol("--proto TCP", "10.1.0.6 10.9.0.7")]
    #[case::protocol_number("--proto 17", "2001:db8:1::2")]
    #[case::port("--port 5432", "10.9.0.7")]
    #[case::an_echo_identifier_is_no_port("--port 77", "")]
    #[case::verdict("--verdict drop", "10.9.0.7")]
    #[case::reason("--reason default-deny", "10.9.0.7")]
    #[case::all_at_once("--proto tcp --verdict pass --src 10.1.0.5", "10.1.0.6")]
    #[case::packets("--sort packets", "10.1.0.6 10.1.0.7 2001:db8:1::2 10.9.0.7")]
    #[case::bytes("--sort bytes", "10.1.0.6 2001:db8:1::2 10.1.0.7 10.9.0.7")]
    #[case::limit_after_sorting("--sort packets --limit 2", "10.1.0.6 10.1.0.7")]
    #[case::no_limit_is_no_cut("--limit 1000", "10.1.0.6 2001:db8:1::2 10.9.0.7 10.1.0.7")]
    fn options_select(#[case] options: &str, #[case] destinations: &str) {
        assert_eq!(select(options), destinations);
    }

    #[test]
    fn a_rule_selects_what_it_admitted() {
        let mut flows = samples::flows();
        flows[1].rule = Some("the web".to_owned());
        let line = Line::try_parse_from(["flows", "--rule", "the web"]).unwrap();
        assert_eq!(line.query.select(flows.clone()), flows[1..2]);
    }

    #[test]
    fn equal_flows_keep_an_order() {
        let first = samples::flows().remove(0);
        let mut flows: Vec<Flow> = [3, 1, 2].map(|src_port| Flow { src_port, ..first.clone() }).into();
        let once = FlowQuery::default().select(flows.clone());
        flows.reverse();
        assert_eq!(FlowQuery::default().select(flows), once);
    }

    #[rstest]
    #[case("--src nonsense", "neither an address nor a prefix")]
    #[case("--src 10.0.0.0/33", "neither an address nor a prefix")]
    #[case("--proto http", "write tcp, udp")]
    #[case("--reason default-denied", "default-deny")]
    #[case("--verdict maybe", "would-drop")]
    fn wrong_options_say_what_to_write(#[case] options: &str, #[case] says: &str) {
        let error = Line::try_parse_from(["flows"].into_iter().chain(options.split(' '))).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
}
