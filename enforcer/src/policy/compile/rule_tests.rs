//! Tables of small policies to read, what does not fit, and how tables grow.

use std::{fmt::Write, net::IpAddr};

use enforcer_common::{
    flow::FlowKey,
    policy::{Membership, Party, Point, RuleWord, Ruling, ServiceRange},
};
use rstest::rstest;

use super::*;
use crate::policy::Source;

fn policy(text: &str) -> Policy {
    let source = Source { name: "policy.toml".into(), text: format!("version = 1\n{text}") };
    Policy::parse(&[source]).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn tables(policy: &Policy, capacity: Capacity) -> Result<Tables, CompileError> {
    compile(policy, &Ids::default().assign(policy).unwrap(), capacity)
}

fn compiled(text: &str) -> Tables {
    tables(&policy(text), Capacity::default()).unwrap()
}

/// Prefixes with their networks and, of both sides, the ends that a local and a remote address match; then
/// pairs with their ranges.
fn text(tables: &Tables) -> String {
    let mut text = String::new();
    for entry in &tables.prefixes {
        let membership = entry.membership;
        let networks = tables.networks_of(membership);
        let ends = |local: bool| {
            let list = |run: enforcer_common::policy::Run| {
                tables.list[run.first as usize..(run.first + run.count) as usize].to_vec()
            };
            (list(membership.sources(local)), list(membership.targets(local)))
        };
        let ((sources, targets), (remote_sources, remote_targets)) = (ends(true), ends(false));
        writeln!(
            text,
            "{}/{} networks {networks:?} from {sources:?} {remote_sources:?} to {targets:?} {remote_targets:?}",
            entry.address, entry.bits
        )
        .unwrap();
    }
    for (pair, list) in &tables.pairs {
        let ranges = &tables.ranges[list.first as usize..(list.first + list.count) as usize];
        let ranges: Vec<String> = ranges.iter().copied().map(range).collect();
        writeln!(text, "{} -> {}: {}", pair.source, pair.target, ranges.join(" ")).unwrap();
    }
    text
}

/// `0601bb+1` if rule 1 allows from TCP port 443 on, `1060000-2?` if rule 2 perhaps denies a fragment.
fn range(range: ServiceRange) -> String {
    let word = range.rule;
    let sign = match word.id() {
        0 => return format!("{:06x}", range.start.0),
        _ if word.denies() => '-',
        _ => '+',
    };
    let audited = if word == RuleWord::deny(word.id()).audited() { "~" } else { "" };
    format!("{:06x}{sign}{audited}{}{}", range.start.0, word.id(), if word.is_unsure() { "?" } else { "" })
}

const NAMES: &str = "[network.a]\nprefixes = ['10.1.0.0/16']\n[network.b]\nprefixes = ['10.2.0.0/16']\n\
                     [group.g]\nprefixes = ['10.0.0.0/8']\nexcept = ['10.2.0.0/24']\n";

fn rule(name: &str, keys: &str) -> String {
    format!("[[rule]]\nname = '{name}'\n{keys}\n")
}

#[test]
fn ends_and_pairs() {
    let rules = [
        rule("1", "from = ['a', 'b', 'world']\nto = ['g', 'host']\nallow = ['tcp/443']"),
        rule("2", "from = ['any']\nexcept_from = ['a']\nto = ['g', '169.254.169.254/32']\ndeny = ['any']"),
    ];
    insta::assert_snapshot!(text(&compiled(&format!("{NAMES}{}", rules.concat()))), @r"
    ::/0 networks [] from [4] [4, 3] to [] []
    10.0.0.0/104 networks [] from [4] [4] to [1, 2] [1, 2]
    10.1.0.0/112 networks [1] from [1] [1] to [1, 2] [1, 2]
    10.2.0.0/112 networks [2] from [2, 4] [2, 4] to [1, 2] [1, 2]
    10.2.0.0/120 networks [2] from [2, 4] [2, 4] to [] []
    169.254.0.0/112 networks [] from [4] [4] to [] []
    169.254.169.254/128 networks [] from [4] [4] to [3] [3]
    fe80::/10 networks [] from [4] [4] to [] []
    1 -> 1: 000000 0601bb+1 0601bc 1060000+1? 1070000 2000000+1?
    2 -> 1: 000000 0601bb+1 0601bc 1060000+1? 1070000 2000000+1?
    3 -> 1: 000000 0601bb+1 0601bc 1060000+1? 1070000 2000000+1?
    4 -> 2: 000000-2
    4 -> 3: 000000-2
    ");
}

#[test]
fn rules_that_only_audit_have_ends_of_their_own() {
    let rules = [
        rule("1", "from = ['a']\nto = ['b']\ndeny = ['any']"),
        rule("2", "from = ['a']\nto = ['b']\ndeny = ['any']\nmode = 'audit'"),
        rule("3", "from = ['a']\nto = ['b', 'g']\ndeny = ['any']\nmode = 'audit'"),
        rule("4", "from = ['a']\nto = ['b']\nallow = ['any']"),
    ];
    let tables = compiled(&format!("{NAMES}{}", rules.concat()));
    insta::assert_snapshot!(text(&tables), @r"
    10.0.0.0/104 networks [] from [] [] to [3] [3]
    10.1.0.0/112 networks [1] from [1, 2] [1, 2] to [3] [3]
    10.2.0.0/112 networks [2] from [] [] to [1, 2, 3] [1, 2, 3]
    10.2.0.0/120 networks [2] from [] [] to [1, 2] [1, 2]
    1 -> 1: 000000-1
    2 -> 2: 000000-~2
    2 -> 3: 000000-~3
    ");
    let capacity = Capacity { ends_per_address: 1, ..Capacity::default() };
    let error = self::tables(&policy(&format!("{NAMES}{}", rules.concat())), capacity).unwrap_err();
    insta::assert_snapshot!(error, @"10.1.0.0/16 is matched by 2 different lists under `from` (`1`, `2`), an address may be matched by 1");
}

#[test]
fn a_membership_knows_the_modes_of_its_networks() {
    let tables = compiled(
        "[network.a]\nprefixes = ['10.1.0.0/16']\nmode = 'audit'\n[network.b]\nprefixes = ['10.1.2.0/24']\n\
         [network.c]\nprefixes = ['10.3.0.0/16']\nmode = 'enforce'\n[group.g]\nprefixes = ['10.0.0.0/8']",
    );
    let flags = |address: &str| tables.membership(address.parse::<IpAddr>().unwrap()).flags;
    assert_eq!(flags("10.1.0.1"), Membership::AUDITED);
    assert_eq!(flags("10.1.2.1"), Membership::AUDITED | Membership::ENFORCING);
    assert_eq!(flags("10.3.0.1"), Membership::ENFORCING);
    assert_eq!((flags("10.4.0.1"), tables.host.flags), (0, 0));
}

#[test]
fn ranges_of_services() {
    let between = |rules: &[&str]| {
        let rules = rules.iter().enumerate();
        let rules =
            rules.map(|(i, services)| rule(&i.to_string(), &format!("from = ['a']\nto = ['b']\n{services}")));
        let tables = compiled(&format!("{NAMES}{}", rules.collect::<String>()));
        let ranges: Vec<String> = tables.ranges.iter().copied().map(range).collect();
        ranges.join(" ")
    };
    insta::assert_snapshot!(between(&["allow = ['any']"]), @"000000+1");
    insta::assert_snapshot!(between(&["deny = ['tcp/443']"]), @"000000 0601bb-1 0601bc 1060000-1? 1070000 2000000-1?");
    insta::assert_snapshot!(between(&["allow = ['tcp/0-442', 'tcp/443-65535', 'udp', 'proto/18']"]), @"000000 060000+1 070000 110000+1 130000 1060000+1 1070000 1110000+1 1130000 2000000+1?");
    insta::assert_snapshot!(between(&["allow = ['any']", "deny = ['tcp/22']", "allow = ['tcp']"]), @"000000+1 060016-2 060017+1 1060000-2? 1070000+1 2000000-2?");
    insta::assert_snapshot!(between(&["deny = ['udp/53']", "deny = ['udp']", "allow = ['proto/255']"]), @"000000 110000-2 110035-1 110036-2 120000 ff0000+3 1000000 1110000-2 1120000 1ff0000+3 2000000-1?");
    insta::assert_snapshot!(between(&["allow = ['ping']"]), @"000000 010800+1 010900 3a8000+1 3a8100 1010000+1? 1020000 13a0000+1? 13b0000 2000000+1?");
}

#[test]
fn equal_rules_share_ends_and_ranges() {
    let rules: String =
        (0..9).map(|i| rule(&i.to_string(), "from = ['a', 'b']\nto = ['g']\nallow = ['tcp']")).collect();
    let tables = compiled(&format!("{NAMES}{rules}"));
    assert_eq!((tables.pairs.len(), tables.rules), (2, 9));
    assert_eq!(tables.pairs[0].1, tables.pairs[1].1);
}

#[test]
fn who_shares_a_group_is_denied_until_a_rule_says_otherwise() {
    let says = |rules: &str| {
        let tables = compiled(&format!("{NAMES}{rules}"));
        let party = |text: &str| Party {
            membership: tables.membership(text.parse::<IpAddr>().unwrap()),
            local: true,
        };
        let point = Point::of(&FlowKey { protocol: 6, ..FlowKey::default() });
        tables.ruling(&party("10.1.0.1"), &party("10.2.1.1"), point)
    };
    assert_eq!(says(""), Ruling::Silent);
    assert_eq!(says(&rule("other", "from = ['g']\nto = ['host']\nallow = ['any']")), Ruling::Silent);
    assert_eq!(says(&rule("within", "from = ['g']\nto = ['g']\nallow = ['any']")), Ruling::Allowed(1));
}

#[rstest]
#[case(
    Capacity { ends_per_address: 1, ..Capacity::default() },
    "10.1.0.0/16 is matched by 2 different lists under `from` (`r`, `s`), an address may be matched by 1"
)]
#[case(
    Capacity { rule_pairs: 2, ..Capacity::default() },
    "policy needs 3 pairs of ends that rules connect, the table holds 2"
)]
#[case(
    Capacity { ranges_per_pair: 5, ..Capacity::default() },
    "the same ends are connected by 1 rule (`r`) with 6 ranges of services, 5 are possible"
)]
#[case(
    Capacity { service_ranges: 6, ..Capacity::default() },
    "policy needs 7 ranges of services, the table holds 6"
)]
#[case(Capacity { set_members: 2, ..Capacity::default() }, "policy needs 8 membership entries, the table holds 2")]
fn what_does_not_fit_is_refused_with_the_numbers(#[case] capacity: Capacity, #[case] message: &str) {
    let rules = [
        rule("r", "from = ['a']\nto = ['b', 'host']\nallow = ['tcp/22']"),
        rule("s", "from = ['g']\nto = ['host']\ndeny = ['any']"),
    ];
    let policy = policy(&format!("{NAMES}{}", rules.concat()));
    assert_eq!(tables(&policy, capacity).unwrap_err().to_string(), message);
}

#[test]
fn the_host_too_is_matched_by_few_ends() {
    let sides = ["'host'", "'host', 'a'", "'host', 'b'"];
    let rules: String = sides
        .iter()
        .enumerate()
        .map(|(i, side)| {
            rule(&i.to_string(), &format!("from = [{side}]\nto = ['a', 'b', 'g']\nallow = ['any']"))
        })
        .collect();
    let capacity = Capacity { ends_per_address: 2, ..Capacity::default() };
    let error = tables(&policy(&format!("{NAMES}{rules}")), capacity).unwrap_err();
    insta::assert_snapshot!(error, @"the host is matched by 3 different lists under `from` (`0`, `1`, `2`), an address may be matched by 2");
}

#[test]
fn a_rule_without_an_id_is_refused() {
    let policy = policy(&format!("{NAMES}{}", rule("r", "from = ['a']\nto = ['b']\nallow = ['any']")));
    let ids = Ids { networks: Ids::default().assign(&policy).unwrap().networks, ..Ids::default() };
    let error = compile(&policy, &ids, Capacity::default()).unwrap_err();
    assert_eq!(error.to_string(), "rule `r` has no id");
}

/// All tenants share a group, and each has a rule to it or from it. Nothing may grow with pairs of tenants.
#[test]
fn ten_thousand_tenants_with_ten_thousand_rules_stay_linear() {
    const TENANTS: usize = 10_000;
    const PREFIXES: usize = 10;
    let mut text = String::new();
    let mut all = Vec::new();
    for tenant in 0..TENANTS {
        let prefix = |i: usize| {
            let number = tenant * PREFIXES + i;
            format!("'10.{}.{}.{}/32'", number >> 16, number >> 8 & 255, number & 255)
        };
        let prefixes: Vec<String> = (0..PREFIXES).map(prefix).collect();
        all.push(prefixes.join(","));
        writeln!(text, "[network.tenant-{tenant}]\nprefixes = [{}]", all[tenant]).unwrap();
        let (from, to) = (format!("['tenant-{tenant}']"), "['shared']".to_owned());
        let (from, to) = if tenant % 2 == 0 { (from, to) } else { (to, from) };
        text +=
            &rule(&format!("of {tenant}"), &format!("from = {from}\nto = {to}\nallow = ['tcp/{tenant}']"));
    }
    writeln!(text, "[group.shared]\nprefixes = [{}]", all.join(",")).unwrap();
    let tables = compiled(&text);
    assert_eq!((tables.networks, tables.rules), (10_000, 10_000));
    assert_eq!(tables.prefixes.len(), TENANTS * PREFIXES);
    assert_eq!(tables.pairs.len(), TENANTS);
    assert_eq!(tables.members.len(), TENANTS);
    assert!(tables.list.len() <= 5 * TENANTS, "{}", tables.list.len());
    assert!(tables.ranges.len() <= 6 * TENANTS, "{}", tables.ranges.len());
}
