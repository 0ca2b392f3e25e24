//! Later fragments: with the ports of their first, or without any.

use super::*;

/// A later fragment of a datagram from *web* to *db*.
fn later(protocol: u8) -> Vec<u8> {
    fragment(WEB, DB, 3, true, (protocol, vec![0; 8]))
}

fn first(body: Body) -> Vec<u8> {
    fragment(WEB, DB, 0, true, body)
}

#[test]
fn a_later_fragment_has_the_ports_of_its_first() {
    let mut town = Town::new("r allow blue db udp/53");
    assert_eq!(town.sent("web", &later(17)), "fragment");
    assert_eq!(town.sent("web", &first(udp(4000, 53))), "allowed-by-rule r");
    assert_eq!(town.sent("web", &later(17)), "allowed-by-rule r");
    assert_eq!(town.delivered("db", Some("web"), &later(17)), "allowed-by-rule r");
    // Another protocol of the header is another datagram; and after a minute it is forgotten.
    assert_eq!(town.sent("web", &later(6)), "default-deny");
    town.wait(59);
    assert_eq!(town.sent("web", &later(17)), "allowed-by-rule r");
    town.wait(1);
    assert_eq!(town.sent("web", &later(17)), "fragment");
}

#[test]
fn only_a_first_fragment_that_passed_is_remembered() {
    let mut town = Town::new("r allow blue db udp/53\ns deny blue db udp/54");
    assert_eq!(town.sent("web", &first(udp(4000, 54))), "denied-by-rule s");
    assert_eq!(town.sent("web", &later(17)), "fragment");
    // It is no verdict: what passed may be denied by now.
    town.sent("web", &first(udp(4000, 53)));
    town.world.apply(policy("t deny blue db udp/53"));
    assert_eq!(town.sent("web", &later(17)), "denied-by-rule t");
}

#[test]
fn later_fragments_answer_and_keep_a_conversation() {
    let mut town = Town::new("r allow db blue tcp/22");
    town.sent("db", &ip(DB, WEB, tcp(4000, 22, SYN)));
    assert_eq!(town.sent("web", &later(6)), "fragment");
    assert_eq!(town.sent("web", &first(tcp(22, 4000, ACK))), "reply");
    assert_eq!(town.sent("web", &later(6)), "reply");
    town.wait(59);
    assert_eq!(town.sent("web", &later(6)), "reply");
    town.wait(7439);
    assert_eq!(town.sent("web", &ip(WEB, DB, tcp(22, 4000, ACK))), "reply");
}

/// What becomes of a later fragment of which nothing is known under these rules.
fn unknown(protocol: u8, rules: &str) -> String {
    Town::new(rules).sent("web", &later(protocol))
}

#[test]
fn without_its_first_a_rule_must_cover_all_ports() {
    for (rules, expected) in [
        ("", "default-deny"),
        ("r allow blue db udp", "allowed-by-rule r"),
        ("r allow blue db any", "allowed-by-rule r"),
        ("r allow blue db udp/0-99,udp/100-65535", "allowed-by-rule r"),
        ("r allow blue db udp/0-99,udp/101-65535", "fragment"),
        // One rule covers it, or none: two halves are two.
        ("r allow blue db udp/0-99\ns allow blue db udp/100-65535", "fragment"),
        ("r allow blue db tcp", "default-deny"),
        ("r allow blue db any\ns deny blue db udp/53", "fragment"),
        ("r allow blue db any\ns deny blue db udp/53\nt deny blue db udp", "denied-by-rule t"),
        ("r deny blue db tcp/53\ns allow blue db udp", "allowed-by-rule s"),
        // The other direction: it may be an answer.
        ("r allow db blue udp", "fragment"),
        ("r allow db blue udp/53", "fragment"),
        ("r allow db blue tcp/53", "default-deny"),
        ("r deny blue db udp\ns allow db blue udp", "fragment"),
    ] {
        assert_eq!(unknown(17, rules), expected, "{rules}");
    }
    assert_eq!(unknown(1, "r allow blue db ping"), "fragment");
    assert_eq!(unknown(1, "r allow blue db icmp"), "allowed-by-rule r");
}

#[test]
fn behind_extension_headers_nobody_knows_the_protocol() {
    for (rules, expected) in [
        ("r allow blue db udp", "fragment"),
        ("r allow blue db any", "allowed-by-rule r"),
        ("r deny blue db tcp/9\ns allow blue db any", "fragment"),
        ("r deny blue db any", "denied-by-rule r"),
    ] {
        assert_eq!(unknown(60, rules), expected, "{rules}");
    }
    let all: Vec<String> = (0..=255).map(|protocol| format!("proto/{protocol}")).collect();
    assert_eq!(unknown(60, &format!("r allow blue db {}", all.join(","))), "allowed-by-rule r");
    assert_eq!(unknown(60, &format!("r allow blue db {}", all[1..].join(","))), "fragment");
}

#[test]
fn shared_networks_need_no_ports() {
    let mut town = Town::new("");
    assert_eq!(town.sent("web", &fragment(WEB, API, 3, true, (17, vec![]))), "shared-network blue");
    let mut town = Town::new("r deny blue blue tcp/22");
    assert_eq!(town.sent("web", &fragment(WEB, API, 3, true, (17, vec![]))), "shared-network blue");
    assert_eq!(town.sent("web", &fragment(WEB, API, 3, true, (6, vec![]))), "fragment");
}

#[test]
fn nobody_writes_over_a_header_that_was_judged() {
    let mut town = Town::new("r allow blue db any");
    for (offset, expected) in
        [(1, "overlapping-fragment"), (2, "overlapping-fragment"), (3, "allowed-by-rule r")]
    {
        assert_eq!(town.sent("web", &fragment(WEB, DB, offset, true, (6, vec![0; 8]))), expected);
        assert_eq!(town.sent("web", &fragment6(WEB6, DB6, offset, true, (6, vec![0; 8]))), expected);
    }
    assert_eq!(town.sent("web", &fragment(WEB, DB, 1, true, (17, vec![0; 8]))), "allowed-by-rule r");
}

#[test]
fn extension_headers_behind_the_fragment_header_belong_to_the_datagram() {
    let mut town = Town::new("r allow blue db udp/53");
    let piece = |offset, body| fragment6(WEB6, DB6, offset, true, body);
    assert_eq!(town.sent("web", &piece(2, (60, vec![0; 8]))), "fragment");
    assert_eq!(town.sent("web", &piece(0, options(udp(4000, 53)))), "allowed-by-rule r");
    assert_eq!(town.sent("web", &piece(1, (60, vec![0; 8]))), "overlapping-fragment");
    assert_eq!(town.sent("web", &piece(2, (60, vec![0; 8]))), "allowed-by-rule r");
    // Not the protocol of the header, but addresses and identification tell a datagram.
    assert_eq!(town.sent("web", &piece(2, (17, vec![0; 8]))), "allowed-by-rule r");
    assert_eq!(town.sent("web", &piece(0, options(tcp(4000, 53, SYN)))), "default-deny");
}

#[test]
fn a_first_fragment_has_a_whole_transport_header() {
    let mut town = Town::new("r allow blue db any");
    let (_, header) = tcp(4000, 53, SYN);
    assert_eq!(town.sent("web", &first((6, header[..16].to_vec()))), "malformed");
    assert_eq!(town.sent("web", &first((6, header))), "allowed-by-rule r");
}

#[test]
fn between_workload_and_host_it_is_the_same() {
    let mut town = Town::new("");
    let to_host = |offset, body| fragment(WEB, HOST, offset, true, body);
    assert_eq!(town.sent("web", &to_host(3, (17, vec![]))), "fragment");
    assert_eq!(town.sent("web", &to_host(0, udp(4000, 53))), "host-allowed");
    assert_eq!(town.sent("web", &to_host(3, (17, vec![]))), "host-allowed");
    let from_host = fragment(HOST, WEB, 3, true, (17, vec![]));
    assert_eq!(town.told("web", &from_host), "host-open");
    for (rule, to, from) in [
        ("r deny blue host any", "denied-by-rule r", "host-open"),
        ("r allow blue host udp", "allowed-by-rule r", "host-open"),
        ("r deny blue host udp/9", "fragment", "host-open"),
        ("r deny host blue any", "fragment", "denied-by-rule r"),
        ("r deny host blue udp/9", "fragment", "fragment"),
    ] {
        let mut town = Town::new(rule);
        assert_eq!(town.sent("web", &to_host(3, (17, vec![]))), to, "{rule}");
        assert_eq!(town.told("web", &from_host), from, "{rule}");
    }
}
