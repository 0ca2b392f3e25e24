//! Containers and what is beyond the host, with and without masquerading, and ports published for the host alone.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use enforcer_tests::beyond::{Beyond, FAR};
use enforcer_tests::capture::Capture;
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{ECHO_PORT, Protocol, tcp};
use enforcer_tests::{Host, wait};
use rstest::rstest;

use crate::scene::{DROP, Question, Scene, insist};

const SOON: Duration = Duration::from_secs(3);

const USE_WORLD: &str = "[[rule]]\nname = \"blue uses the world\"\nfrom = [\"blue\"]\nto = [\"world\"]\n\
                         allow = [\"tcp/5432\", \"udp/5432\", \"ping\"]\n";

/// Without a way back to the containers' subnets only what is masqueraded is answered.
#[rstest]
#[case::masqueraded("do-masq", &[], &[], false, true)]
#[case::forward_drop("do-drop", &[], &[DROP], false, true)]
#[case::masqueraded_without_need("do-both", &[], &[], true, true)]
#[case::routed("do-routed", &["--iptables=false"], &[], true, true)]
#[case::neither("do-neither", &["--iptables=false"], &[], false, false)]
fn who_may_open_to_the_world_does_and_others_do_not(
    #[case] name: &str,
    #[case] options: &[&str],
    #[case] commands: &[&str],
    #[case] is_routed: bool,
    #[case] works: bool,
) {
    let host = Host::new(name);
    let beyond = Beyond::of(&host);
    if !is_routed {
        beyond.router.ip("route del 10.0.0.0/8 via 198.51.100.1\n");
    }
    let scene = Scene::build(host, options);
    scene.run(commands);
    let daemon = scene.enforce("", USE_WORLD);
    let mut questions = Vec::new();
    for (it, is_blue) in
        [(&scene.web, true), (&scene.api, true), (&scene.audit, false), (&scene.batch, false)]
    {
        for by in [Protocol::Tcp(ECHO_PORT), Protocol::Udp(ECHO_PORT), Protocol::Ping] {
            let is_open = is_blue && works;
            let words = format!("{} to the world, {by:?}", it.name());
            questions.push(Question { words, from: it.netns(), to: FAR.on(Family::V4), by, is_open });
            let words = format!("the world to {}, {by:?}", it.name());
            questions.push(Question { words, from: &beyond.far, to: it.ipv4(), by, is_open: false });
        }
    }
    insist(name, &questions);
    assert!(daemon.dropped("default-deny") >= 6, "two who may not, in three ways");
}

/// With `userland-proxy` off the engine lets packets for 127.0.0.0/8 in on its bridges, for ports that are published
/// for the host alone. Whoever is on a bridge could then use them.
#[test]
fn what_is_published_for_the_host_alone_is_closed_to_its_neighbours() {
    let scene = Scene::build(Host::new("do-lo"), &["--userland-proxy=false"]);
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081));
    let own = scene.web.ipv4();
    scene.web.netns().sysctls(&[("net/ipv4/conf/all/route_localnet", "1")]);
    scene.web.netns().ip(&format!(
        "route del 127.0.0.0/8 dev lo table local\nroute del 127.0.0.1 dev lo table local\n\
         route add 127.0.0.0/8 via 10.61.0.1 dev eth0 src {own}\n"
    ));
    let at_audit = Capture::start(scene.audit.netns());
    let send = |words: &[u8]| {
        let socket = scene.web.netns().enter(|| UdpSocket::bind((own, 0))).expect("the address is its own");
        socket.send_to(words, loopback).expect("a datagram can be sent");
    };
    let arrives = |words: &[u8]| wait::within(SOON, || (!at_audit.find(&[words]).is_empty()).then_some(()));
    send(b"before the enforcer");
    assert!(arrives(b"before the enforcer").is_some(), "or this test shows nothing");
    let daemon = scene.enforce("", "");
    send(b"with an enforcer");
    wait::until("it is dropped", SOON, || (daemon.dropped("martian") > 0).then_some(()));
    assert!(at_audit.find(&[b"with an enforcer"]).is_empty());
    assert!(tcp(&scene.host, loopback.ip(), 8081), "the host may");
}
