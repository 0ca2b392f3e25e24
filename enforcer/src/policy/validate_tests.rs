//! From text to model: every mistake as its reader sees it.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: text.into() }
}

fn parse(text: &str) -> Result<Policy, Diagnostics> {
    Policy::parse(&[source("policy.toml", text)])
}

fn mistakes(text: &str) -> Diagnostics {
    parse(text).unwrap_err()
}

/// The mistake of a file with the right version.
fn mistake(text: &str) -> String {
    let refused = mistakes(&format!("version = 1\n{text}"));
    assert_eq!(refused.iter().count(), 1, "{refused}");
    refused.to_string()
}

#[test]
fn a_good_policy_is_read_whatever_the_order() {
    let blue = "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/24', '2001:db8:1::/64']\n\
                except = ['10.1.0.13/32']\n";
    let db = "version = 1\n[network.db]\nprefixes = ['10.9.0.0/24']\n";
    let both = "version = 1\nnetwork.db.prefixes = ['10.9.0.0/24']\n[network.\"blue\"]\n\
                except = ['10.1.0.13/32']\nprefixes = ['2001:db8:1::/64', '10.1.0.0/24']\n";
    let policy = Policy::parse(&[source("a", blue), source("b", db)]).unwrap();
    assert_eq!(policy.networks.len(), 2);
    for sources in [vec![source("b", db), source("a", blue)], vec![source("both", both)]] {
        let other = Policy::parse(&sources).unwrap();
        assert_eq!(other, policy);
        assert_eq!(other.digest(), policy.digest());
    }
}

#[test]
fn a_host_file_is_told_as_one() {
    insta::assert_snapshot!(mistakes("[attach]\nmatch = [\"veth-*\"]\n[host]\nallow = []\n"), @r"
    error: this looks like a host file: it has `attach`
     --> policy.toml:1:2
      |
    1 | [attach]
      |  ^^^^^^ no key of a policy
      |
      = help: a host file is checked with `enforcer check --config FILE`
    ");
    assert!(mistakes("version = 1\nmode = \"observe\"\n").to_string().contains("looks like a host file"));
    assert!(
        mistake("mode = \"audit\"\n[network.blue]\nprefixes = [\"10.1.0.0/24\"]\n")
            .contains("unknown key `mode`")
    );
}

#[rstest]
#[case::version_only("version = 1")]
#[case::hexadecimal("version = 0x1")]
#[case::no_networks("version = 1\n[network]\n")]
fn a_policy_without_networks_is_legal(#[case] text: &str) {
    assert_eq!(parse(text), Ok(Policy::default()));
}

#[test]
fn a_dotted_name_is_legal_when_quoted() {
    let policy = parse("version = 1\n[network.\"tenant.a\"]\nprefixes = ['10.0.0.0/8']").unwrap();
    assert!(policy.networks.contains_key("tenant.a"));
}

#[test]
fn version() {
    insta::assert_snapshot!(mistakes("[network]\n"), @r"
    error: missing `version`
     --> policy.toml:1:1
      |
    1 | [network]
      | ^ no version in this file
      |
      = help: add `version = 1` at the top
    ");
    insta::assert_snapshot!(mistakes(""), @r"
    error: missing `version`
     --> policy.toml:1:1
      |
    1 |
      | ^ no version in this file
      |
      = help: add `version = 1` at the top
    ");
    insta::assert_snapshot!(mistakes("version = 2\n"), @r"
    error: version 2 is not supported
     --> policy.toml:1:11
      |
    1 | version = 2
      |           ^ unsupported
      |
      = help: this enforcer understands `version = 1`
    ");
    insta::assert_snapshot!(mistakes("version = '1'\n"), @r"
    error: `version` must be an integer, not a string
     --> policy.toml:1:11
      |
    1 | version = '1'
      |           ^^^ this is a string
    ");
}

#[test]
fn unknown_keys() {
    insta::assert_snapshot!(mistake("[[rules]]\nname = 'x'\n"), @r"
    error: unknown key `rules`; known: version, network, group, rule
     --> policy.toml:2:3
      |
    2 | [[rules]]
      |   ^^^^^ unknown key
    ");
    insta::assert_snapshot!(mistake("[network.a]\nprefixes = ['10.0.0.0/8']\nlevel = 'audit'\n"), @r"
    error: unknown key `level`; known: prefixes, members, except, mode
     --> policy.toml:4:1
      |
    4 | level = 'audit'
      | ^^^^^ unknown key
    ");
    insta::assert_snapshot!(mistake("[network.a]\nprefixes = ['10.0.0.0/8']\n[network.a.b]\n"), @r#"
    error: unknown key `b`; known: prefixes, members, except, mode
     --> policy.toml:4:12
      |
    4 | [network.a.b]
      |            ^ unknown key
      |
      = help: a name with a dot needs quotes: [network."a.b"]
    "#);
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(mistake("network = 3\n"), @r"
    error: `network` must be a table, not an integer
     --> policy.toml:2:11
      |
    2 | network = 3
      |           ^ this is an integer
    ");
    insta::assert_snapshot!(mistake("[[network]]\n"), @r"
    error: `network` must be a table, not an array
     --> policy.toml:2:1
      |
    2 | [[network]]
      | ^^^^^^^^^^^ this is an array
    ");
    insta::assert_snapshot!(mistake("network.a = true\n"), @r"
    error: network `a` must be a table, not a boolean
     --> policy.toml:2:13
      |
    2 | network.a = true
      |             ^^^^ this is a boolean
    ");
    insta::assert_snapshot!(mistake("[network.a]\nprefixes = '10.0.0.0/8'\n"), @r"
    error: `prefixes` must be an array of prefixes, not a string
     --> policy.toml:3:12
      |
    3 | prefixes = '10.0.0.0/8'
      |            ^^^^^^^^^^^^ this is a string
    ");
    insta::assert_snapshot!(mistake("[network.a]\nprefixes = [10]\n"), @r"
    error: a prefix must be a string, not an integer
     --> policy.toml:3:13
      |
    3 | prefixes = [10]
      |             ^^ this is an integer
    ");
}

#[test]
fn names() {
    insta::assert_snapshot!(mistake("[network.world]\nprefixes = ['10.0.0.0/8']\n"), @r"
    error: `world` is a reserved word and cannot name a network or group; reserved are world, host, any
     --> policy.toml:2:10
      |
    2 | [network.world]
      |          ^^^^^ bad name
    ");
    insta::assert_snapshot!(mistake("[network.Blue]\nprefixes = ['10.0.0.0/8']\n"), @r"
    error: a name consists of a-z, 0-9, `.`, `_` and `-`; 'B' is none of them
     --> policy.toml:2:10
      |
    2 | [network.Blue]
      |          ^^^^ bad name
    ");
}

#[test]
fn bad_and_missing_prefixes() {
    insta::assert_snapshot!(mistake("[network.a]\nprefixes = ['10.1.2.3/16']\n"), @r"
    error: 10.1.2.3/16 has host bits set; did you mean 10.1.0.0/16?
     --> policy.toml:3:13
      |
    3 | prefixes = ['10.1.2.3/16']
      |             ^^^^^^^^^^^^^ bad prefix
    ");
    insta::assert_snapshot!(mistake("[network.a]\nprefixes = []\n"), @r"
    error: network `a` has neither prefixes nor members
     --> policy.toml:2:10
      |
    2 | [network.a]
      |          ^ nobody is a member
      |
      = help: list at least one of either, or remove the network
    ");
    insta::assert_snapshot!(mistake("[network.a]\n"), @r"
    error: network `a` has neither prefixes nor members
     --> policy.toml:2:10
      |
    2 | [network.a]
      |          ^ nobody is a member
      |
      = help: list at least one of either, or remove the network
    ");
}

#[test]
fn lists_of_prefixes() {
    let twice = "[network.a]\nprefixes = [\n  '10.1.0.0/16',\n  '10.2.0.0/16',\n  '10.1.0.0/16',\n]\n";
    insta::assert_snapshot!(mistake(twice), @r"
    error: 10.1.0.0/16 stands twice in `prefixes`
     --> policy.toml:6:3
      |
    6 |   '10.1.0.0/16',
      |   ^^^^^^^^^^^^^ again here
      |
     ::: policy.toml:4:3
      |
    4 |   '10.1.0.0/16',
      |   ------------- first here
    ");
    insta::assert_snapshot!(mistake("[network.a]\nprefixes = ['10.1.0.0/16']\nexcept = ['10.2.0.1/32']\n"), @r"
    error: 10.2.0.1/32 lies outside of every prefix of network `a`
     --> policy.toml:4:11
      |
    4 | except = ['10.2.0.1/32']
      |           ^^^^^^^^^^^^^ excepts nothing
      |
      = help: an exception must overlap with a prefix of its own network
    ");
}

#[test]
fn a_mistyped_prefix_does_not_make_its_exceptions_wrong() {
    let text = "[network.a]\nprefixes = ['10.1.0.0']\nexcept = ['10.1.0.1/32']\n";
    assert!(mistake(text).starts_with("error: 10.1.0.0 is an address; write 10.1.0.0/32"));
}

#[test]
fn a_network_defined_in_two_files() {
    let sources = [
        source("policy.toml", "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/24']\n"),
        source("policy.d/db.toml", "version = 1\n\n[network.blue]\nprefixes = ['10.9.0.0/24']\n"),
    ];
    insta::assert_snapshot!(Policy::parse(&sources).unwrap_err(), @r"
    error: network `blue` is defined twice
     --> policy.d/db.toml:3:10
      |
    3 | [network.blue]
      |          ^^^^ defined again here
      |
     ::: policy.toml:2:10
      |
    2 | [network.blue]
      |          ---- first defined here
    ");
}

#[test]
fn one_run_reports_the_mistakes_of_all_files() {
    let sources = [
        source("a.toml", "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/24']\n"),
        source("b.toml", "version = = 1\n[network.green]\nprefixes = ['nonsense']\n"),
        source(
            "c.toml",
            "mode = 'audit'\n[network.blue]\nprefixes = ['10.9.0.1/24']\n[network.c]\nprefixes = []\n\
             [network.d]\nprefixes = ['10.0.0.0/8']\nexcept = ['11.0.0.0/8', 4]\n[network.d]\nexcept = []\n",
        ),
    ];
    let refused = Policy::parse(&sources).unwrap_err();
    let messages: Vec<String> = refused
        .iter()
        .map(|diagnostic| format!("{}: {}", sources[diagnostic.place.source].name, diagnostic.message))
        .collect();
    insta::assert_snapshot!(messages.join("\n"), @r"
    b.toml: not valid TOML: extra `=`, expected nothing
    c.toml: missing `version`
    c.toml: unknown key `mode`; known: version, network, group, rule
    c.toml: network `blue` is defined twice
    c.toml: 10.9.0.1/24 has host bits set; did you mean 10.9.0.0/24?
    c.toml: network `c` has neither prefixes nor members
    c.toml: 11.0.0.0/8 lies outside of every prefix of network `d`
    c.toml: a prefix must be a string, not an integer
    c.toml: `[network.d]` is defined twice
    ");
}

#[test]
fn five_mistakes_are_five_diagnostics() {
    let text = "[[rules]]\n[network.blue]\nprefixes = ['10.1.2.3/16']\n[network.red]\nprefixes = 7\n\
                [network.green]\nprefixes = ['10.3.0.0/16']\nexcept = ['10.4.0.0/16']\n";
    assert_eq!(mistakes(text).iter().count(), 5);
}

/// Pieces of TOML, whole and broken.
const PIECES: [&str; 28] = [
    "[network.a]\n",
    "[network.\"a\"]\n",
    "[[network]]\n",
    "[group.b]\n",
    "[[rule]]\nname = 'r'\nfrom = ['a']\nto = ['b*', 'host']\ndeny = ['any']\n",
    "except_from = ['any']\n",
    "allow = ['tcp/80', 'ping']\n",
    "[network",
    "network.a.",
    "version = 1\n",
    "prefixes",
    "except",
    " = ",
    "['10.0.0.0/8']\n",
    "'10.0.0.1/8', ",
    "[",
    "]",
    "{ ",
    " }",
    "\"",
    "'''",
    ".",
    "\n",
    "\r",
    "\t# é\u{202e}",
    "\0",
    "1979-05-27",
    "0x_f",
];

proptest! {
    #[test]
    fn whatever_is_written_is_read_or_refused_with_a_place(
        pieces in prop::collection::vec(prop::sample::select(PIECES.as_slice()), 0..24),
    ) {
        let text = pieces.concat();
        match parse(&text) {
            Ok(policy) => prop_assert!(text.contains("version") && policy.networks.len() <= 1),
            Err(refused) => prop_assert!(refused.to_string().contains("--> policy.toml:"), "{}", refused),
        }
    }
}
