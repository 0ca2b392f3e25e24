//! A good neighbour: what others have put on this host is as it was before, while ours runs and afterwards.

use std::net::UdpSocket;
use std::time::Duration;

use enforcer::datapath::bpf::{TcxHook, tcx_programs};
use enforcer_tests::daemon::attaching_by;
use enforcer_tests::foreign::Foreign;
use enforcer_tests::tcx::Place;
use enforcer_tests::traffic::{ECHO_PORT, ping_soon, tcp};
use enforcer_tests::{Daemon, Host, NetNs, Workload, wait};

use crate::town::{POLICY, Town};

/// Longer than the daemon takes to notice anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// The programs on a hook of veth-web, in their order; ours is 0.
fn order(town: &Town, hook: TcxHook, foreign: &[&Foreign]) -> Vec<u32> {
    let programs = town.host.netns().enter(|| {
        let ifindex = nix::net::if_::if_nametoindex("veth-web").unwrap();
        tcx_programs(ifindex, hook).unwrap()
    });
    let is_foreign = |id: &u32| foreign.iter().any(|foreign| foreign.program_id() == *id);
    programs.into_iter().map(|id| if is_foreign(&id) { id } else { 0 }).collect()
}

#[test]
fn other_tcx_programs_keep_their_places_and_run_on() {
    enforcer_tests::kernel::require_tcx();
    let mut town = Town::governed("neighbours");
    let host = town.host.netns();
    let before = Foreign::attach(host, "veth-web", TcxHook::Ingress, Place::First);
    let after = Foreign::attach(host, "veth-web", TcxHook::Ingress, Place::Last);
    let both = [&before, &after];
    let with_ours = [before.program_id(), 0, after.program_id()];
    // From then on nothing goes straight past them.
    wait::until("the daemon notices them", PATIENCE, || {
        let barred = town.daemon.json(&["status"])["fastpath"]["barred"].clone();
        barred.to_string().contains("programs of others on its interface").then_some(())
    });
    assert_eq!(order(&town, TcxHook::Ingress, &both), with_ours);
    for round in 0..3 {
        for (to, passes) in [(&town.api, true), (&town.db, false)] {
            assert!(sees(&before, &town.web, to), "before ours, {}", to.name());
            assert_eq!(sees(&after, &town.web, to), passes, "after ours, {}", to.name());
        }
        // The next daemon puts programs of its own in the place of these.
        town.daemon.kill();
        assert_eq!(order(&town, TcxHook::Ingress, &both), with_ours, "round {round}: no daemon");
        town.daemon.start_again();
        assert_eq!(order(&town, TcxHook::Ingress, &both), with_ours, "round {round}: the next daemon");
    }
    town.daemon.stop();
    assert!(town.daemon.cli(&["clean"]).status.success());
    assert_eq!(order(&town, TcxHook::Ingress, &both), [before.program_id(), after.program_id()]);
    let last = after.packets();
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT), "nobody enforces any more");
    assert!(after.packets() > last, "and who is left runs on");
}

/// Packets sent at a time; more than chance sends meanwhile.
const PACKETS: u64 = 200;

/// Whether the program sees packets from one workload to another: all of them, or none but what is under way
/// anyhow.
fn sees(foreign: &Foreign, from: &Workload, to: &Workload) -> bool {
    let before = foreign.packets();
    from.netns().enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..PACKETS {
            socket.send_to(b"packet", (to.ipv4(), 9)).unwrap();
        }
    });
    let seen = foreign.packets() - before;
    assert!(!(PACKETS / 4..PACKETS).contains(&seen), "{seen} of {PACKETS} packets");
    seen >= PACKETS
}

/// A host with two workloads, and nothing of ours.
fn bare(name: &str) -> (Host, Workload, Workload) {
    let host = Host::new(name);
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
    (host, web, api)
}

/// What a command prints in a namespace.
#[track_caller]
fn printed(netns: &NetNs, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let output = netns.run(words[0], &words[1..]);
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_program_that_was_there_first_stays_and_ours_goes_before_it() {
    enforcer_tests::kernel::require_tcx();
    let (host, web, api) = bare("earlier");
    let db = host.workload("db").at("10.3.0.5/24").routed();
    let earlier = Foreign::attach(host.netns(), "veth-web", TcxHook::Ingress, Place::Last);
    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[web.interface(), api.interface(), db.interface()]);
    daemon.apply(POLICY);
    assert!(sees(&earlier, &web, &api), "it sees what ours lets pass");
    assert!(!sees(&earlier, &web, &db), "it cannot accept a packet past ours");
}

#[test]
fn filters_and_qdiscs_of_others_stay_as_they_are() {
    for attach in ["auto", "clsact"] {
        let (host, web, api) = bare(&format!("qdisc-{attach}"));
        for command in [
            "tc qdisc add dev veth-web clsact",
            "tc filter add dev veth-web ingress protocol all prio 50 u32 match u32 0 0 flowid 1:1",
            "tc filter add dev veth-web egress protocol ip prio 7 u32 match u32 0 0 flowid 1:1",
            "tc qdisc add dev veth-web root handle 1: pfifo limit 77",
        ] {
            printed(host.netns(), command);
        }
        let shown = || {
            [
                "tc qdisc show dev veth-web",
                "tc filter show dev veth-web ingress",
                "tc filter show dev veth-web egress",
            ]
            .map(|command| printed(host.netns(), command))
        };
        let before = shown();
        let mut daemon = Daemon::start_with(&host, &attaching_by(attach));
        daemon.wait_ready(&[web.interface(), api.interface()]);
        daemon.apply(POLICY);
        assert!(tcp(&web, api.ipv4(), ECHO_PORT));
        for (before, now) in before.iter().zip(shown()) {
            for line in before.lines() {
                assert!(now.contains(line), "{attach}: {line:?} is gone from {now}");
            }
        }
        daemon.stop();
        assert!(daemon.cli(&["clean"]).status.success());
        assert_eq!(shown(), before, "{attach}");
    }
}

/// What Docker writes through iptables-nft, in the words of nft.
const DOCKER: &str = "
table ip filter {
    chain DOCKER-USER { counter return; }
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        counter jump DOCKER-USER
        iifname \"veth-web\" counter accept
        ct state established,related counter accept
    }
}
table ip nat {
    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 172.17.0.0/16 oifname != \"docker0\" counter masquerade
    }
}
";

#[test]
fn rules_of_others_stay_as_they_are_and_still_count() {
    let (host, web, api) = bare("docker");
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(rules.path(), DOCKER).unwrap();
    printed(host.netns(), &format!("nft -f {}", rules.path().display()));
    let theirs =
        || ["filter", "nat"].map(|table| printed(host.netns(), &format!("nft -s list table ip {table}")));
    let everything = || printed(host.netns(), "nft -s list ruleset");
    let (before, all_before) = (theirs(), everything());
    let mut daemon = Daemon::start(&host);
    daemon.wait_ready(&[web.interface(), api.interface()]);
    daemon.apply(POLICY);
    assert!(tcp(&web, api.ipv4(), ECHO_PORT), "allowed by both");
    // Of groups the kernels of both speak whenever they like.
    let dropped = || {
        let mut ours = daemon.counts("drop");
        ours.remove("multicast");
        ours
    };
    let ours = dropped();
    assert!(!ping_soon(&api, web.ipv4()), "our pass is not theirs: their FORWARD drops what api opens");
    assert_eq!(dropped(), ours, "and not ours");
    assert_eq!(theirs(), before, "while ours runs");
    let counted = printed(host.netns(), "nft list table ip filter");
    assert!(!counted.contains("counter packets 0 bytes 0 jump DOCKER-USER"), "{counted}");
    daemon.restart();
    assert_eq!(theirs(), before, "after a restart");
    daemon.stop();
    assert!(daemon.cli(&["clean"]).status.success());
    assert_eq!(everything(), all_before, "after clean");
}
