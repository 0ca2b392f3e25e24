//! What the kernel's own devices send: tags, tunnels, and interfaces over interfaces, as an attacker or a mistaken
//! container has them. Each is shown to arrive where there is no enforcer. Many kernels are built without them; those of
//! the virtual machines have all.

mod line;
mod unpacked;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::kernel::{Feature, require_devices};
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{ECHO_PORT, ping, ping_soon, tcp_soon};
use enforcer_tests::{Daemon, Host, NetNs, Workload, wait};
use serde_json::{Value, json};

use crate::pair::{NETWORKS, allow};
use line::{Line, answering, asked, tally};

/// How long a packet may take to be counted.
const PATIENCE: Duration = Duration::from_secs(3);
/// Who is hostile, and its victim, talk: only what is odd keeps a packet from its way.
const FRIENDS: &str = "version = 1\n[network.street]\nprefixes = [\"10.1.0.0/24\", \"2001:db8:1::/64\"]\n";
const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const BOTH: &[Family] = &Family::BOTH;

/// Two neighbours on a bridge, the hostile one first.
#[track_caller]
fn neighbours(host: &Host) -> [Workload; 2] {
    let hostile = host.workload("hostile").at("10.1.0.5/24").at("2001:db8:1::5/64").bridged();
    let victim = host.workload("victim").at("10.1.0.6/24").at("2001:db8:1::6/64").bridged();
    [hostile, victim]
}

#[track_caller]
fn assert_all_answer(lines: &[Line<'_>]) {
    let answered = answering(lines);
    assert_eq!(answered.len(), asked(lines), "without an enforcer only these answer: {answered:?}");
}

/// What these ends have sent and what is counted, read while nothing is sent: interfaces announce themselves at times.
#[track_caller]
fn snapshot(lines: &[Line<'_>], sides: &[usize], counted: impl Fn() -> u64) -> [u64; 2] {
    wait::until("nothing is sent for a moment", PATIENCE * 3, || {
        let (before, counted) = (tally(lines, sides), counted());
        // What a device was refused it calls lost.
        (tally(lines, sides) == before).then_some([before.sent + before.lost, counted])
    })
}

/// Nothing that these ends send comes out at the others, and the enforcer counts each packet.
#[track_caller]
fn assert_silent(lines: &[Line<'_>], sides: &[usize], counted: impl Fn() -> u64) {
    let received = tally(lines, &[0, 1]).received;
    let before = snapshot(lines, sides, &counted);
    let answered = answering(lines);
    let mut seen = [0, 0];
    wait::within(PATIENCE, || {
        seen = snapshot(lines, sides, &counted);
        (seen[0] - before[0] == seen[1] - before[1]).then_some(())
    });
    let [sent, dropped] = [0, 1].map(|which| seen[which] - before[which]);
    assert_eq!(answered, [""; 0], "these answer");
    assert_eq!(tally(lines, &[0, 1]).received, received, "something arrived");
    assert!(sent >= asked(lines) as u64, "only {sent} packets were sent");
    assert_eq!(dropped, sent, "packets dropped, and sent");
}

/// Tags of every kind between the neighbours, and between them and their host.
fn tagged<'n>(hostile: &'n NetNs, victim: &'n NetNs, host: &'n NetNs) -> Vec<Line<'n>> {
    let over = |lower: &str, kind: &str| format!("link {lower} type vlan {kind}");
    let both = |number, device, lower: &str, kind: &str| {
        Line::lay(number, BOTH, [hostile, victim].map(|netns| (netns, device, over(lower, kind))))
    };
    vec![
        both(1, "dot1q", "eth0", "id 5"),
        both(2, "priority", "eth0", "id 0"),
        both(3, "dot1ad", "eth0", "protocol 802.1ad id 7"),
        both(4, "qinq", "dot1ad", "id 6").inner(),
        Line::lay(
            5,
            BOTH,
            [(hostile, "to-host", over("eth0", "id 9")), (host, "of-hostile", over("veth-hostile", "id 9"))],
        ),
        Line::lay(
            6,
            BOTH,
            [(host, "of-victim", over("veth-victim", "id 9")), (victim, "from-host", over("eth0", "id 9"))],
        ),
    ]
}

/// A namespace with an interface over a workload's, as a container in a container has.
#[track_caller]
fn nested(workload: &Workload, kind: &str) -> NetNs {
    let nested = NetNs::create("nested");
    workload.netns().ip(&format!("link add link eth0 name over0 netns {} type {kind}\n", nested.name()));
    nested.ip(
        "addr add 10.1.0.99/24 dev over0\naddr add 2001:db8:1::99/64 dev over0 nodad\nlink set over0 up\n",
    );
    nested
}

/// Tags, and containers in the container: whatever the hostile one puts over its interface.
#[test]
fn what_lies_over_the_interface_of_a_workload_gets_nowhere() {
    require_devices(&[Feature::Vlan, Feature::Ipvlan]);
    let host = Host::new("tags");
    let [hostile, victim] = neighbours(&host);
    let lines = tagged(hostile.netns(), victim.netns(), host.netns());
    assert_all_answer(&lines);
    let reached = |from: &NetNs| [victim.ipv4(), victim.ipv6()].map(|to| ping_soon(from, to));
    let nested_kinds: [(_, &[_]); 2] = [
        ("macvlan mode bridge", &["spoofed-mac"]),
        ("ipvlan mode l2", &["spoofed-source", "spoofed-neighbor"]),
    ];
    for (kind, _) in nested_kinds {
        let inside = nested(&hostile, kind);
        assert_eq!(reached(&inside), [true; 2], "{kind}");
        // The two kinds do not go together.
        inside.ip("link delete over0\n");
        // Who has met it asks for it again for some seconds, and that would be dropped and counted, too.
        victim.netns().ip("neigh flush dev eth0\n");
    }

    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[hostile.interface(), victim.interface()]);
    daemon.apply(FRIENDS);
    assert_silent(&lines, &[0, 1], || daemon.dropped("vlan-tag"));
    // The guard may see a frame without its tag, and take it for another; the reasons vary then.
    daemon.reload(&format!("{DEFAULT_CONFIG}[guard]\nmatch = [\"veth-*\"]\n"));
    assert_silent(&lines, &[0, 1], || daemon.counts("drop").values().sum());
    assert_eq!(reached(hostile.netns()), [true; 2], "without a tag they are neighbours");

    for (kind, reasons) in nested_kinds {
        let counted = || reasons.iter().map(|reason| daemon.dropped(reason)).sum::<u64>();
        let before = counted();
        let inside = nested(&hostile, kind);
        assert_eq!(reached(&inside), [false; 2], "neither its MAC nor its address is the workload's: {kind}");
        assert!(counted() - before >= 2, "{kind}: {reasons:?}");
        inside.ip("link delete over0\n");
    }
}

/// Every kind of tunnel from the first to the second, with what its packets are outside.
fn tunnels<'n>(hostile: &'n Workload, victim: &'n Workload) -> Vec<Line<'n>> {
    let ends = |kind: &str, is_v6: bool, rest: &str| {
        let address = |workload: &Workload| if is_v6 { workload.ipv6() } else { workload.ipv4() };
        [(hostile, victim), (victim, hostile)]
            .map(|(near, far)| format!("type {kind} local {} remote {} {rest}", address(near), address(far)))
    };
    let lay = |number, device, families, [near, far]: [String; 2]| {
        Line::lay(number, families, [(hostile.netns(), device, near), (victim.netns(), device, far)])
    };
    // Without an address of its own.
    let geneve = [victim, hostile].map(|far| format!("type geneve id 5 remote {}", far.ipv4()));
    vec![
        lay(1, "proto4", V4, ends("ipip", false, "")),
        lay(2, "proto41", V6, ends("sit", false, "")),
        lay(3, "gre4", BOTH, ends("gre", false, "")),
        lay(4, "gretap4", BOTH, ends("gretap", false, "")),
        lay(5, "proto4and41", BOTH, ends("ip6tnl", true, "mode any")),
        lay(6, "gre6", BOTH, ends("ip6gre", true, "")),
        lay(7, "gretap6", BOTH, ends("ip6gretap", true, "")),
        lay(8, "udp4789", BOTH, ends("vxlan", false, "id 5 dstport 4789")),
        lay(9, "udp6081", BOTH, geneve),
    ]
}

#[test]
fn a_tunnel_is_judged_by_what_it_is_outside() {
    let kinds = [Feature::Ipip, Feature::Sit, Feature::Gre, Feature::Ip6Tunnel, Feature::Ip6Gre];
    require_devices(&[&kinds[..], &[Feature::Geneve]].concat());
    let host = Host::new("tunnels");
    let hostile = host.workload("hostile").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let victim = host.workload("victim").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
    let lines = tunnels(&hostile, &victim);
    assert_all_answer(&lines);

    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[hostile.interface(), victim.interface()]);
    daemon.apply(NETWORKS);
    assert_silent(&lines, &[0, 1], || daemon.dropped("default-deny"));
    let govern = |services: &[&str]| {
        let rules = [allow("clients", "servers", services), allow("servers", "clients", services)];
        daemon.apply(&(NETWORKS.to_owned() + &rules.concat()));
        answering(&lines)
    };
    let answered = govern(&["proto/47"]);
    assert!(answered.len() == 8 && answered.iter().all(|name| name.starts_with("gre")), "{answered:?}");
    let answered = govern(&["proto/4", "proto/41", "proto/47", "udp/4789", "udp/6081"]);
    assert_eq!(answered.len(), asked(&lines), "{answered:?}");
}

/// Sends datagrams from an address to where nobody listens, on the host.
fn send(from: &Workload, source: Ipv4Addr, to: Ipv4Addr, count: usize) {
    from.netns().enter(|| {
        let socket = UdpSocket::bind((source, 0)).expect("the address is configured");
        for _ in 0..count {
            socket.send_to(b"counted", (to, 53)).expect("a datagram can be sent");
        }
    });
}

/// A dummy leads nowhere: it is no workload whatever its name, and what it has is its owner's.
#[test]
fn a_dummy_is_no_workload_and_its_address_is_its_owners() {
    const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
    require_devices(&[Feature::Dummy, Feature::Ipvlan]);
    let host = Host::new("dummies");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    host.netns().ip(&format!(
        "link add veth-none type dummy\nlink set veth-none up\n\
         link add dummy0 type dummy\naddr add {SERVICE}/32 dev dummy0\nlink set dummy0 up\n\
         link add link dummy0 name over0 type ipvlan\n"
    ));
    web.netns()
        .ip(&format!("link add dummy0 type dummy\naddr add {OWN}/32 dev dummy0\nlink set dummy0 up\n"));
    let daemon = Daemon::start_with(
        &host,
        &format!("{DEFAULT_CONFIG}[[uplink]]\nmatch = \"dummy*\"\ntrust = \"external\"\n"),
    );
    daemon.wait_ready(&[web.interface()]);
    daemon.apply(FRIENDS);
    assert_eq!(names(&daemon.json(&["endpoints"]), "name"), ["veth-web"]);
    let status = daemon.json(&["status"]);
    assert_eq!(names(&status["uplinks"], "interface"), ["dummy0"], "{status}");
    let unenforced = json!([{ "name": "over0", "why": "ipvlan: its packets go past every veth" }]);
    assert_eq!(status["unenforced"], unenforced, "{status}");

    // The host's, and so it may be asked what any other may.
    assert!(ping(&web, SERVICE.into()));
    let dropped = || ["default-deny", "spoofed-source"].map(|reason| daemon.dropped(reason));
    let before = dropped();
    assert!(!tcp_soon(&web, SERVICE.into(), ECHO_PORT));
    assert!(dropped()[0] > before[0], "the allow list is for it, too");
    // The workload's, if a route of the host says so.
    send(&web, OWN, SERVICE, 5);
    assert_eq!(dropped()[1] - before[1], 5);
    host.netns().ip(&format!("route add {OWN}/32 dev veth-web\n"));
    wait::until("the route is seen", PATIENCE * 3, || {
        let endpoints = daemon.json(&["endpoints"]);
        endpoints[0]["addresses"].as_array()?.iter().any(|one| *one == OWN.to_string()).then_some(())
    });
    let allowed = daemon.counts("pass")["host-allowed"];
    send(&web, OWN, SERVICE, 5);
    assert_eq!(daemon.counts("pass")["host-allowed"] - allowed, 5);
    assert_eq!(dropped()[1] - before[1], 5);
}

#[track_caller]
fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}
