//! `clean` removes everything, and `clean --check` proves it.

use enforcer_tests::traffic::{ECHO_PORT, tcp, tcp_soon};

use crate::town::Town;

#[test]
fn clean_removes_all_and_check_proves_it() {
    let mut town = Town::governed("clean");
    assert_eq!(town.daemon.cli(&["clean", "--check"]).status.code(), Some(1), "there is a lot");
    let refused = town.daemon.cli(&["clean"]);
    assert_eq!(refused.status.code(), Some(1), "not under a running daemon");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stop the daemon first"), "{refused:?}");
    town.daemon.stop();
    assert!(!tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT), "a stopped daemon leaves enforcement in place");
    let cleaned = town.daemon.cli(&["clean"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    let check = town.daemon.cli(&["clean", "--check"]);
    assert!(check.status.success(), "{check:?}");
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT), "nobody enforces any more");
}

#[test]
fn clean_leaves_other_programs_alone() {
    let mut town = Town::governed("neighbour");
    let host = town.host.netns();
    let foreign = "filter add dev veth-web ingress protocol all prio 50 u32 match u32 0 0 flowid 1:1";
    for command in ["qdisc add dev veth-web clsact", foreign] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let output = host.run("tc", &arguments);
        assert!(output.status.success(), "tc {command}: {output:?}");
    }
    town.daemon.stop();
    assert!(town.daemon.cli(&["clean"]).status.success());
    let filters = host.run("tc", &["filter", "show", "dev", town.web.interface(), "ingress"]);
    assert!(String::from_utf8_lossy(&filters.stdout).contains("pref 50"), "{filters:?}");
}
