//! Rules and groups, from text to model: every mistake as its reader sees it.

use super::*;
use crate::policy::{
    Diagnostics, Mode, Policy, Source,
    rule::{Action, End},
};

/// What a rule may name.
const NAMES: &str = "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/24']\n\
                     [network.tenant-1]\nprefixes = ['10.2.0.0/24']\n\
                     [group.db]\nprefixes = ['10.1.0.5/32']\n";

fn parse(text: &str) -> Result<Policy, Diagnostics> {
    Policy::parse(&[Source { name: "policy.toml".into(), text: text.into() }])
}

/// The mistakes of a rule with a name and with these keys.
fn mistakes(keys: &str) -> Diagnostics {
    parse(&format!("{NAMES}[[rule]]\nname = 'r'\n{keys}\n")).unwrap_err()
}

/// The only mistake.
fn mistake(keys: &str) -> String {
    let refused = mistakes(keys);
    assert_eq!(refused.iter().count(), 1, "{refused}");
    refused.to_string()
}

/// A rule that is right but for this list.
fn with_from(list: &str) -> String {
    mistake(&format!("from = {list}\nto = ['db']\nallow = ['any']"))
}

fn with_services(list: &str) -> String {
    mistake(&format!("from = ['blue']\nto = ['db']\nallow = {list}"))
}

#[test]
fn what_others_call_anybody_the_world_and_the_host_is_understood() {
    for (written, meant) in [("all", "any"), ("internet", "world"), ("localhost", "host")] {
        let text = with_from(&format!("['{written}']"));
        assert!(text.ends_with(&format!("help: did you mean `{meant}`?")), "{text}");
    }
}

#[test]
fn a_good_rule_is_read() {
    let text = format!(
        "{NAMES}[[rule]]\nname = 'Web to DB'\nfrom = ['tenant-*', '192.0.2.0/24', 'world']\nexcept_from = ['blue']\n\
         to = ['db', 'host']\nallow = ['tcp/5432', 'ping']\n\
         [[rule]]\nname = 'metadata'\nfrom = ['any']\nto = ['169.254.169.254/32']\ndeny = ['any']\n"
    );
    let policy = parse(&text).unwrap();
    assert_eq!((policy.networks.len(), policy.groups.len(), policy.rules.len()), (2, 1, 2));
    let rule = &policy.rules[&"Web to DB".parse::<RuleName>().unwrap()];
    let texts = |ends: &std::collections::BTreeSet<End>| {
        ends.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(texts(&rule.from().ends), "tenant-* 192.0.2.0/24 world");
    assert_eq!((texts(&rule.from().except), texts(&rule.to().ends)), ("blue".into(), "db host".into()));
    assert_eq!((rule.action(), rule.services().len()), (Action::Allow, 2));
    assert_eq!(policy.rules[&"metadata".parse::<RuleName>().unwrap()].action(), Action::Deny);
}

#[test]
fn only_what_denies_has_a_mode() {
    let text = format!(
        "{NAMES}[[rule]]\nname = 'r'\nfrom = ['blue']\nto = ['db']\ndeny = ['any']\nmode = 'audit'\n\
         [[rule]]\nname = 's'\nfrom = ['blue']\nto = ['db']\ndeny = ['any']\nmode = 'enforce'\n"
    );
    let policy = parse(&text).unwrap();
    let mode = |rule: &str| policy.rules[&rule.parse::<RuleName>().unwrap()].mode();
    assert_eq!((mode("r"), mode("s")), (Mode::Audit, Mode::Enforce));
    insta::assert_snapshot!(mistake("from = ['blue']\nto = ['db']\nallow = ['any']\nmode = 'audit'"), @r"
    error: only a rule that denies has a mode
      --> policy.toml:13:1
       |
    13 | mode = 'audit'
       | ^^^^ nothing to audit or enforce
       |
      ::: policy.toml:12:1
       |
    12 | allow = ['any']
       | ----- allows here
    ");
    insta::assert_snapshot!(mistake("from = ['blue']\nto = ['db']\ndeny = ['any']\nmode = 'observe'"), @r"
    error: a mode is `audit` or `enforce`
      --> policy.toml:13:8
       |
    13 | mode = 'observe'
       |        ^^^^^^^^^ unknown mode
    ");
    insta::assert_snapshot!(mistake("from = ['blue']\nto = ['db']\ndeny = ['any']\nmode = 7"), @r"
    error: `mode` must be a string, not an integer
      --> policy.toml:13:8
       |
    13 | mode = 7
       |        ^ this is an integer
    ");
}

#[test]
fn a_network_may_be_in_audit_mode_and_a_group_may_not() {
    let set =
        |kind, mode| parse(&format!("version = 1\n[{kind}.a]\nprefixes = ['10.0.0.0/8']\nmode = {mode}\n"));
    let policy = set("network", "'audit'").unwrap();
    assert_eq!(policy.networks[&"a".parse::<Name>().unwrap()].mode(), Mode::Audit);
    assert_eq!(set("network", "'enforce'").unwrap(), set("network", "'enforce'\n").unwrap());
    insta::assert_snapshot!(set("network", "'off'").unwrap_err(), @r"
    error: a mode is `audit` or `enforce`
     --> policy.toml:4:8
      |
    4 | mode = 'off'
      |        ^^^^^ unknown mode
    ");
    insta::assert_snapshot!(set("group", "'audit'").unwrap_err(), @r"
    error: unknown key `mode`; known: prefixes, members, except
     --> policy.toml:4:1
      |
    4 | mode = 'audit'
      | ^^^^ unknown key
    ");
}

#[test]
fn a_rule_is_written_as_a_table() {
    let text = |rule| parse(&format!("{NAMES}{rule}")).unwrap_err().to_string();
    insta::assert_snapshot!(text("[rule]\nname = 'r'\n"), @r"
    error: `rule` must be an array of tables, not a table
     --> policy.toml:8:1
      |
    8 | [rule]
      | ^^^^^^ this is a table
      |
      = help: write [[rule]] in front of each rule
    ");
    insta::assert_snapshot!(parse("version = 1\nrule = [7]\n").unwrap_err(), @r"
    error: a rule must be a table, not an integer
     --> policy.toml:2:9
      |
    2 | rule = [7]
      |         ^ this is an integer
    ");
}

#[test]
fn what_is_missing() {
    insta::assert_snapshot!(parse(&format!("{NAMES}[[rule]]\n")).unwrap_err(), @r#"
    error: missing `name`
     --> policy.toml:8:1
      |
    8 | [[rule]]
      | ^^^^^^^^ no `name` in this rule
      |
      = help: say what the rule is for: name = "web to db"

    error: missing `from`
     --> policy.toml:8:1
      |
    8 | [[rule]]
      | ^^^^^^^^ no `from` in this rule
      |
      = help: list networks, groups or prefixes, or world, host, any: from = ["any"]

    error: missing `to`
     --> policy.toml:8:1
      |
    8 | [[rule]]
      | ^^^^^^^^ no `to` in this rule
      |
      = help: list networks, groups or prefixes, or world, host, any: to = ["any"]

    error: a rule has `allow` or `deny`
     --> policy.toml:8:1
      |
    8 | [[rule]]
      | ^^^^^^^^ neither in this rule
      |
      = help: list services: allow = ["tcp/443"], or deny = ["any"]
    "#);
}

#[test]
fn one_mistake_does_not_hide_another() {
    let rule = "[[rule]]\nfrom = ['bleu']\nexcept_from = ['any']\nto = []\nallow = ['http', 'tcp', 'tcp']\n";
    let refused = parse(&format!("{NAMES}{rule}")).unwrap_err();
    assert_eq!(refused.iter().count(), 6, "{refused}");
}

#[test]
fn unknown_keys_and_wrong_types() {
    insta::assert_snapshot!(mistake("from = ['blue']\nto = ['db']\nallow = ['any']\nport = 80"), @r"
    error: unknown key `port`; known: name, from, to, except_from, except_to, allow, deny, mode
      --> policy.toml:13:1
       |
    13 | port = 80
       | ^^^^ unknown key
    ");
    insta::assert_snapshot!(with_from("'blue'"), @r"
    error: `from` must be an array of names and prefixes, not a string
      --> policy.toml:10:8
       |
    10 | from = 'blue'
       |        ^^^^^^ this is a string
    ");
    insta::assert_snapshot!(with_from("[1]"), @r"
    error: an end of a rule must be a string, not an integer
      --> policy.toml:10:9
       |
    10 | from = [1]
       |         ^ this is an integer
    ");
    insta::assert_snapshot!(parse("version = 1\n[[rule]]\nname = 7\nfrom = ['any']\nto = ['any']\ndeny = ['any']").unwrap_err(), @r"
    error: a rule's name must be a string, not an integer
     --> policy.toml:3:8
      |
    3 | name = 7
      |        ^ this is an integer
    ");
    insta::assert_snapshot!(parse("version = 1\n[[rule]]\nname = ' r'\nfrom = ['any']\nto = ['any']\ndeny = ['any']").unwrap_err(), @r"
    error: a rule's name starts and ends with a character that is seen
     --> policy.toml:3:8
      |
    3 | name = ' r'
      |        ^^^^ bad name
    ");
}

#[test]
fn a_rule_allows_or_denies() {
    insta::assert_snapshot!(mistake("from = ['blue']\nto = ['db']"), @r#"
    error: a rule has `allow` or `deny`
     --> policy.toml:8:1
      |
    8 | [[rule]]
      | ^^^^^^^^ neither in this rule
      |
      = help: list services: allow = ["tcp/443"], or deny = ["any"]
    "#);
    insta::assert_snapshot!(mistake("from = ['blue']\nto = ['db']\nallow = ['tcp']\ndeny = ['udp']"), @r"
    error: a rule either allows or denies
      --> policy.toml:13:1
       |
    13 | deny = ['udp']
       | ^^^^ denies here
       |
      ::: policy.toml:12:1
       |
    12 | allow = ['tcp']
       | ----- allows here
       |
       = help: make two rules of it; what one denies no other allows, in whatever order they stand
    ");
    insta::assert_snapshot!(with_services("[]"), @r"
    error: `allow` is empty
      --> policy.toml:12:9
       |
    12 | allow = []
       |         ^^ nothing
       |
       = help: list at least one, or remove the rule
    ");
    insta::assert_snapshot!(with_services("['tcp/70000']"), @r"
    error: `70000` is no port; write a number from 0 to 65535
      --> policy.toml:12:10
       |
    12 | allow = ['tcp/70000']
       |          ^^^^^^^^^^^ bad service
    ");
    insta::assert_snapshot!(with_services("['http']"), @r"
    error: `http` is no service; write any, ping, tcp, udp/53, tcp/8000-8999, sctp/9, icmp/3, icmp6/135 or proto/47
      --> policy.toml:12:10
       |
    12 | allow = ['http']
       |          ^^^^^^ bad service
    ");
    insta::assert_snapshot!(with_services("['tcp', 'proto/6']"), @r"
    error: tcp stands twice in `allow`
      --> policy.toml:12:17
       |
    12 | allow = ['tcp', 'proto/6']
       |                 ^^^^^^^^^ again here
       |
      ::: policy.toml:12:10
       |
    12 | allow = ['tcp', 'proto/6']
       |          ----- first here
    ");
}

#[test]
fn ends() {
    insta::assert_snapshot!(with_from("[]"), @r"
    error: `from` is empty
      --> policy.toml:10:8
       |
    10 | from = []
       |        ^^ nobody
       |
       = help: list at least one, or remove the rule
    ");
    insta::assert_snapshot!(with_from("['10.1.0.1/24']"), @r"
    error: 10.1.0.1/24 has host bits set; did you mean 10.1.0.0/24?
      --> policy.toml:10:9
       |
    10 | from = ['10.1.0.1/24']
       |         ^^^^^^^^^^^^^ names nobody
    ");
    insta::assert_snapshot!(with_from("['Blue']"), @r"
    error: a name consists of a-z, 0-9, `.`, `_` and `-`; 'B' is none of them
      --> policy.toml:10:9
       |
    10 | from = ['Blue']
       |         ^^^^^^ names nobody
    ");
    insta::assert_snapshot!(with_from("['blue', 'any', 'blue']"), @r"
    error: blue stands twice in `from`
      --> policy.toml:10:24
       |
    10 | from = ['blue', 'any', 'blue']
       |                        ^^^^^^ again here
       |
      ::: policy.toml:10:9
       |
    10 | from = ['blue', 'any', 'blue']
       |         ------ first here
    ");
    insta::assert_snapshot!(with_from("['bleu']"), @r"
    error: no network or group is named `bleu`
      --> policy.toml:10:9
       |
    10 | from = ['bleu']
       |         ^^^^^^ unknown name
       |
       = help: did you mean `blue`?
    ");
    insta::assert_snapshot!(with_from("['something-else']"), @r"
    error: no network or group is named `something-else`
      --> policy.toml:10:9
       |
    10 | from = ['something-else']
       |         ^^^^^^^^^^^^^^^^ unknown name
    ");
    insta::assert_snapshot!(with_from("['tenant-?', 'customer-*']"), @r"
    error: `customer-*` matches no network or group
      --> policy.toml:10:21
       |
    10 | from = ['tenant-?', 'customer-*']
       |                     ^^^^^^^^^^^^ matches nothing
    ");
}

#[test]
fn exceptions() {
    let except = |from, except| {
        mistake(&format!("from = {from}\nexcept_from = {except}\nto = ['db']\ndeny = ['any']"))
    };
    insta::assert_snapshot!(except("['any']", "['world']"), @r"
    error: `world` cannot be excepted; list networks, groups or prefixes
      --> policy.toml:11:16
       |
    11 | except_from = ['world']
       |                ^^^^^^^ cannot be excepted
    ");
    insta::assert_snapshot!(except("['host']", "['blue']"), @r"
    error: `from` is the host alone, which nothing excepts
      --> policy.toml:11:16
       |
    11 | except_from = ['blue']
       |                ^^^^^^ excepts nothing
    ");
    insta::assert_snapshot!(except("['any']", "['bleu']"), @r"
    error: no network or group is named `bleu`
      --> policy.toml:11:16
       |
    11 | except_from = ['bleu']
       |                ^^^^^^ unknown name
       |
       = help: did you mean `blue`?
    ");
    assert!(
        parse(&format!(
            "{NAMES}[[rule]]\nname = 'r'\nfrom = ['any']\nexcept_from = []\nto = ['db']\ndeny = ['any']"
        ))
        .is_ok()
    );
}

#[test]
fn sides_of_different_families_never_match() {
    let sides = |from, to| format!("from = {from}\nto = {to}\nallow = ['any']");
    insta::assert_snapshot!(mistake(&sides("['192.0.2.0/24', '192.0.3.0/24']", "['2001:db8::/32']")), @r"
    error: the rule never matches: its sides are of different families
      --> policy.toml:11:7
       |
    11 | to = ['2001:db8::/32']
       |       ^^^^^^^^^^^^^^^ only IPv6 here
       |
      ::: policy.toml:10:9
       |
    10 | from = ['192.0.2.0/24', '192.0.3.0/24']
       |         -------------- only IPv4 here
    ");
    for (from, to) in
        [("['::/0', '192.0.2.0/24']", "['2001:db8::/32']"), ("['192.0.2.0/24', 'any']", "['::/0']")]
    {
        assert!(parse(&format!("{NAMES}[[rule]]\nname = 'r'\n{}", sides(from, to))).is_ok(), "{from} {to}");
    }
}

#[test]
fn names_are_defined_once() {
    insta::assert_snapshot!(parse(&format!("{NAMES}[group.blue]\nprefixes = ['10.0.0.0/8']\n")).unwrap_err(), @r"
    error: `blue` is both a network and a group
     --> policy.toml:8:8
      |
    8 | [group.blue]
      |        ^^^^ a group here
      |
     ::: policy.toml:2:10
      |
    2 | [network.blue]
      |          ---- a network here
      |
      = help: rename one of them: rules could mean either
    ");
    let rule = "[[rule]]\nname = 'r'\nfrom = ['any']\nto = ['any']\ndeny = ['any']\n";
    insta::assert_snapshot!(parse(&format!("version = 1\n{rule}{rule}")).unwrap_err(), @r"
    error: rule `r` is defined twice
     --> policy.toml:8:8
      |
    8 | name = 'r'
      |        ^^^ defined again here
      |
     ::: policy.toml:3:8
      |
    3 | name = 'r'
      |        --- first defined here
    ");
    insta::assert_snapshot!(parse("version = 1\n[group.a]\nprefixes = []\n").unwrap_err(), @r"
    error: group `a` has neither prefixes nor members
     --> policy.toml:2:8
      |
    2 | [group.a]
      |        ^ nobody is a member
      |
      = help: list at least one of either, or remove the group
    ");
}

#[test]
fn what_may_be_defined_in_a_broken_file_is_not_missing() {
    let rule = "version = 1\n[[rule]]\nname = 'r'\nfrom = ['blue']\nto = ['any']\ndeny = ['any', 'any']\n";
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    for broken in
        ["version = = 1\n[network.blue]\n", "version = 1\nnetwork.blue = 3\n", "version = 1\nnetwork = 3\n"]
    {
        let refused = Policy::parse(&[source("a", rule), source("b", broken)]).unwrap_err();
        let messages: Vec<&str> = refused.iter().map(|mistake| mistake.message.as_str()).collect();
        assert_eq!(messages.len(), 2, "{refused}");
        assert_eq!(messages[0], "any stands twice in `deny`");
    }
}
