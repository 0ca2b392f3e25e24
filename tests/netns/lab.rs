//! The laboratory itself, without an enforcer: everybody reaches everybody. So a later denial is enforcement.

use std::path::Path;
use std::time::Duration;

use enforcer_tests::traffic::{DUE, ECHO_PORT, Probe, Protocol, ask_all};
use enforcer_tests::{Host, NetNs, Numbered, Workload, traffic, wait};

/// Asks with every protocol in both families, all at once, and names those without an answer.
#[track_caller]
fn assert_all_reach_each_other(workloads: &[&Workload]) {
    let mut probes = Vec::new();
    let mut names = Vec::new();
    for from in workloads {
        for to in workloads.iter().filter(|to| to.name() != from.name()) {
            for address in to.addresses() {
                for protocol in [Protocol::Tcp(ECHO_PORT), Protocol::Udp(ECHO_PORT), Protocol::Ping] {
                    probes.push(Probe { from: from.netns(), to: address.addr(), protocol });
                    names.push(format!("{} to {} ({address}), {protocol:?}", from.name(), to.name()));
                }
            }
        }
    }
    let answers = ask_all(&probes, DUE);
    let silent: Vec<_> = names.iter().zip(answers).filter(|(_, is_answered)| !is_answered).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn routed_workloads_reach_each_other() {
    let host = Host::new("routed");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let neighbour = host.workload("near").at("10.1.0.6/24").at("2001:db8:1::6/64").routed();
    let distant = host.workload("far").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
    assert_all_reach_each_other(&[&web, &neighbour, &distant]);
}

#[test]
fn bridged_workloads_reach_each_other_on_one_bridge_and_across_two() {
    let host = Host::new("bridged");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").bridged();
    let neighbour = host.workload("near").at("10.1.0.6/24").at("2001:db8:1::6/64").bridged();
    let distant = host.workload("far").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
    assert_all_reach_each_other(&[&web, &neighbour, &distant]);
}

#[test]
fn routed_and_bridged_workloads_reach_each_other() {
    let host = Host::new("mixed");
    let routed = host.workload("routed").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let bridged = host.workload("bridged").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
    assert_all_reach_each_other(&[&routed, &bridged]);
    let late = host.workload("late").at("10.2.0.6/24").at("2001:db8:2::6/64").bridged();
    assert_all_reach_each_other(&[&routed, &bridged, &late]);
}

#[test]
fn the_host_and_its_workloads_reach_each_other() {
    let host = Host::new("hostly");
    let routed = host.workload("routed").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let bridged = host.workload("bridged").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
    for workload in [&routed, &bridged] {
        for address in [workload.ipv4(), workload.ipv6()] {
            assert!(traffic::tcp(&host, address, ECHO_PORT), "tcp from the host to {address}");
            assert!(traffic::udp(&host, address, ECHO_PORT), "udp from the host to {address}");
            assert!(traffic::ping(&host, address), "ping from the host to {address}");
        }
        for address in [enforcer_tests::host::HOST_IPV4.into(), enforcer_tests::host::HOST_IPV6.into()] {
            assert!(traffic::ping(workload, address), "ping from {} to {address}", workload.name());
        }
    }
}

#[test]
fn a_workload_answers_from_the_address_that_was_asked() {
    let host = Host::new("several");
    let client = host.workload("client").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let server = host
        .workload("server")
        .at("10.2.0.5/24")
        .at("10.2.0.6/24")
        .at("2001:db8:2::5/64")
        .at("2001:db8:2::6/64")
        .routed();
    assert_all_reach_each_other(&[&client, &server]);
}

#[test]
fn silence_is_no_answer() {
    let host = Host::new("silence");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    for nobody in ["10.1.0.99", "2001:db8:1::99"].map(|address| address.parse().unwrap()) {
        assert!(!traffic::tcp_soon(&web, nobody, ECHO_PORT));
        assert!(!traffic::udp_soon(&web, nobody, ECHO_PORT));
        assert!(!traffic::ping_soon(&web, nobody));
    }
    let db = host.workload("db").at("10.2.0.5/24").routed();
    assert!(!traffic::tcp_soon(&web, db.ipv4(), 53), "nobody listens there yet");
    db.serve(53);
    assert!(traffic::tcp(&web, db.ipv4(), 53));
    assert!(traffic::udp(&web, db.ipv4(), 53));
}

#[test]
fn a_conversation_ends_with_its_server() {
    let host = Host::new("conversation");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let db = host.workload("db").at("10.2.0.5/24").routed();
    let mut conversation = traffic::Conversation::open(&web, db.ipv4(), ECHO_PORT).unwrap();
    assert!(conversation.goes_on());
    assert!(conversation.goes_on());
    drop(db);
    assert!(conversation.is_over());
}

#[test]
fn nothing_is_left_behind() {
    let host = Host::new("leaving");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let mut sleeper = web.netns().spawn("sleep", &["600"]);
    let paths = [host.netns().path(), web.netns().path()];
    assert!(paths.iter().all(|path| path.exists()));
    drop(web);
    assert!(sleeper.wait().unwrap().code().is_none(), "killed, not ended");
    assert!(!host.netns().run("ip", &["link", "show", "veth-web"]).status.success());
    let web = host.workload("web").at("10.1.0.5/24").routed();
    drop(host);
    drop(web);
    assert!(!paths.iter().any(|path| path.exists()));
}

#[test]
fn a_namespace_of_a_dead_process_is_swept() {
    // No process has this number: it is beyond the kernel's limit.
    let orphan = "enf-4194305-orphan";
    // Other tests sweep, too, and may do so while it is being made.
    wait::until("there is an orphan", Duration::from_secs(10), || {
        let added = std::process::Command::new("ip").args(["netns", "add", orphan]).status().unwrap();
        added.success().then_some(())
    });
    enforcer_tests::leftovers::sweep_dead();
    assert!(!Path::new(enforcer_tests::netns::DIRECTORY).join(orphan).exists());
    drop(NetNs::create("sweeper"));
}

#[test]
fn ten_thousand_numbered_packets_a_second_all_arrive() {
    let host = Host::new("numbered");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let db = host.workload("db").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
    for address in [db.ipv4(), db.ipv6()] {
        let report = Numbered::new(&web, &db, address).rate(10_000).run_for(Duration::from_secs(1));
        assert!(report.sent > 5_000, "only {} packets sent", report.sent);
        assert!(report.lost().is_empty(), "lost {:?}", report.lost());
        assert_eq!((report.duplicated, report.reordered), (0, 0));
    }
}
