//! Who a rule means, and which rule decides.

use super::{super::ruling::globs, *};

/// What *web* gets when it sends a UDP packet to `dst` under one rule.
fn web_to(rule: &str, dst: &str) -> String {
    Town::new(rule).sent("web", &ip(WEB, dst, udp(4000, 9)))
}

#[test]
fn an_end_is_a_name_a_glob_a_prefix_or_a_word() {
    for (end, dst, allowed) in [
        ("db", DB, true),
        ("db", STRANGER, false),
        ("admins", DB, true),
        ("admins", ADMIN, true),
        ("d?", DB, true),
        ("*", ADMIN, true),
        ("*", STRANGER, false),
        ("203.0.113.0/24", STRANGER, true),
        ("203.0.114.0/24", STRANGER, false),
        ("world", STRANGER, true),
        // Excepted counts as covered; and so does what only a group covers.
        ("world", ADMIN, false),
        ("world", ODD, false),
        ("any", STRANGER, true),
        ("any", ODD, true),
        ("blue", ODD, false),
    ] {
        let expected = if allowed { "allowed-by-rule r" } else { "default-deny" };
        assert_eq!(web_to(&format!("r allow blue {end} any"), dst), expected, "{end} {dst}");
    }
}

#[test]
fn a_local_endpoint_is_not_of_the_world() {
    let mut town = Town::new("r allow blue world any");
    town.endpoint("new").addresses = vec!["203.0.113.9/32".parse().unwrap()];
    assert_eq!(town.sent("web", &ip(WEB, STRANGER, udp(4000, 9))), "default-deny");
    assert_eq!(town.sent("web", &ip(WEB, "203.0.113.10", udp(4000, 9))), "allowed-by-rule r");
}

#[test]
fn the_host_is_only_the_host() {
    for end in ["any", "blue", "*", "10.0.0.0/8", "world"] {
        assert_eq!(web_to(&format!("r allow blue {end} any"), HOST), "default-deny", "{end}");
    }
    assert_eq!(web_to("r allow blue host any", HOST), "allowed-by-rule r");
    // A prefix excepts nobody's host.
    assert_eq!(web_to("r allow blue any,host,!10.0.0.0/8 any", HOST), "allowed-by-rule r");
    assert_eq!(web_to("r allow blue any,host,!10.0.0.0/8 any", DB), "default-deny");
}

#[test]
fn link_local_addresses_are_meant_only_by_their_own_range() {
    const METADATA: &str = "169.254.169.254";
    for (end, allowed) in [
        ("0.0.0.0/0", false),
        ("world", false),
        ("*", false),
        ("any", true),
        ("169.254.0.0/16", true),
        ("169.254.169.254/32", true),
    ] {
        let expected = if allowed { "allowed-by-rule r" } else { "default-deny" };
        assert_eq!(web_to(&format!("r allow blue {end} any"), METADATA), expected, "{end}");
    }
    let six = |end: &str| {
        let mut town = Town::new(&format!("r allow blue {end} any"));
        town.sent("web", &ip(WEB6, "fe80::9", udp(4000, 9)))
    };
    assert_eq!(six("::/0"), "default-deny");
    assert_eq!(six("fe80::/9"), "default-deny");
    assert_eq!(six("fe80::/64"), "allowed-by-rule r");
}

#[test]
fn families_are_apart() {
    assert_eq!(web_to("r allow blue ::/0 any", STRANGER), "default-deny");
    let mut town = Town::new("r allow 0.0.0.0/0 any any");
    assert_eq!(town.sent("web", &ip(WEB6, STRANGER6, udp(4000, 9))), "default-deny");
}

#[test]
fn a_side_is_its_ends_without_the_excepted() {
    assert_eq!(web_to("r allow blue any,!db any", DB), "default-deny");
    assert_eq!(web_to("r allow blue any,!db any", STRANGER), "allowed-by-rule r");
    assert_eq!(web_to("r allow blue any,!adm* any", DB), "default-deny");
    assert_eq!(web_to("r allow any,!10.1.0.5/32 any any", STRANGER), "default-deny");
}

#[test]
fn denials_then_networks_then_permissions_and_of_each_the_first() {
    let rules = "a allow any any any\nb allow any any udp\nc deny blue,db blue tcp\nd deny any blue tcp/22";
    let mut town = Town::new(rules);
    assert_eq!(town.sent("web", &ip(WEB, API, udp(4000, 9))), "shared-network blue");
    assert_eq!(town.sent("web", &ip(WEB, DB, udp(4000, 9))), "allowed-by-rule a");
    assert_eq!(town.sent("web", &ip(WEB, API, tcp(4000, 22, SYN))), "denied-by-rule c");
    // Ids are given once: a newcomer comes last whatever its name.
    let rules = "a1 deny any any tcp/22\n".to_owned() + rules;
    town.world.apply(policy(&rules));
    assert_eq!(town.sent("web", &ip(WEB, API, tcp(4000, 22, SYN))), "denied-by-rule c");
    assert_eq!(town.sent("web", &ip(WEB, DB, tcp(4000, 22, SYN))), "denied-by-rule a1");
}

#[test]
fn a_service_is_a_protocol_destination_ports_or_an_icmp_type() {
    for (services, body, allowed) in [
        ("any", (47, vec![]), true),
        ("proto/47", (47, vec![]), true),
        ("tcp,udp", (47, vec![]), false),
        ("proto/17", udp(9, 9), true),
        ("udp/53", udp(4000, 53), true),
        ("udp/53", udp(53, 4000), false),
        ("udp/50-60", udp(4000, 60), true),
        ("udp/50-60", udp(4000, 61), false),
        ("tcp/53", udp(4000, 53), false),
        ("ping", ping(), true),
        ("ping", pong(), false),
        ("icmp", pong(), true),
        ("icmp/13", icmp(13, &[]), true),
        ("icmp/14", icmp(13, &[]), false),
        ("icmp6", ping(), false),
    ] {
        let expected = if allowed { "allowed-by-rule r" } else { "default-deny" };
        let seen = Town::new(&format!("r allow any any {services}")).sent("web", &ip(WEB, DB, body));
        assert_eq!(seen, expected, "{services}");
    }
}

#[test]
fn a_glob_is_for_the_whole_name() {
    for (pattern, name, matches) in [
        ("*", "a", true),
        ("a*", "a", true),
        ("*a", "ba", true),
        ("*a", "ab", false),
        ("a?c", "abc", true),
        ("a?", "a", false),
        ("*a*b*", "xaxbx", true),
        ("ab", "abc", false),
    ] {
        assert_eq!(globs(pattern.as_bytes(), name.as_bytes()), matches, "{pattern} {name}");
    }
}
