//! A new policy under traffic: complete or absent, and nothing lost that both policies allow.

use enforcer_tests::Numbered;
use enforcer_tests::traffic::{Conversation, ECHO_PORT, tcp, tcp_soon};

use crate::town::{POLICY, Town};

/// The town's policy, but db is in *blue* and tool only in *green*.
pub const OTHER: &str = r#"
version = 1
[network.blue]
prefixes = ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:1::/64", "2001:db8:2::/64", "10.3.0.0/24", "2001:db8:3::/64"]
[network.green]
prefixes = ["10.4.0.0/24", "2001:db8:4::/64"]
"#;

#[test]
fn what_both_policies_allow_loses_nothing_and_what_both_deny_gets_nothing() {
    let town = Town::governed("swap");
    let allowed4 = Numbered::new(&town.web, &town.api, town.api.ipv4()).rate(5000).start();
    let allowed6 = Numbered::new(&town.api, &town.web, town.web.ipv6()).rate(5000).start();
    let denied = Numbered::new(&town.api, &town.host, "10.4.0.1".parse().unwrap()).rate(1000).start();
    for _ in 0..20 {
        town.daemon.apply(OTHER);
        town.daemon.apply(POLICY);
    }
    let generation = town.daemon.json(&["status"])["generation"].as_u64().unwrap();
    assert_eq!(generation, 41);
    for (name, report) in [("IPv4", allowed4.finish()), ("IPv6", allowed6.finish())] {
        assert!(report.sent > 1000, "{name}: only {} packets were sent", report.sent);
        assert_eq!(report.lost().len(), 0, "{name}: lost {:?} of {}", report.lost(), report.sent);
        assert_eq!((report.duplicated, report.reordered), (0, 0), "{name}");
    }
    let denied = denied.finish();
    assert!(
        denied.sent > 0 && denied.received.is_empty(),
        "{} denied packets arrived",
        denied.received.len()
    );
}

#[test]
fn tightening_cuts_open_connections_and_loosening_admits_at_once() {
    let town = Town::governed("tighten");
    let mut conversation =
        Conversation::open(&town.tool, town.db.ipv4(), ECHO_PORT).expect("tool shares green with db");
    assert!(conversation.goes_on());
    assert!(!tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT));
    town.daemon.apply(OTHER);
    assert!(conversation.is_over(), "tool and db share nothing any more");
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT), "web and db share blue now");
}

#[test]
fn plan_and_check_name_what_the_policy_in_force_would_lose() {
    let town = Town::governed("plan");
    let input = |args: &[&str], policy: &str| {
        let output = town.daemon.cli_with_input(args, policy);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let plan: serde_json::Value = serde_json::from_str(&input(&["plan", "-", "-o", "json"], OTHER)).unwrap();
    assert_eq!((&plan["generation"], &plan["networks"][1]["name"]), (&1.into(), &"green".into()));
    assert_eq!(plan["networks"][0]["prefixes_added"][0], "10.3.0.0/24");
    // Every address stays covered, if by another network.
    assert_eq!(plan["world"]["into"], serde_json::json!([]));
    assert!(!input(&["check", "-"], OTHER).contains("world"));
    let text = input(&["check", "-"], "version = 1");
    assert!(
        text.contains("into world: 10.1.0.0/24, 10.2.0.0/24, 10.3.0.0/24, 10.4.0.0/24, 2001:db8:1::/64, "),
        "{text}"
    );
    assert_eq!(town.daemon.json(&["status"])["generation"], 1);
}

#[test]
fn nothing_moves_into_a_world_that_a_rule_names_unless_forced() {
    let rule = "[[rule]]\nname = 'the web'\nfrom = ['blue']\nto = ['world']\nallow = ['tcp/443']\n";
    let town = Town::governed("world");
    town.daemon.apply(&format!("{POLICY}{rule}"));
    // Without tool's network, which says nothing about the rule.
    let smaller = format!("{}{rule}", POLICY.replace("\"10.4.0.0/24\", ", ""));
    let refused = town.daemon.cli_with_input(&["apply", "-"], &smaller);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.starts_with("error: rule `the web` names world") && text.contains("--force"), "{text}");
    // 10.4.0.9 stays in blue.
    assert!(text.contains(": 10.4.0.0/29, 10.4.0.8/32, 10.4.0.10/31, "), "{text}");
    assert_eq!(town.daemon.json(&["status"])["generation"], 2);
    let forced = town.daemon.cli_with_input(&["apply", "-", "--force"], &smaller);
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(town.daemon.json(&["status"])["generation"], 3);
}

#[test]
fn applying_the_same_policy_changes_nothing() {
    let town = Town::governed("same");
    let output = town.daemon.cli_with_input(&["apply", "-"], POLICY);
    assert!(String::from_utf8_lossy(&output.stdout).contains("unchanged"), "{output:?}");
    assert_eq!(town.daemon.json(&["status"])["generation"], 1);
}

#[test]
fn a_policy_that_is_refused_leaves_the_one_before_in_place() {
    let town = Town::governed("refused");
    let network = |number| format!("[network.n{number}]\nprefixes = [\"10.1.0.0/24\"]\n");
    let crowd = "version = 1\n".to_owned() + &(0..65).map(network).collect::<Vec<_>>().concat();
    for (policy, part) in
        [("version = 1\n[network.blue]\nprefixes = [\"10.1.0.5/24\"]\n", "host bits"), (&*crowd, "64")]
    {
        let output = town.daemon.cli_with_input(&["apply", "-"], policy);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(part), "{errors}");
    }
    assert_eq!(town.daemon.json(&["status"])["generation"], 1);
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT));
    assert!(!tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT));
}
