//! Rules in what the enforcer tells: by name in flows and drops, with their hits in `rules`.

use enforcer_tests::traffic::{ECHO_PORT, tcp, tcp_soon};
use serde_json::{Value, json};

use crate::town::{POLICY, Town};

const RULES: &str = r#"
[[rule]]
name = "web to db"
from = ["10.1.0.0/24"]
to = ["green"]
allow = ["tcp/5432"]
[[rule]]
name = "quarantine"
from = ["10.2.0.5/32"]
to = ["10.1.0.5/32"]
deny = ["any"]
[[rule]]
name = "never"
from = ["world"]
to = ["host"]
deny = ["tcp/1-1023"]
"#;

fn rules(town: &Town) -> Value {
    town.daemon.json(&["rules"])
}

fn packets(rules: &Value, name: &str) -> u64 {
    let rule = rules.as_array().unwrap().iter().find(|rule| rule["name"] == name).unwrap();
    rule["packets"].as_u64().unwrap()
}

#[test]
fn a_rule_is_named_in_its_flow_and_counts_what_it_decides() {
    let mut town = Town::build("rules");
    town.daemon.apply(&format!("{POLICY}{RULES}"));
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT), "the rule admits");
    assert!(!tcp_soon(&town.web, town.db.ipv6(), ECHO_PORT), "but not this family");
    assert!(
        !tcp_soon(&town.api, town.web.ipv4(), ECHO_PORT),
        "a shared network does not help against a denial"
    );
    let flows = town.daemon.json(&["flows", "--rule", "web to db"]);
    assert_eq!(flows.as_array().unwrap().len(), 1, "{flows}");
    assert_eq!((&flows[0]["reason"], &flows[0]["dst"]), (&json!("allowed-by-rule"), &json!("10.3.0.5")));
    let denied = town.daemon.json(&["flows", "--reason", "denied-by-rule", "--verdict", "drop"]);
    assert!(denied.as_array().unwrap().iter().all(|flow| flow["rule"] == "quarantine"), "{denied}");
    assert!(!denied.as_array().unwrap().is_empty());
    let recent = town.daemon.json(&["drops"])["recent"].clone();
    let told = recent.as_array().unwrap().iter().find(|drop| drop["reason"] == "denied-by-rule").unwrap();
    assert_eq!(told["rule"], "quarantine");
    let alive = rules(&town);
    // A handshake, a line, its acknowledgement: at least four packets of web's.
    assert!(packets(&alive, "web to db") >= 4 && packets(&alive, "quarantine") >= 1, "{alive}");
    assert_eq!(packets(&alive, "never"), 0);
    assert_eq!(town.daemon.json(&["status"])["rules"], 3);
    town.daemon.kill();
    assert_eq!(rules(&town), alive, "the same from the tables, with the daemon dead");
}

#[test]
fn a_retired_rule_is_still_named_in_the_flows_it_decided() {
    let town = Town::build("retired");
    town.daemon.apply(&format!("{POLICY}{RULES}"));
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT));
    town.daemon.apply(POLICY);
    assert_eq!(rules(&town), json!([]));
    let flows = town.daemon.json(&["flows", "--rule", "web to db"]);
    assert!(!flows.as_array().unwrap().is_empty());
    assert_eq!(town.daemon.json(&["status"])["rules"], 0);
}
