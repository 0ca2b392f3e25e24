//! Where tcx is missing, the same through a clsact qdisc.

use enforcer::datapath::bpf::{TcxHook, tcx_programs};
use enforcer_tests::daemon::attaching_by;
use enforcer_tests::host::HOST_IPV4;
use enforcer_tests::kernel::require_tcx;
use enforcer_tests::traffic::{ECHO_PORT, ping, ping_soon, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host, Numbered, wait};

use crate::town::POLICY;

#[test]
fn clsact_enforces_survives_and_is_cleaned() {
    let host = Host::new("clsact");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
    let db = host.workload("db").at("10.3.0.5/24").at("2001:db8:3::5/64").routed();
    let config = attaching_by("clsact");
    let mut daemon = Daemon::start_with(&host, &config);
    daemon.wait_ready(&[web.interface(), api.interface(), db.interface()]);
    daemon.apply(POLICY);
    assert_eq!(daemon.json(&["status"])["attach"], "clsact");
    let governed = || {
        assert!(tcp(&web, api.ipv4(), ECHO_PORT) && tcp(&web, api.ipv6(), ECHO_PORT));
        assert!(!tcp_soon(&web, db.ipv4(), ECHO_PORT) && !tcp_soon(&web, db.ipv6(), ECHO_PORT));
    };
    governed();
    daemon.kill();
    governed();
    daemon.start_again();
    governed();
    let filters = host.netns().run("tc", &["filter", "show", "dev", web.interface(), "ingress"]);
    let filters = String::from_utf8_lossy(&filters.stdout).into_owned();
    assert_eq!(filters.matches("handle 0xe4f0").count(), 1, "replaced, not added: {filters}");
    daemon.stop();
    assert_eq!(daemon.cli(&["clean", "--check"]).status.code(), Some(1));
    assert!(daemon.cli(&["clean"]).status.success());
    let check = daemon.cli(&["clean", "--check"]);
    assert!(check.status.success(), "{check:?}");
    assert!(tcp(&web, db.ipv4(), ECHO_PORT));
    let qdiscs = host.netns().run("tc", &["qdisc", "show", "dev", web.interface()]);
    assert!(!String::from_utf8_lossy(&qdiscs.stdout).contains("clsact"), "{qdiscs:?}");
}

fn clsact_and(more: &str) -> String {
    attaching_by("clsact") + more
}

/// A filter of somebody else that accepts whatever reaches it; whether the kernel took it.
fn accepting(host: &Host, interface: &str, hook: &str, priority: u32) -> bool {
    let (priority, all) = (priority.to_string(), ["u32", "match", "u32", "0", "0", "flowid", "1:1"]);
    let place = ["filter", "add", "dev", interface, hook, "protocol", "all", "prio", &priority];
    host.netns().run("tc", &[&place[..], &all].concat()).status.success()
}

#[test]
fn no_filter_of_somebody_else_accepts_a_packet_past_ours() {
    let host = Host::new("accepting");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let db = host.workload("db").at("10.3.0.5/24").routed();
    let hooks = [(web.interface(), "ingress"), (db.interface(), "egress")];
    for (interface, hook) in hooks {
        assert!(host.netns().run("tc", &["qdisc", "add", "dev", interface, "clsact"]).status.success());
        assert!(accepting(&host, interface, hook, 2), "was there first");
    }
    // Without the gate: it would stop what ours do not.
    let mut daemon = Daemon::start_with(&host, &clsact_and("unknown = \"ignore\"\n"));
    daemon.wait_ready(&[web.interface(), db.interface()]);
    daemon.apply(POLICY);
    assert!(!tcp_soon(&web, db.ipv4(), ECHO_PORT), "past what came first");
    for (interface, hook) in hooks {
        assert!(accepting(&host, interface, hook, 3), "came later");
        assert!(!accepting(&host, interface, hook, 1), "the first place is for filters like ours");
    }
    daemon.restart();
    assert!(!tcp_soon(&web, db.ipv4(), ECHO_PORT), "past any of them");
    // They do accept, once ours are gone.
    daemon.stop();
    assert!(daemon.cli(&["clean"]).status.success());
    assert!(tcp(&web, db.ipv4(), ECHO_PORT));
}

#[test]
fn whose_first_place_is_taken_is_told_and_stays_closed() {
    let host = Host::new("taken");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let db = host.workload("db").at("10.3.0.5/24").routed();
    assert!(host.netns().run("tc", &["qdisc", "add", "dev", web.interface(), "clsact"]).status.success());
    assert!(accepting(&host, web.interface(), "ingress", 1));
    assert!(ping(&web, HOST_IPV4.into()), "open before");
    let daemon = Daemon::start_with(&host, &clsact_and(""));
    daemon.wait_ready(&[db.interface()]);
    daemon.apply(POLICY);
    let warnings = daemon.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains(web.interface()) && warnings.contains("attach"), "{warnings}");
    // Every policy allows that.
    assert!(ping(&db, HOST_IPV4.into()), "who has programs may ask");
    assert!(!ping_soon(&web, HOST_IPV4.into()), "who has none is closed");
}

#[test]
fn replacing_filters_loses_no_packet_and_lets_none_through() {
    let host = Host::new("replacing");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let api = host.workload("api").at("10.2.0.5/24").routed();
    let db = host.workload("db").at("10.3.0.5/24").routed();
    let mut daemon = Daemon::start_with(&host, &clsact_and(""));
    daemon.wait_ready(&[web.interface(), api.interface(), db.interface()]);
    daemon.apply(POLICY);
    let slowness = wait::slowness();
    let (rate, rounds) = (5000 / slowness.pow(3), if slowness == 1 { 3 } else { 1 });
    let allowed = Numbered::new(&web, &api, api.ipv4()).rate(rate).start();
    let denied = Numbered::new(&web, &db, db.ipv4()).rate(rate).start();
    for _ in 0..rounds {
        daemon.kill();
        daemon.start_again();
        daemon.restart();
    }
    let (allowed, denied) = (allowed.finish(), denied.finish());
    let enough = if slowness == 1 { 1000 } else { 50 };
    assert!(
        allowed.sent > enough && denied.sent > enough,
        "only {} and {} were sent",
        allowed.sent,
        denied.sent
    );
    assert_eq!(allowed.lost().len(), 0, "lost {:?} of {}", allowed.lost(), allowed.sent);
    assert!(denied.received.is_empty(), "{} of {} arrived", denied.received.len(), denied.sent);
}

#[test]
fn moving_to_tcx_and_back_leaves_one_program_on_each_hook() {
    require_tcx();
    let host = Host::new("moving");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let db = host.workload("db").at("10.3.0.5/24").routed();
    // The qdisc is somebody else's: ours are only the filters on it.
    assert!(host.netns().run("tc", &["qdisc", "add", "dev", web.interface(), "clsact"]).status.success());
    let mut daemon = Daemon::start_with(&host, &attaching_by("clsact"));
    daemon.wait_ready(&[web.interface(), db.interface()]);
    let denied = Numbered::new(&web, &db, db.ipv4()).rate(5000).start();
    for (attach, filters, links) in [("auto", 0, 1), ("clsact", 1, 0)] {
        daemon.stop();
        daemon.configure(&attaching_by(attach));
        daemon.start_again();
        daemon.wait_ready(&[web.interface(), db.interface()]);
        for (direction, hook) in [("ingress", TcxHook::Ingress), ("egress", TcxHook::Egress)] {
            let shown = host.netns().run("tc", &["filter", "show", "dev", web.interface(), direction]);
            let found = String::from_utf8_lossy(&shown.stdout).matches("handle 0xe4f0").count();
            let ifindex = host.netns().enter(|| nix::net::if_::if_nametoindex(web.interface())).unwrap();
            let programs = host.netns().enter(|| tcx_programs(ifindex, hook)).unwrap().len();
            assert_eq!((found, programs), (filters, links), "{direction}, attached with {attach}: {shown:?}");
        }
        assert!(!tcp_soon(&web, db.ipv4(), ECHO_PORT));
    }
    let denied = denied.finish();
    assert!(denied.sent > 1000, "only {} packets were sent", denied.sent);
    assert!(
        denied.received.is_empty(),
        "{} of {} denied packets arrived",
        denied.received.len(),
        denied.sent
    );
}
