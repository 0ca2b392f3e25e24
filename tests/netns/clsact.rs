//! Where tcx is missing, the same through a clsact qdisc.

use enforcer::datapath::bpf::{TcxHook, tcx_programs};
use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::traffic::{ECHO_PORT, tcp};
use enforcer_tests::{Daemon, Host, Numbered};

use crate::town::POLICY;

#[test]
fn clsact_enforces_survives_and_is_cleaned() {
    let host = Host::new("clsact");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
    let db = host.workload("db").at("10.3.0.5/24").at("2001:db8:3::5/64").routed();
    let config = format!("{DEFAULT_CONFIG}[datapath]\nattach = \"clsact\"\n");
    let mut daemon = Daemon::start_with(&host, &config);
    daemon.wait_ready(&[web.interface(), api.interface(), db.interface()]);
    daemon.apply(POLICY);
    assert_eq!(daemon.json(&["status"])["attach"], "clsact");
    let governed = || {
        assert!(tcp(&web, api.ipv4(), ECHO_PORT) && tcp(&web, api.ipv6(), ECHO_PORT));
        assert!(!tcp(&web, db.ipv4(), ECHO_PORT) && !tcp(&web, db.ipv6(), ECHO_PORT));
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

#[test]
fn moving_to_tcx_and_back_leaves_one_program_on_each_hook() {
    let host = Host::new("moving");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let db = host.workload("db").at("10.3.0.5/24").routed();
    // The qdisc is somebody else's: ours are only the filters on it.
    assert!(host.netns().run("tc", &["qdisc", "add", "dev", web.interface(), "clsact"]).status.success());
    let config = |attach| format!("{DEFAULT_CONFIG}[datapath]\nattach = \"{attach}\"\n");
    let mut daemon = Daemon::start_with(&host, &config("clsact"));
    daemon.wait_ready(&[web.interface(), db.interface()]);
    let denied = Numbered::new(&web, &db, db.ipv4()).rate(5000).start();
    for (attach, filters, links) in [("tcx", 0, 1), ("clsact", 1, 0)] {
        daemon.stop();
        daemon.configure(&config(attach));
        daemon.start_again();
        daemon.wait_ready(&[web.interface(), db.interface()]);
        for (direction, hook) in [("ingress", TcxHook::Ingress), ("egress", TcxHook::Egress)] {
            let shown = host.netns().run("tc", &["filter", "show", "dev", web.interface(), direction]);
            let found = String::from_utf8_lossy(&shown.stdout).matches("handle 0xe4f0").count();
            let ifindex = host.netns().enter(|| nix::net::if_::if_nametoindex(web.interface())).unwrap();
            let programs = host.netns().enter(|| tcx_programs(ifindex, hook)).unwrap().len();
            assert_eq!((found, programs), (filters, links), "{direction}, attached with {attach}: {shown:?}");
        }
        assert!(!tcp(&web, db.ipv4(), ECHO_PORT));
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
