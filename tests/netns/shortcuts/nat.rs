//! What NAT on the host leads elsewhere, or gives another address, arrives as the stack would have it, also where
//! packets went straight until the rules came.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{self, Conversation, ECHO_PORT};
use enforcer_tests::{Workload, wait};
use rstest::rstest;

use crate::street::{Layout, NETWORK, PATIENCE, Street};

/// Where connections arrive, whichever port was asked.
const PORT: u16 = 7000;

/// What is asked of an address of the host is the host's, for the policy.
const ASK_HOST: &str = "[[rule]]\nname = \"ask the host\"\nfrom = [\"all\"]\nto = [\"host\"]\n\
                        allow = [\"tcp/8080\"]\n";

const CHAINS: &str = "add table ip nat\n\
                      add chain ip nat pre { type nat hook prerouting priority dstnat; }\n\
                      add chain ip nat post { type nat hook postrouting priority srcnat; }\n";
const TO_ANOTHER: &str = "add rule ip nat pre tcp dport 8080 dnat to 10.2.0.5:7000\n";
const TO_ITSELF: &str = "add rule ip nat pre tcp dport 8080 dnat to 10.1.0.5:7000\n";
const MASQUERADE: &str = "add rule ip nat post tcp dport 7000 masquerade\n";

/// Where the connections of the one who asks end.
#[derive(Clone, Copy, Debug)]
enum At {
    Another,
    Itself,
}

/// The address with which a new connection arrives.
#[track_caller]
fn arrives_as(from: &Workload, to: SocketAddr, at: &Workload) -> IpAddr {
    let listener = at.netns().enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)));
    let listener = listener.expect("the port is free");
    let client = from.netns().enter(|| TcpStream::connect_timeout(&to, wait::scaled(traffic::DUE)));
    assert!(client.is_ok(), "{to} is asked: {client:?}");
    let (_, peer) = listener.accept().expect("what is answered has arrived");
    peer.ip()
}

/// Without a fast path it is the same: `by` is what the kernel makes of the rules.
#[rstest]
#[case::masquerade(&[MASQUERADE], "10.2.0.5:7000", At::Another, "10.2.0.1")]
#[case::published(&[TO_ANOTHER], "192.0.2.1:8080", At::Another, "10.1.0.5")]
#[case::hairpin(&[TO_ANOTHER, MASQUERADE], "192.0.2.1:8080", At::Another, "10.2.0.1")]
#[case::hairpin_to_itself(&[TO_ITSELF, MASQUERADE], "192.0.2.1:8080", At::Itself, "192.0.2.1")]
fn who_meets_nat_arrives_as_its_rules_have_it(
    #[case] rules: &[&str],
    #[case] to: &str,
    #[case] at: At,
    #[case] by: &str,
) {
    let street = Street::build("nat", Layout::Routed);
    street.daemon.apply(&format!("{NETWORK}{ASK_HOST}"));
    street.wait_straight(Family::V4);
    let mut conversation =
        Conversation::open(&street.asking, street.address(Family::V4), ECHO_PORT).expect("they talk");
    street.host.netns().nft(&format!("{CHAINS}{}", rules.concat()));
    // That packets go by the stack does not tell: they also do while a busy daemon is late.
    wait::until("the daemon knows of the rules", PATIENCE, || {
        street.fastpath()["barriers"].to_string().contains("nftables").then_some(())
    });
    let receiver = match at {
        At::Another => &street.answering,
        At::Itself => &street.asking,
    };
    let to: SocketAddr = to.parse().unwrap();
    assert_eq!(arrives_as(&street.asking, to, receiver).to_string(), by, "with a fast path");
    assert!(conversation.goes_on(), "TCP goes on by the stack");
    street.daemon.reload(&DEFAULT_CONFIG.replace("[datapath]\n", "[datapath]\nfastpath = \"off\"\n"));
    assert_eq!(arrives_as(&street.asking, to, receiver).to_string(), by, "without one");
}
