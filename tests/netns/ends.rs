//! Ends of rules that are not networks: the host, and the world.

use std::net::IpAddr;

use enforcer_tests::beyond::{Beyond, FAR, METADATA};
use enforcer_tests::echo::Echo;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{ECHO_PORT, ping, ping_soon, tcp, tcp_soon, udp, udp_soon};

use crate::pair::{Pair, allow, deny};

const HOST: [IpAddr; 2] = [IpAddr::V4(HOST_IPV4), IpAddr::V6(HOST_IPV6)];

#[test]
fn a_rule_opens_a_port_of_the_host_to_those_it_names() {
    let pair = Pair::build("host-rule");
    let echo = Echo::start(pair.host.netns(), 8080);
    let open = |pair: &Pair| HOST.map(|host| tcp_soon(&pair.client, host, 8080));
    assert_eq!(open(&pair), [false; 2], "without a rule");
    pair.govern(&[allow("clients", "host", &["tcp/8080"])]);
    assert_eq!(open(&pair), [true; 2], "with a rule");
    for host in HOST {
        assert!(!tcp_soon(&pair.server, host, 8080), "servers are not named");
        assert!(!udp_soon(&pair.client, host, 8080), "udp is not named");
    }
    pair.govern(&[]);
    assert_eq!(open(&pair), [false; 2], "without it again");
    drop(echo);
}

#[test]
fn a_deny_rule_beats_the_allow_list_of_the_host() {
    let pair = Pair::build("host-deny");
    assert_eq!(HOST.map(|host| ping(&pair.client, host)), [true; 2], "ping is on the list");
    pair.govern(&[deny("clients", "host", &["ping"])]);
    assert_eq!(HOST.map(|host| ping_soon(&pair.client, host)), [false; 2], "and denied");
    assert_eq!(HOST.map(|host| ping(&pair.server, host)), [true; 2], "to clients only");
    for client in [pair.client.ipv4(), pair.client.ipv6()] {
        assert!(ping(&pair.host, client), "the host may ask, and is answered");
    }
}

#[test]
fn a_deny_rule_closes_a_workload_to_its_host() {
    let pair = Pair::build("from-host");
    pair.govern(&[deny("host", "clients", &["tcp/5432"])]);
    for client in [pair.client.ipv4(), pair.client.ipv6()] {
        assert!(!tcp_soon(&pair.host, client, ECHO_PORT), "tcp/5432 is denied");
        assert!(udp(&pair.host, client, ECHO_PORT), "the rest is not");
    }
    // Answers to what a workload may ask are no breach of it.
    pair.govern(&[deny("host", "clients", &["any"])]);
    for host in HOST {
        assert!(ping(&pair.client, host), "{host} answers what the allow list admits");
    }
}

#[test]
fn the_world_is_what_no_network_covers() {
    let pair = Pair::build("world-rule");
    let beyond = Beyond::of(&pair.host);
    let reach = |pair: &Pair| Family::BOTH.map(|family| tcp_soon(&pair.client, FAR.on(family), ECHO_PORT));
    assert_eq!(reach(&pair), [false; 2], "without a rule");
    pair.govern(&[allow("clients", "world", &["tcp/5432"])]);
    assert_eq!(reach(&pair), [true; 2], "the world is allowed");
    for to in [pair.server.ipv4(), pair.server.ipv6(), HOST[0], HOST[1]] {
        assert!(!tcp_soon(&pair.client, to, ECHO_PORT), "{to} is not the world");
    }
    for back in [pair.client.ipv4(), pair.client.ipv6()] {
        assert!(!tcp_soon(&beyond, back, ECHO_PORT), "the world does not come in");
    }
    let covered = "[network.far]\nprefixes = [\"203.0.113.0/24\", \"2001:db8:fd::/48\"]\n".to_owned();
    pair.govern(&[covered, allow("clients", "world", &["tcp/5432"])]);
    assert_eq!(reach(&pair), [false; 2], "a network covers it");
}

#[test]
fn a_metadata_service_is_not_the_world() {
    let pair = Pair::build("metadata");
    let beyond = Beyond::of(&pair.host);
    for end in ["world", "any"] {
        pair.govern(&[allow("clients", end, &["tcp"])]);
        assert!(tcp(&pair.client, FAR.v4.into(), ECHO_PORT));
        assert_eq!(tcp_soon(&pair.client, METADATA.into(), ECHO_PORT), end == "any", "to {end}");
    }
    pair.govern(&[allow("clients", "169.254.169.254/32", &["tcp/5432"])]);
    assert!(tcp(&pair.client, METADATA.into(), ECHO_PORT), "named, it is reached");
    assert!(!tcp_soon(&pair.client, FAR.v4.into(), ECHO_PORT));
    drop(beyond);
}
