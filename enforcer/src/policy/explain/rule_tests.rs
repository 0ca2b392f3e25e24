use std::net::IpAddr;

use enforcer_common::policy::{self, Point, Ruling};
use rstest::rstest;

use super::*;
use crate::policy::{Capacity, Ids};

/// Rules of every kind, and the host at 10.0.0.1.
const POLICY: &str = r#"{
    "networks": {
        "blue": {"prefixes": ["10.1.0.0/24", "2001:db8:1::/64"], "except": ["10.1.0.13/32"]},
        "db": {"prefixes": ["10.9.0.0/24", "2001:db8:9::/64"]},
        "tenant-1": {"prefixes": ["10.2.1.0/24"]}
    },
    "groups": {"admins": {"prefixes": ["10.1.0.5/32", "10.7.0.0/24"], "except": ["10.7.0.9/32"]}},
    "rules": {
        "admins look after tenants": {
            "from": {"ends": ["admins"], "except": ["10.7.0.66/32"]}, "to": {"ends": ["tenant-*"]},
            "action": "allow", "services": ["any"]},
        "blue uses postgres": {
            "from": {"ends": ["blue"]}, "to": {"ends": ["db"]},
            "action": "allow", "services": ["tcp/5432-5433", "ping"]},
        "db metrics": {
            "from": {"ends": ["db"]}, "to": {"ends": ["host"]}, "action": "allow", "services": ["tcp/9100"]},
        "no old postgres": {
            "from": {"ends": ["any"]}, "to": {"ends": ["db"]}, "action": "deny", "services": ["tcp/5433"]},
        "no smtp": {
            "from": {"ends": ["any"]}, "to": {"ends": ["blue"]}, "action": "deny", "services": ["tcp/25"]},
        "quiet tenant": {
            "from": {"ends": ["host"]}, "to": {"ends": ["tenant-1"]}, "action": "deny", "services": ["any"]},
        "the web": {
            "from": {"ends": ["blue"]}, "to": {"ends": ["world"]},
            "action": "allow", "services": ["tcp/80", "tcp/443"]},
        "metadata": {
            "from": {"ends": ["blue"]}, "to": {"ends": ["169.254.169.254/32"]},
            "action": "allow", "services": ["tcp/80"]}
    }
}"#;

fn ask(src: &str, dst: &str, service: &str) -> Explanation {
    let policy: Policy = serde_json::from_str(POLICY).unwrap();
    let host: IpAddr = "10.0.0.1".parse().unwrap();
    let party = |text: &str| {
        let address = text.parse().unwrap();
        Party::new(&policy, address, if address == host { Owner::Host } else { Owner::Nobody })
    };
    explain(&policy, &party(src), &party(dst), service.parse().unwrap())
}

#[test]
fn what_is_only_counted_is_said() {
    let policy: Policy = serde_json::from_str(
        r#"{"networks": {"blue": {"prefixes": ["10.1.0.0/24"], "mode": "audit"},
                         "db": {"prefixes": ["10.9.0.0/24"]}},
            "rules": {"no smtp": {"from": {"ends": ["any"]}, "to": {"ends": ["blue"]},
                                  "action": "deny", "services": ["tcp/25"], "mode": "audit"}}}"#,
    )
    .unwrap();
    let why = |src: &str, dst: &str| {
        let party = |text: &str| Party::new(&policy, text.parse().unwrap(), Owner::Nobody);
        explain(&policy, &party(src), &party(dst), "tcp/25".parse().unwrap()).why()
    };
    insta::assert_snapshot!(why("10.1.0.5", "10.1.0.6"), @"both are members of blue; rule `no smtp` would deny tcp/25, and only counts it: it is in audit mode");
    insta::assert_snapshot!(why("10.8.0.5", "10.1.0.6"), @"10.8.0.5 ∈ {}, 10.1.0.6 ∈ {blue}: 10.8.0.5 is in no network; nearest is 10.9.0.0/24 of db; rule `no smtp` would deny tcp/25, and only counts it: it is in audit mode; what nothing allows goes on, counted: blue is in audit mode");
    insta::assert_snapshot!(why("10.1.0.5", "10.9.0.6"), @"10.1.0.5 ∈ {blue}, 10.9.0.6 ∈ {db}: no common network");
}

#[rstest]
#[case::allowed(
    "10.1.0.5",
    "10.9.0.7",
    "tcp/5432",
    "allowed-by-rule",
    "rule `blue uses postgres` allows tcp/5432-5433"
)]
#[case::allowed_v6(
    "2001:db8:1::5",
    "2001:db8:9::7",
    "ping",
    "allowed-by-rule",
    "rule `blue uses postgres` allows ping"
)]
#[case::denied(
    "10.1.0.5",
    "10.9.0.7",
    "tcp/5433",
    "denied-by-rule",
    "rule `no old postgres` denies tcp/5433"
)]
#[case::denied_within("10.1.0.5", "10.1.0.6", "tcp/25", "denied-by-rule", "rule `no smtp` denies tcp/25")]
#[case::shared("10.1.0.5", "10.1.0.6", "tcp/80", "shared-network", "both are members of blue")]
#[case::world("10.1.0.5", "1.1.1.1", "tcp/443", "allowed-by-rule", "rule `the web` allows tcp/443")]
#[case::link_local(
    "10.1.0.5",
    "169.254.169.254",
    "tcp/80",
    "allowed-by-rule",
    "rule `metadata` allows tcp/80"
)]
#[case::glob_and_group(
    "10.7.0.1",
    "10.2.1.1",
    "any",
    "allowed-by-rule",
    "rule `admins look after tenants` allows any"
)]
#[case::rule_to_host(
    "10.9.0.7",
    "10.0.0.1",
    "tcp/9100",
    "allowed-by-rule",
    "rule `db metrics` allows tcp/9100"
)]
#[case::host_list(
    "10.1.0.5",
    "10.0.0.1",
    "ping",
    "host-allowed",
    "a host allows its workloads udp/53, tcp/53, udp/67, ping"
)]
#[case::host_speaks("10.0.0.1", "10.1.0.5", "tcp/80", "host-open", "the host may speak to its workloads")]
#[case::host_is_denied("10.0.0.1", "10.2.1.1", "tcp/80", "denied-by-rule", "rule `quiet tenant` denies any")]
fn one_cause_decides(
    #[case] src: &str,
    #[case] dst: &str,
    #[case] service: &str,
    #[case] reason: &str,
    #[case] why: &str,
) {
    let explanation = ask(src, dst, service);
    assert_eq!((explanation.cause().verdict().slug(), &*explanation.why()), (reason, why));
}

#[rstest]
#[case::service(
    "10.1.0.5",
    "10.9.0.7",
    "tcp/80",
    "rule `blue uses postgres` would allow ping, tcp/5432-5433, you asked for tcp/80"
)]
#[case::excepted("10.1.0.13", "10.9.0.7", "tcp/5432", "10.1.0.13 is excepted from blue by 10.1.0.13/32")]
#[case::excepted_group("10.7.0.9", "10.2.1.1", "tcp/22", "10.7.0.9 is excepted from admins by 10.7.0.9/32")]
#[case::excepted_by_rule(
    "10.7.0.66",
    "10.2.1.1",
    "tcp/22",
    "10.7.0.66 is excepted from rule `admins look after tenants` by 10.7.0.66/32"
)]
#[case::other_way(
    "10.2.1.1",
    "10.7.0.1",
    "tcp/22",
    "rule `admins look after tenants` is the other way around"
)]
#[case::other_peer(
    "10.1.0.6",
    "10.2.1.1",
    "tcp/443",
    "rule `the web` matches the source but not the destination"
)]
#[case::other_source(
    "10.9.0.7",
    "10.2.1.1",
    "tcp/22",
    "rule `admins look after tenants` matches the destination but not the source"
)]
#[case::homeless(
    "10.2.1.1",
    "1.1.1.1",
    "tcp/443",
    "1.1.1.1 is in no network; nearest is 10.1.0.0/24 of blue"
)]
#[case::disjoint("10.2.1.1", "10.9.0.7", "tcp/81", "no common network")]
fn a_denial_names_the_nearest_miss(
    #[case] src: &str,
    #[case] dst: &str,
    #[case] service: &str,
    #[case] miss: &str,
) {
    let explanation = ask(src, dst, service);
    assert_eq!(explanation.cause(), &Cause::Silent);
    assert_eq!(explanation.nearest_miss.unwrap().to_string(), miss);
}

#[test]
fn a_rule_opens_one_way_and_answers_pass() {
    let back = ask("10.9.0.7", "10.1.0.5", "tcp/5432");
    insta::assert_snapshot!(back, @"10.9.0.7 ∈ {db}, 10.1.0.5 ∈ {blue}, groups {admins}: rule `blue uses postgres` is the other way around; answers to what 10.1.0.5 opens pass, but 10.9.0.7 may not open");
    let denied = ask("10.1.0.5", "10.0.0.1", "tcp/22");
    insta::assert_snapshot!(denied, @"a host allows its workloads udp/53, tcp/53, udp/67, ping, nothing else; answers to what 10.0.0.1 opens pass, but 10.1.0.5 may not open");
}

#[test]
fn the_host_hears_what_rules_allow_it_to() {
    let denied = ask("10.9.0.7", "10.0.0.1", "tcp/22");
    insta::assert_snapshot!(denied, @"a host allows its workloads udp/53, tcp/53, udp/67, ping, nothing else; rule `db metrics` would allow tcp/9100, you asked for tcp/22; answers to what 10.0.0.1 opens pass, but 10.9.0.7 may not open");
    assert_eq!(denied.cause().verdict().slug(), "default-deny");
}

#[test]
fn a_question_about_everything_lists_what_passes() {
    let some = ask("10.1.0.5", "10.9.0.7", "any");
    assert_eq!((some.reach(), some.cause()), (Reach::Something, &Cause::Silent));
    insta::assert_snapshot!(some, @"rule `no old postgres` denies tcp/5433; rule `blue uses postgres` allows ping, tcp/5432-5433; nothing else passes");
    let most = ask("10.1.0.5", "10.1.0.6", "any");
    assert_eq!((most.reach(), most.cause().verdict().slug()), (Reach::Something, "denied-by-rule"));
    insta::assert_snapshot!(most, @"rule `no smtp` denies tcp/25; everything else passes: both are members of blue");
    let host = ask("10.9.0.7", "10.0.0.1", "any");
    insta::assert_snapshot!(host, @"rule `db metrics` allows tcp/9100; a host allows its workloads udp/53, tcp/53, udp/67, ping; nothing else passes; answers to what 10.0.0.1 opens pass");
}

#[test]
fn a_range_passes_if_all_of_it_does() {
    assert_eq!(ask("10.1.0.5", "1.1.1.1", "tcp/80-80").reach(), Reach::Everything);
    assert_eq!(ask("10.1.0.5", "1.1.1.1", "tcp/79-80").reach(), Reach::Something);
    assert_eq!(ask("10.1.0.5", "1.1.1.1", "tcp/81-442").reach(), Reach::Nothing);
    let old = ask("10.1.0.5", "10.9.0.7", "tcp/5432-5433");
    assert_eq!(old.cause().verdict().slug(), "denied-by-rule");
    insta::assert_snapshot!(old, @"rule `no old postgres` denies tcp/5433; rule `blue uses postgres` allows tcp/5432-5433");
}

#[test]
fn wide_prefixes_do_not_mean_link_local_addresses_nor_the_host() {
    let rule = r#"{"networks": {}, "rules": {"all": {"from": {"ends": ["10.0.0.0/8"]},
        "to": {"ends": ["0.0.0.0/0"]}, "action": "allow", "services": ["any"]}}}"#;
    let policy: Policy = serde_json::from_str(rule).unwrap();
    let from = Party::new(&policy, "10.1.0.5".parse().unwrap(), Owner::Endpoint);
    let reach = |address: &str, owner| {
        explain(&policy, &from, &Party::new(&policy, address.parse().unwrap(), owner), Service::Any).reach()
    };
    assert_eq!(reach("8.8.8.8", Owner::Nobody), Reach::Everything);
    assert_eq!(reach("169.254.0.1", Owner::Nobody), Reach::Nothing);
    // What a host allows its workloads is left.
    assert_eq!(reach("10.0.0.1", Owner::Host), Reach::Something);
}

#[test]
fn local_and_excepted_addresses_are_not_of_the_world() {
    let policy: Policy = serde_json::from_str(POLICY).unwrap();
    let world = |address: &str, owner| Party::new(&policy, address.parse().unwrap(), owner).world;
    assert!(world("1.1.1.1", Owner::Nobody));
    assert!(!world("1.1.1.1", Owner::Endpoint));
    assert!(!world("1.1.1.1", Owner::Host));
    assert!(!world("10.1.0.13", Owner::Nobody));
    assert!(!world("10.7.0.9", Owner::Nobody));
    assert!(!world("169.254.0.1", Owner::Nobody));
}

/// Every kind of address that the policy tells apart.
const ADDRESSES: [&str; 13] = [
    "10.0.0.1",
    "10.1.0.5",
    "10.1.0.6",
    "10.1.0.13",
    "10.2.1.1",
    "10.7.0.1",
    "10.7.0.9",
    "10.7.0.66",
    "10.9.0.7",
    "1.1.1.1",
    "169.254.169.254",
    "2001:db8:1::5",
    "2001:db8:9::7",
];

#[test]
fn the_compiled_tables_say_the_same() {
    let policy: Policy = serde_json::from_str(POLICY).unwrap();
    let ids = Ids::default().assign(&policy).unwrap();
    let tables = crate::policy::compile(&policy, &ids, Capacity::default()).unwrap();
    let party = |address: &str| match address {
        "10.0.0.1" => policy::Party { membership: tables.host, local: true },
        _ => policy::Party { membership: tables.membership(address.parse().unwrap()), local: false },
    };
    let services = ["tcp/25", "tcp/80", "tcp/443", "tcp/5432", "tcp/5433", "tcp/9100", "ping", "proto/47"];
    for (src, dst, service) in questions(&ADDRESSES, &services) {
        let explanation = ask(src, dst, service);
        let point = Point(*explanation.findings[0].points.start());
        let said = tables.ruling(&party(src), &party(dst), point);
        let expected = match explanation.cause() {
            Cause::Denied(rule) => Ruling::Denied(ids.rules.id(rule).unwrap()),
            Cause::Shared(network) => Ruling::Shared(ids.networks.id(network).unwrap()),
            Cause::Allowed(rule) => Ruling::Allowed(ids.rules.id(rule).unwrap()),
            Cause::HostOpen | Cause::HostAllowed | Cause::Silent => Ruling::Silent,
        };
        assert_eq!(said, expected, "{src} to {dst}, {service}: {explanation}");
    }
}

/// Every question between two addresses of a family.
fn questions<'a>(
    addresses: &'a [&'a str],
    services: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let pairs = addresses.iter().flat_map(move |src| addresses.iter().map(move |dst| (*src, *dst)));
    let met = pairs.filter(|(src, dst)| src.contains(':') == dst.contains(':'));
    met.flat_map(move |(src, dst)| services.iter().map(move |service| (src, dst, *service)))
}
