use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::policy::{Capacity, Ids, Source, compile};

fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}

fn policy(text: &str) -> Policy {
    let source = Source { name: "policy.toml".into(), text: format!("version = 1\n{text}") };
    Policy::parse(&[source]).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(text: &str) -> String {
    let source = Source { name: "policy.toml".into(), text: format!("version = 1\n{text}") };
    Policy::parse(&[source]).unwrap_err().to_string()
}

fn labels(known: &[(&str, &str)]) -> Labels {
    let mut labels = Labels::none();
    for (label, prefix) in known {
        labels.add(label, prefix.parse().unwrap());
    }
    labels
}

#[rstest]
#[case("docker:name:web-?", "docker:name:web-1", true)]
#[case("docker:name:web-?", "docker:name:web-10", false)]
#[case("docker:name:*", "docker:name:anything", true)]
#[case("docker:name:*", "docker:label:a=b", false)]
#[case("docker:name:Web", "docker:name:web", false)]
#[case("docker:label:net", "docker:label:net=blue", true)]
#[case("docker:label:net", "docker:label:net=", true)]
#[case("docker:label:net", "docker:label:network=blue", false)]
#[case("docker:label:net", "docker:name:net=blue", false)]
#[case("docker:label:net=blue", "docker:label:net=blue", true)]
#[case("docker:label:net=blue", "docker:label:net=blue2", false)]
#[case("docker:label:net=", "docker:label:net=", true)]
#[case("docker:label:net=", "docker:label:net=blue", false)]
#[case("docker:label:net=a=b", "docker:label:net=a=b", true)]
fn a_selector_means_whole_names_and_labels(
    #[case] selector: &str,
    #[case] label: &str,
    #[case] expected: bool,
) {
    assert_eq!(self::selector(selector).matches(label), expected);
    assert_eq!(self::selector(selector).to_string(), selector);
}

#[rstest]
#[case("web-1", "`web-1` names no containers")]
#[case("docker:web-1", "`docker:web-1` names no containers")]
#[case("docker:label:", "`docker:label:` names no containers")]
#[case("docker:label:=blue", "`docker:label:=blue` names no containers")]
#[case("podman:name:web", "`podman:name:web` names no containers")]
#[case("10.1.0.0/24", "`10.1.0.0/24` is an address")]
#[case("10.1.0.5", "`10.1.0.5` is an address")]
#[case("docker:name:", "`` matches no container's name")]
#[case("docker:name:web 1", "`web 1` matches no container's name")]
#[case("docker:name:/web", "`/web` matches no container's name")]
#[case("docker:label:net=*", "labels are compared as they are")]
#[case("docker:label:net =blue ", "blanks around a label")]
#[case("docker:label:net=a\nb", "blanks around a label")]
fn what_selects_nobody_is_refused(#[case] text: &str, #[case] begins: &str) {
    let refused = text.parse::<Selector>().unwrap_err().to_string();
    assert!(refused.starts_with(begins), "{refused}");
}

const BLUE: &str = "[network.blue]\nmembers = ['docker:label:net=blue', 'docker:name:db-*']\n";

#[test]
fn a_network_may_have_members_instead_of_prefixes() {
    let policy =
        policy(&format!("{BLUE}[group.all]\nprefixes = ['10.0.0.0/8']\nmembers = ['docker:name:*']"));
    let json = serde_json::to_string(&policy).unwrap();
    insta::assert_snapshot!(json, @r#"{"networks":{"blue":{"prefixes":[],"members":["docker:name:db-*","docker:label:net=blue"]}},"groups":{"all":{"prefixes":["10.0.0.0/8"],"members":["docker:name:*"]}}}"#);
    assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    assert!(policy.has_members() && !Policy::default().has_members());
}

#[test]
fn mistakes_are_shown_where_they_are() {
    insta::assert_snapshot!(mistakes("[network.a]\nmembers = ['web', 'docker:name:a', 'docker:name:a']\n"), @r"
    error: `web` names no containers; write docker:label:KEY=VALUE, docker:label:KEY or docker:name:PATTERN
     --> policy.toml:3:12
      |
    3 | members = ['web', 'docker:name:a', 'docker:name:a']
      |            ^^^^^ names nobody

    error: docker:name:a stands twice in `members`
     --> policy.toml:3:36
      |
    3 | members = ['web', 'docker:name:a', 'docker:name:a']
      |                                    ^^^^^^^^^^^^^^^ again here
      |
     ::: policy.toml:3:19
      |
    3 | members = ['web', 'docker:name:a', 'docker:name:a']
      |                   --------------- first here
    ");
    insta::assert_snapshot!(mistakes("[network.a]\nprefixes = []\nmembers = []\n"), @r"
    error: network `a` has neither prefixes nor members
     --> policy.toml:2:10
      |
    2 | [network.a]
      |          ^ nobody is a member
      |
      = help: list at least one of either, or remove the network
    ");
    insta::assert_snapshot!(mistakes("[group.a]\nmembers = 'docker:name:a'\n"), @r"
    error: `members` must be an array of members, not a string
     --> policy.toml:3:11
      |
    3 | members = 'docker:name:a'
      |           ^^^^^^^^^^^^^^^ this is a string
    ");
    // A member may have the address.
    policy("[network.a]\nmembers = ['docker:name:a']\nexcept = ['10.0.0.0/8']");
}

#[test]
fn members_are_resolved_to_what_they_own() {
    let policy =
        policy(&format!("{BLUE}except = ['10.1.0.13/32']\n[network.red]\nprefixes = ['10.9.0.0/24']"));
    let known = labels(&[
        ("docker:label:net=blue", "10.1.0.5/32"),
        ("docker:label:net=blue", "10.1.0.13/32"),
        ("docker:label:net=red", "10.1.0.6/32"),
        ("docker:name:db-1", "2001:db8::7/128"),
    ]);
    let resolved = policy.resolve(&known);
    let members = |policy: &Policy, address: &str| {
        policy.memberships(address.parse().unwrap()).into_iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(members(&policy, "10.1.0.5"), Vec::<String>::new());
    assert_eq!(members(&resolved, "10.1.0.5"), ["blue"]);
    assert_eq!(members(&resolved, "10.1.0.13"), Vec::<String>::new(), "an exception wins");
    assert_eq!(members(&resolved, "10.1.0.6"), Vec::<String>::new());
    assert_eq!(members(&resolved, "2001:db8::7"), ["blue"]);
    assert_eq!(members(&resolved, "10.9.0.1"), ["red"]);
    assert_eq!(policy.resolve(&Labels::none()), policy);
    assert_ne!(policy.digest(), resolved.digest(), "what is saved and compared is what was written");
}

#[test]
fn what_no_network_can_hold_is_nobodys_membership() {
    for net in ["169.254.0.7/32", "fe80::1/128", "127.0.0.1/32", "0.0.0.0/8"] {
        assert_eq!(Prefix::owned(net.parse().unwrap()), None, "{net}");
    }
    assert_eq!(Prefix::owned("10.1.0.5/24".parse().unwrap()), Some("10.1.0.0/24".parse().unwrap()));
}

#[test]
fn what_is_known_is_compared() {
    let both = labels(&[("a", "10.0.0.1/32"), ("a", "10.0.0.2/32"), ("b", "10.0.0.2/32")]);
    let one = labels(&[("a", "10.0.0.2/32"), ("c", "10.0.0.3/32")]);
    assert_eq!(both.common(&one), labels(&[("a", "10.0.0.2/32")]));
    let beyond: Vec<String> = both.beyond(&one).iter().map(ToString::to_string).collect();
    assert_eq!(beyond, ["10.0.0.1/32", "10.0.0.2/32"]);
    assert_eq!(both.only(|prefix| prefix.to_string() == "10.0.0.1/32"), labels(&[("a", "10.0.0.1/32")]));
    assert!(both.beyond(&both).is_empty());
}

const TEXTS: [&str; 4] =
    ["docker:name:web-1", "docker:name:web-2", "docker:label:net=blue", "docker:label:net=red"];
const SELECTORS: [&str; 5] =
    ["docker:name:*", "docker:name:web-1", "docker:label:net", "docker:label:net=blue", "docker:name:db"];

fn any_labels() -> impl Strategy<Value = Labels> {
    let known = (prop::sample::select(TEXTS.as_slice()), 0_u8..8);
    prop::collection::vec(known, 0..10).prop_map(|known| {
        let mut labels = Labels::none();
        for (label, last) in known {
            labels.add(label, format!("10.0.0.{last}/32").parse().unwrap());
        }
        labels
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let members = prop::collection::btree_set(prop::sample::select(SELECTORS.as_slice()), 0..4);
    prop::collection::vec((members, any::<bool>()), 1..4).prop_map(|sets| {
        let networks = sets.into_iter().enumerate().map(|(index, (members, with_prefix))| {
            let prefixes = if with_prefix || members.is_empty() { "'10.0.0.2/31'" } else { "" };
            let members: Vec<String> = members.iter().map(|member| format!("'{member}'")).collect();
            format!("[network.n{index}]\nprefixes = [{prefixes}]\nmembers = [{}]\n", members.join(","))
        });
        policy(&networks.collect::<String>())
    })
}

const TEAMS: &str = "[network.blue]\nprefixes = ['10.9.0.0/24']\nmembers = ['docker:label:team=blue', 'docker:name:web-*']\n\
     except = ['10.1.0.13/32']\n[group.labelled]\nmembers = ['docker:label:team']\n";

#[rstest]
#[case::by_its_label("10.1.0.5", &["blue: docker:label:team=blue", "labelled: docker:label:team"])]
#[case::by_its_name("10.1.0.6", &["blue: docker:name:web-*"])]
#[case::by_both("10.1.0.7", &["blue: docker:name:web-* docker:label:team=blue", "labelled: docker:label:team"])]
#[case::excepted("10.1.0.13", &["labelled: docker:label:team"])]
#[case::by_its_prefix_alone("10.9.0.1", &[])]
fn what_selects_an_address_is_told(#[case] address: &str, #[case] expected: &[&str]) {
    let known = labels(&[
        ("docker:label:team=blue", "10.1.0.5/32"),
        ("docker:name:web-1", "10.1.0.6/32"),
        ("docker:label:team=blue", "10.1.0.7/32"),
        ("docker:name:web-2", "10.1.0.7/32"),
        ("docker:label:team=blue", "10.1.0.13/32"),
    ]);
    let told = policy(TEAMS).selected(&known, address.parse().unwrap());
    let told = told.into_iter().map(|(name, members)| {
        format!("{name}: {}", members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn members_that_are_the_same_in_another_policy_are_the_same_addresses() {
    let old = policy(TEAMS);
    let known = labels(&[("docker:label:team=blue", "10.1.0.5/32"), ("docker:name:db", "10.1.0.9/32")]);
    let told = old.additions(&known);
    let text =
        "[network.renamed]\nmembers = ['docker:label:team']\n[network.db]\nmembers = ['docker:name:db']";
    let new = policy(text);
    let (here, unknown) = new.resolve_like(&old, Some(&told));
    assert_eq!(unknown, ["db".parse().unwrap()], "nobody was asked for these");
    let memberships = |address: &str| here.memberships(address.parse().unwrap()).len();
    assert_eq!((memberships("10.1.0.5"), memberships("10.1.0.9")), (1, 0));
    assert_eq!(old.resolve_like(&old, Some(&told)), (old.resolve(&known), vec![]));
    assert_eq!(new.resolve_like(&old, None).1.len(), 2);
}

proptest! {
    #[test]
    fn an_address_is_a_member_by_prefix_or_by_what_is_known(policy in any_policy(), known in any_labels()) {
        let resolved = policy.resolve(&known);
        let ids = Ids::default().assign(&policy).unwrap();
        let tables = compile(&resolved, &ids, Capacity::default()).unwrap();
        for last in 0..8_u8 {
            let address: IpAddr = format!("10.0.0.{last}").parse().unwrap();
            let own: Prefix = format!("10.0.0.{last}/32").parse().unwrap();
            let carries = |selector: &Selector| {
                known.0.iter().any(|(label, prefixes)| prefixes.contains(&own) && selector.matches(label))
            };
            let expected: Vec<u32> = policy
                .networks
                .iter()
                .filter(|(_, set)| set.contains(address) || set.members().iter().any(carries))
                .map(|(name, _)| ids.networks.id(name).unwrap())
                .collect();
            prop_assert_eq!(tables.networks_of(tables.membership(address)), expected);
        }
    }

    #[test]
    fn what_both_know_is_what_neither_adds(a in any_labels(), b in any_labels()) {
        let common = a.common(&b);
        prop_assert_eq!(&common, &b.common(&a));
        prop_assert!(common.beyond(&a).is_empty() && common.beyond(&b).is_empty());
        prop_assert_eq!(common == a, a.beyond(&b).is_empty());
    }
}
