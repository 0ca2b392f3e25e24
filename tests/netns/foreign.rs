//! What others have put in a workload's way is told, by the daemon with what it may do, and left alone.

use std::time::Duration;

use enforcer_tests::command::transcript;
use enforcer_tests::{Daemon, Host, wait};
use serde_json::{Value, json};

/// Longer than an answer is remembered.
const PATIENCE: Duration = Duration::from_secs(10);

/// What Docker does first when it starts with iptables, and a published port.
const IPTABLES: [&str; 6] = [
    "iptables -P FORWARD DROP",
    "iptables -N DOCKER-ISOLATION-STAGE-2",
    "iptables -A FORWARD -i veth-web -j DOCKER-ISOLATION-STAGE-2",
    "iptables -A DOCKER-ISOLATION-STAGE-2 -o veth-api -j DROP",
    "iptables -t nat -A POSTROUTING -s 10.1.0.0/24 ! -o docker0 -j MASQUERADE",
    "iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.1.0.5:80",
];

fn find<'f>(found: &'f [Value], chain: &str, effect: &str) -> Option<&'f Value> {
    found.iter().find(|finding| finding["chain"] == chain && finding["effect"] == effect)
}

#[test]
fn rules_in_the_way_are_told_with_what_they_dropped() {
    let host = Host::new("foreign");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let api = host.workload("api").at("10.2.0.5/24").routed();
    let mut daemon = Daemon::start(&host);
    daemon.wait_ready(&[web.interface(), api.interface()]);
    assert_eq!(daemon.foreign(), [Value::Null; 0], "the gate is ours");
    for command in IPTABLES {
        let words: Vec<&str> = command.split(' ').collect();
        let output = host.netns().run(words[0], &words[1..]);
        assert!(output.status.success(), "{command}: {}", transcript(&output));
    }
    daemon.apply("version = 1\n[network.all]\nprefixes = [\"10.0.0.0/8\"]\n");
    web.netns().run("ping", &["-c", "1", "-W", "0.2", "10.2.0.5"]);
    let found = wait::until("the rules are told", PATIENCE, || {
        let found = daemon.foreign();
        find(&found, "DOCKER-ISOLATION-STAGE-2", "drops")
            .is_some_and(|rule| rule["packets"] != 0)
            .then_some(found)
    });
    let policy = find(&found, "FORWARD", "drops").unwrap();
    assert_eq!((&policy["text"], &policy["family"]), (&json!("policy drop"), &json!("ip")));
    assert_eq!(find(&found, "POSTROUTING", "hides-sender").unwrap()["packets"], 0);
    let dnat = find(&found, "PREROUTING", "redirects").unwrap();
    assert!(dnat["text"].as_str().unwrap().contains("10.1.0.5:80"), "{dnat}");
    assert_eq!(found.len(), 4, "{found:?}");
    let shown = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("ip filter DOCKER-ISOLATION-STAGE-2"), "{shown}");
    daemon.kill();
    assert_eq!(daemon.foreign(), found, "the same without a daemon");
    daemon.hide_programs();
    daemon.start_again();
    let unseen = &daemon.json(&["status"])["foreign_unseen"];
    assert!(unseen[0].as_str().unwrap().contains("there is no `nft`"), "{unseen}");
}

#[test]
fn workloads_that_no_program_sees_are_told() {
    let host = Host::new("unenforced");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let other = host.workload("other").at("10.2.0.5/24").behind("lxc-other").routed();
    let up = host.workload("up").at("198.51.100.9/24").behind("wan0").routed();
    let daemon = Daemon::start_with(
        &host,
        "policy = []\n[attach]\nmatch = [\"veth-*\"]\n[[uplink]]\nmatch = \"wan*\"\ntrust = \"fabric\"\n",
    );
    daemon.wait_ready(&[web.interface()]);
    for command in ["ip tuntap add dev vnet0 mode tap", "ip link add link veth-web name mac0 type macvlan"] {
        let words: Vec<&str> = command.split(' ').collect();
        let output = host.netns().run(words[0], &words[1..]);
        assert!(output.status.success(), "{command}: {}", transcript(&output));
    }
    let status = daemon.json(&["status"]);
    let names: Vec<&str> =
        status["unenforced"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["lxc-other", "mac0", "vnet0"], "{status}");
    drop((other, up));
}
