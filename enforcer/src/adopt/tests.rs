use std::net::IpAddr;

use proptest::prelude::*;

use super::{seen::passes, *};
use crate::{
    policy::Source,
    render::{self, Format, samples},
};

fn endpoint(name: &str, addresses: &[&str]) -> EndpointReport {
    let model = samples::endpoints().swap_remove(0);
    EndpointReport {
        name: name.to_owned(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        state: if addresses.is_empty() { "quarantined" } else { "ready" }.to_owned(),
        ..model
    }
}

/// Three of a cluster on a bridge, a web server that uses a database, and somebody without an address.
fn endpoints() -> Vec<EndpointReport> {
    vec![
        endpoint("veth-n1", &["10.1.0.11", "2001:db8:1::11"]),
        endpoint("veth-n2", &["10.1.0.12", "2001:db8:1::12"]),
        endpoint("veth-n3", &["10.1.0.13"]),
        endpoint("veth-web", &["10.2.0.5"]),
        endpoint("veth-db", &["10.9.0.5", "10.9.0.128/28"]),
        endpoint("veth-new", &[]),
    ]
}

/// A flow that the mode let pass. `5432>10.9.0.5` alone would be a port: the ends are `address:port`.
fn flow(proto: &str, src: &str, dst: &str) -> Flow {
    let [src, dst]: [std::net::SocketAddr; 2] = [src.parse().unwrap(), dst.parse().unwrap()];
    Flow {
        family: if src.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
        proto: proto.to_owned(),
        src: src.ip(),
        src_port: src.port(),
        dst: dst.ip(),
        dst_port: dst.port(),
        icmp_type: proto.starts_with("icmp").then_some(if src.is_ipv4() { 8 } else { 128 }),
        verdict: "would-drop".to_owned(),
        reason: "no-policy".to_owned(),
        network: None,
        endpoint_src: None,
        endpoint_dst: None,
        packets_fwd: 10,
        packets_rev: 0,
        ..samples::flows().swap_remove(0)
    }
}

fn to_host(proto: &str, src: &str, dst: &str) -> Flow {
    Flow { endpoint_dst: Some("host".to_owned()), ..flow(proto, src, dst) }
}

fn host(flows: Vec<Flow>, policy: &str) -> Host {
    let mut status = samples::status();
    status.generation = u64::from(!policy.is_empty());
    status.mode.mode = Mode::Observe;
    status.seconds_left = None;
    let subnets = ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:1::/64"];
    Host {
        status,
        endpoints: endpoints(),
        flows,
        policy: parse(&[policy]),
        subnets: subnets.map(|subnet| subnet.parse().unwrap()).into(),
        files: Files { first: !policy.is_empty(), more: Vec::new() },
    }
}

fn parse(texts: &[&str]) -> Policy {
    let sources = texts.iter().enumerate().map(|(at, text)| {
        let text = if text.is_empty() { "version = 1" } else { text };
        Source { name: format!("{at}.toml"), text: text.to_owned() }
    });
    Policy::parse(&sources.collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{error:?}\n{texts:?}"))
}

fn shown(host: &Host) -> String {
    let mut out = Vec::new();
    render::write_adopt(&mut out, &advise(host), &samples::screen(Format::Table)).unwrap();
    String::from_utf8(out).unwrap()
}

/// A day of the host above.
fn day() -> Vec<Flow> {
    let mut flows = vec![
        // Both directions, and in both of them somebody answers.
        flow("tcp", "10.1.0.11:40000", "10.1.0.12:7000"),
        flow("tcp", "10.1.0.12:7000", "10.1.0.11:40000"),
        flow("tcp", "10.1.0.12:40001", "10.1.0.11:7000"),
        flow("tcp", "[2001:db8:1::12]:40002", "[2001:db8:1::11]:7000"),
        // The reply alone: its request was forgotten.
        flow("udp", "10.9.0.5:53", "10.2.0.5:50000"),
        flow("tcp", "10.2.0.5:40003", "10.9.0.5:5432"),
        flow("tcp", "10.2.0.5:40004", "10.9.0.5:5432"),
        flow("icmp", "10.2.0.5:77", "10.9.0.5:77"),
        flow("tcp", "10.2.0.5:40005", "93.184.216.34:443"),
        flow("tcp", "198.51.100.7:40006", "10.2.0.5:80"),
        flow("tcp", "10.2.0.5:40007", "169.254.169.254:80"),
        to_host("tcp", "10.2.0.5:40008", "192.0.2.1:9100"),
        Flow { reason: "spoofed-source".to_owned(), ..flow("tcp", "10.66.0.1:1", "10.9.0.5:1") },
        Flow {
            verdict: "pass".to_owned(),
            reason: "reply".to_owned(),
            ..flow("tcp", "10.9.0.5:1", "10.2.0.5:2")
        },
    ];
    // Uses so much of another that it belongs to it.
    flows.extend((8000..8006).map(|port| flow("tcp", "10.1.0.13:40009", &format!("10.1.0.12:{port}"))));
    flows
}

#[test]
fn the_first_day_ends_with_a_draft() {
    insta::assert_snapshot!(shown(&host(day(), "")));
}

#[test]
fn a_subnet_in_which_somebody_else_was_seen_is_not_taken_whole() {
    let mut flows = day();
    flows.push(flow("tcp", "10.1.0.99:40000", "10.9.0.5:5432"));
    let draft = advise(&host(flows, "")).draft.unwrap();
    assert!(!draft.contains("\"10.1.0.0/24\"") && draft.contains("\"2001:db8:1::/64\""), "{draft}");
}

#[test]
fn beside_a_policy_the_draft_is_rules_for_what_it_would_not_let_pass() {
    let policy = "version = 1\n[network.cluster]\nprefixes = ['10.1.0.0/24']\n[[rule]]\nname = 'veth-web to veth-db'\n\
                  from = ['10.2.0.5/32']\nto = ['10.9.0.0/24']\nallow = ['tcp/5432']\n";
    let host = host(day(), policy);
    insta::assert_snapshot!(shown(&host));
    let both = parse(&[policy, &advise(&host).draft.unwrap()]);
    let after = advise(&Host { policy: both, ..host });
    assert_eq!((after.denied, after.draft), (Vec::new(), None));
    assert_eq!(after.next.last().unwrap().command.as_deref(), Some("enforcer adopt"));
}

#[test]
fn what_a_rule_denies_is_told_and_never_drafted() {
    let policy = "version = 1\n[[rule]]\nname = 'no'\nfrom = ['10.2.0.5/32']\nto = ['any']\ndeny = ['any']\n";
    let denied = Flow { reason: "denied-by-rule".to_owned(), ..flow("tcp", "10.2.0.5:4000", "10.9.0.5:80") };
    let advice = advise(&host(vec![denied], policy));
    assert_eq!((advice.denied.len(), &advice.draft), (1, &None));
    assert_eq!(advice.next.last().unwrap().command.as_deref(), Some("enforcer flows --verdict would-drop"));
}

#[test]
fn every_mode_has_a_next_step() {
    let last = |mode, by: &str| {
        let mut host = host(Vec::new(), "version = 1");
        host.status.generation = 3;
        host.status.mode.mode = mode;
        host.status.mode.by = by.to_owned();
        advise(&host).next.into_iter().filter_map(|step| step.command).collect::<Vec<_>>()
    };
    assert_eq!(last(Mode::Observe, "ordered"), ["enforcer mode audit --for 1h", "enforcer adopt"]);
    assert_eq!(last(Mode::Audit, "ordered"), ["enforcer mode enforce --for 10m"]);
    assert_eq!(last(Mode::Enforce, "host file"), [""; 0]);
    let mut closed = host(day(), "");
    closed.status.mode.mode = Mode::Enforce;
    assert_eq!(
        advise(&closed).next.iter().find_map(|step| step.command.as_deref()),
        Some("enforcer mode observe")
    );
    closed.status.mode.mode = Mode::Audit;
    let commands: Vec<String> = advise(&closed).next.into_iter().filter_map(|step| step.command).collect();
    assert!(
        !commands.contains(&"enforcer mode observe".to_owned()),
        "what no policy admits passes: {commands:?}"
    );
}

#[test]
fn what_is_to_be_applied_leaves_no_file_of_the_policy_out() {
    let commands = |files: Files| {
        let host = Host { files, ..host(day(), "version = 1\n[network.db]\nprefixes = ['10.9.0.0/24']\n") };
        advise(&host).next.into_iter().map(|step| step.command.unwrap_or(step.why)).collect::<Vec<_>>()
    };
    let more = ["adopted.toml", "tenants.toml"].map(str::to_owned).into();
    let with_more = commands(Files { first: true, more });
    let written = "enforcer adopt --write /etc/enforcer/policy.d/adopted-2.toml".to_owned();
    let applied = "enforcer apply /etc/enforcer/policy.toml /etc/enforcer/policy.d".to_owned();
    assert!(with_more.contains(&written) && with_more.contains(&applied), "{with_more:?}");
    let elsewhere = commands(Files::default());
    assert!(elsewhere.iter().any(|text| text.contains("is of files elsewhere")), "{elsewhere:?}");
}

/// Addresses of workloads, of others, and odd ones.
const ADDRESSES: [&str; 14] = [
    "10.1.0.11",
    "10.1.0.12",
    "10.1.0.13",
    "10.2.0.5",
    "10.9.0.5",
    "10.9.0.130",
    "10.1.0.77",
    "93.184.216.34",
    "169.254.169.254",
    "2001:db8:1::11",
    "2001:db8:1::12",
    "2001:db8:77::1",
    "fe80::1",
    "192.0.2.1",
];

fn any_flow() -> impl Strategy<Value = Flow> {
    let ports = prop_oneof![1_u16..12, 7000_u16..7012, 32_768_u16..32_780];
    let proto = prop::sample::select(vec!["tcp", "udp", "icmp", "sctp", "47"]);
    (0..ADDRESSES.len(), 0..ADDRESSES.len(), proto, ports.clone(), ports).prop_filter_map(
        "families that never meet",
        |(src, dst, proto, src_port, dst_port)| {
            let [src, dst]: [IpAddr; 2] = [ADDRESSES[src], ADDRESSES[dst]].map(|text| text.parse().unwrap());
            let proto = if proto == "icmp" && src.is_ipv6() { "icmp6" } else { proto };
            let is_host = |address: IpAddr| (address.to_string() == "192.0.2.1").then(|| "host".to_owned());
            let is_local = |address: IpAddr| {
                is_host(address).is_some()
                    || endpoints().iter().any(|endpoint| {
                        endpoint
                            .addresses
                            .iter()
                            .filter_map(|text| seen::net(text))
                            .any(|net| net.contains(&address))
                    })
            };
            let flow = Flow {
                endpoint_src: is_host(src),
                endpoint_dst: is_host(dst),
                ..flow(
                    proto,
                    &std::net::SocketAddr::new(src, src_port).to_string(),
                    &std::net::SocketAddr::new(dst, dst_port).to_string(),
                )
            };
            let judged = src != dst && (is_local(dst) || (is_local(src) && is_host(src).is_none()));
            (src.is_ipv4() == dst.is_ipv4() && judged).then_some(flow)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn under_the_draft_whatever_was_seen_passes(flows in prop::collection::vec(any_flow(), 1..40), has_policy: bool) {
        let policy = if has_policy { "version = 1\n[network.db]\nprefixes = ['10.9.0.0/24']\n" } else { "" };
        let host = host(flows, policy);
        let seen = Seen::new(&host);
        let advice = advise(&host);
        let draft = advice.draft.clone().unwrap_or_default();
        let whole = parse(&[policy, &draft]);
        for conversation in &seen.conversations {
            prop_assert!(passes(conversation, &whole), "{:?}\n{}", conversation, draft);
        }
        prop_assert!(advice.denied.iter().all(|row| row.drafted), "{:?}\n{}", advice.denied, draft);
        let after = advise(&Host { policy: whole, ..host });
        prop_assert_eq!(after.denied, vec![]);
    }
}
