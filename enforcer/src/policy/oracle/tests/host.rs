//! A workload and its host.

use super::*;

fn to_host(town: &mut Town, body: Body) -> String {
    town.sent("web", &ip(WEB, HOST, body))
}

fn from_host(town: &mut Town, body: Body) -> String {
    town.told("web", &ip(HOST, WEB, body))
}

#[test]
fn a_workload_may_ask_what_is_on_the_allow_list() {
    for town in [&mut Town::new(""), &mut without_policy()] {
        for body in [udp(4000, 53), udp(4000, 67), tcp(4000, 53, SYN), ping()] {
            assert_eq!(to_host(town, body), "host-allowed");
        }
        for body in [udp(53, 4000), tcp(4000, 22, SYN), pong(), (132, vec![0; 12])] {
            assert_eq!(to_host(town, body), "default-deny");
        }
    }
}

fn without_policy() -> Town {
    let mut town = Town::new("");
    town.world.policy = None;
    town
}

#[test]
fn the_host_speaks_to_everybody_and_is_answered() {
    for town in [&mut Town::new(""), &mut without_policy()] {
        assert_eq!(to_host(town, tcp(22, 4000, ACK)), "default-deny");
        assert_eq!(from_host(town, tcp(4000, 22, SYN)), "host-open");
        assert_eq!(to_host(town, tcp(22, 4000, SYN)), "default-deny");
        assert_eq!(to_host(town, tcp(22, 4000, ACK)), "reply");
    }
}

#[test]
fn a_rule_opens_the_host_and_another_closes_it() {
    let mut town = Town::new("a allow blue host tcp/22\nb deny blue host udp/53,ping");
    assert_eq!(to_host(&mut town, tcp(4000, 22, SYN)), "allowed-by-rule a");
    assert_eq!(to_host(&mut town, udp(4000, 53)), "denied-by-rule b");
    assert_eq!(to_host(&mut town, ping()), "denied-by-rule b");
    assert_eq!(to_host(&mut town, tcp(4000, 53, SYN)), "host-allowed");
}

#[test]
fn an_answer_to_the_host_passes_a_denial_of_its_direction_only() {
    let mut town = Town::new("a deny blue host any");
    assert_eq!(to_host(&mut town, udp(9, 4000)), "denied-by-rule a");
    from_host(&mut town, udp(4000, 9));
    assert_eq!(to_host(&mut town, udp(9, 4000)), "reply");
    town.world.apply(policy("b deny host blue any"));
    assert_eq!(to_host(&mut town, udp(9, 4000)), "default-deny");
}

#[test]
fn a_rule_stops_the_host_but_no_answer_of_it() {
    let mut town = Town::new("a deny host blue any\nb allow blue host tcp/22");
    assert_eq!(from_host(&mut town, tcp(4000, 9, SYN)), "denied-by-rule a");
    assert_eq!(from_host(&mut town, udp(53, 4000)), "host-open");
    assert_eq!(from_host(&mut town, pong()), "host-open");
    assert_eq!(from_host(&mut town, tcp(22, 4000, ACK)), "denied-by-rule a");
    to_host(&mut town, tcp(4000, 22, SYN));
    assert_eq!(from_host(&mut town, tcp(22, 4000, ACK)), "host-open");
    assert_eq!(town.told("web", &ip(HOST, "224.0.0.1", udp(4000, 9))), "host-open");
}

#[test]
fn an_answer_of_the_host_opens_nothing() {
    let mut town = Town::new("");
    assert_eq!(from_host(&mut town, udp(53, 4000)), "host-open");
    assert_eq!(to_host(&mut town, udp(4000, 53)), "host-allowed");
    town.world.apply(policy("a deny blue host any"));
    assert_eq!(to_host(&mut town, udp(4000, 53)), "denied-by-rule a");
}

#[test]
fn who_has_no_address_asks_for_one() {
    let mut town = Town::new("a deny any host any");
    assert_eq!(town.sent("new", &ip("0.0.0.0", "255.255.255.255", udp(68, 67))), "host-allowed");
    assert_eq!(town.sent("new", &ip("10.1.0.9", "10.9.0.1", udp(68, 67))), "quarantined");
    assert_eq!(town.told("new", &ip(HOST, "10.1.0.9", udp(67, 68))), "host-open");
}
