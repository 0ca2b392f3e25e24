//! ICMP errors: by the packet that they quote.

use super::*;

/// An error about a packet; IPv4 *destination unreachable*.
fn about(quoted: &[u8]) -> Body {
    icmp(3, quoted)
}

/// The first 28 bytes of an IPv4 packet, as most hosts quote it.
fn quote(src: &str, dst: &str, body: Body) -> Vec<u8> {
    datagram(src, dst, body)[..28].to_vec()
}

const RULE: &str = "r allow blue db udp/53";

#[test]
fn an_error_passes_if_its_packet_was_allowed() {
    let mut town = Town::new(RULE);
    let asked = ip(DB, WEB, about(&quote(WEB, DB, udp(4000, 53))));
    let answered = ip(WEB, DB, about(&quote(DB, WEB, udp(53, 4000))));
    assert_eq!(town.sent("db", &asked), "default-deny");
    assert_eq!(town.sent("web", &answered), "default-deny");
    town.sent("web", &ip(WEB, DB, udp(4000, 53)));
    assert_eq!(town.sent("db", &asked), "icmp-error");
    assert_eq!(town.delivered("web", Some("db"), &asked), "icmp-error");
    assert_eq!(town.sent("web", &answered), "icmp-error");
    // Another conversation's packet is not known.
    assert_eq!(town.sent("db", &ip(DB, WEB, about(&quote(WEB, DB, udp(4001, 53))))), "default-deny");
    town.wait(30);
    assert_eq!(town.sent("db", &asked), "default-deny");
}

#[test]
fn within_a_network_no_conversation_is_needed() {
    let mut town = Town::new("");
    let frame = ip(API, WEB, about(&quote(WEB, API, tcp(4000, 9, SYN))));
    assert_eq!(town.sent("api", &frame), "icmp-error");
    town.world.apply(policy("r deny blue blue tcp"));
    assert_eq!(town.sent("api", &frame), "shared-network blue");
    town.world.policy = None;
    assert_eq!(town.sent("api", &frame), "no-policy");
}

#[test]
fn a_rule_may_admit_errors_as_it_admits_anything() {
    let mut town = Town::new("r allow db blue icmp/3");
    assert_eq!(town.sent("db", &ip(DB, WEB, about(&quote(WEB, DB, udp(4000, 53))))), "allowed-by-rule r");
}

#[test]
fn an_error_quotes_what_its_receiver_sent_and_its_sender_got() {
    let mut town = Town::new(RULE);
    town.sent("web", &ip(WEB, DB, udp(4000, 53)));
    let elsewhere = ip(DB, API, about(&quote(WEB, DB, udp(4000, 53))));
    assert_eq!(town.sent("db", &elsewhere), "bad-quote");
    assert_eq!(town.delivered("api", Some("db"), &elsewhere), "bad-quote");
    // Only a router reports about what was for others.
    let other = ip(API, WEB, about(&quote(WEB, DB, udp(4000, 53))));
    assert_eq!(town.sent("api", &other), "bad-quote");
    assert_eq!(town.delivered("web", Some("api"), &other), "icmp-error");
    town.endpoint("api").router = true;
    assert_eq!(town.sent("api", &other), "icmp-error");
}

#[test]
fn a_quote_that_cannot_be_read_is_a_bad_quote() {
    let whole = quote(WEB, DB, udp(4000, 53));
    let error = quote(WEB, DB, about(&[]));
    let mut version = whole.clone();
    version[0] = 0x65;
    let six = datagram(WEB6, DB6, udp(4000, 53));
    for quoted in [&whole[..27], &whole[..0], &error, &version, &six] {
        assert_eq!(Town::new("").sent("db", &ip(DB, WEB, about(quoted))), "bad-quote", "{quoted:?}");
        assert_eq!(Town::new("").told("web", &ip(HOST, WEB, about(quoted))), "bad-quote", "{quoted:?}");
    }
    let mut options = whole.clone();
    options[0] = 0x46;
    options.splice(20..20, [1, 1, 1, 0]);
    assert_eq!(Town::new("").sent("db", &ip(DB, WEB, about(&options))), "default-deny");
}

#[test]
fn a_quote_of_ipv6_is_walked_like_a_packet() {
    let about6 = |quoted: &[u8]| icmp(1, quoted);
    let mut town = Town::new("");
    for (quoted, expected) in [
        (datagram(WEB6, API6, udp(4000, 53)), "icmp-error"),
        (datagram(WEB6, API6, options(udp(4000, 53))), "icmp-error"),
        (datagram(WEB6, API6, options((0, vec![17, 0, 0, 0, 0, 0, 0, 0]))), "bad-quote"),
        (datagram(WEB6, API6, (43, vec![17, 0, 0, 0, 0, 0, 0, 0])), "bad-quote"),
        (datagram(WEB6, API6, icmp(127, &[])), "bad-quote"),
        (datagram(WEB6, "::ffff:10.1.0.6", udp(4000, 53)), "bad-quote"),
    ] {
        assert_eq!(town.sent("api", &ip(API6, WEB6, about6(&quoted))), expected, "{quoted:?}");
    }
}

#[test]
fn a_quoted_later_fragment_has_no_ports() {
    let later = |dst| fragment(WEB, dst, 3, true, (17, vec![0; 8]))[14..].to_vec();
    let mut town = Town::new("r allow blue db udp");
    assert_eq!(town.sent("api", &ip(API, WEB, about(&later(API)))), "icmp-error");
    town.sent("web", &fragment(WEB, DB, 0, true, udp(4000, 53)));
    assert_eq!(town.sent("db", &ip(DB, WEB, about(&later(DB)))), "default-deny");
}

#[test]
fn the_host_is_told_about_what_it_sent() {
    let mut town = Town::new("");
    let report = ip(WEB, HOST, about(&quote(HOST, WEB, tcp(4000, 9, SYN))));
    assert_eq!(town.sent("web", &report), "default-deny");
    town.told("web", &ip(HOST, WEB, tcp(4000, 9, SYN)));
    assert_eq!(town.sent("web", &report), "icmp-error");
    // Its answers to what everybody may ask.
    let report = ip(WEB, HOST, about(&quote(HOST, WEB, udp(53, 4000))));
    assert_eq!(town.sent("web", &report), "icmp-error");
    town.world.apply(policy("r deny blue host udp/53\ns deny host blue tcp"));
    assert_eq!(town.sent("web", &report), "default-deny");
    town.world.policy = None;
    assert_eq!(town.sent("web", &report), "icmp-error");
}

#[test]
fn the_host_is_told_about_its_answers_to_what_a_rule_admits() {
    let mut town = Town::new("a deny host blue any\nb allow blue host tcp/22");
    let report = ip(WEB, HOST, about(&quote(HOST, WEB, tcp(22, 4000, ACK))));
    assert_eq!(town.sent("web", &report), "default-deny");
    town.sent("web", &ip(WEB, HOST, tcp(4000, 22, SYN)));
    assert_eq!(town.sent("web", &report), "icmp-error");
}

#[test]
fn routers_report_about_what_was_for_the_host() {
    let mut town = Town::new("r allow blue host tcp/22");
    let report = |body| ip(STRANGER, WEB, about(&quote(WEB, HOST, body)));
    assert_eq!(town.delivered("web", None, &report(udp(4000, 53))), "icmp-error");
    assert_eq!(town.delivered("web", None, &report(tcp(4000, 22, SYN))), "default-deny");
    town.sent("web", &ip(WEB, HOST, tcp(4000, 22, SYN)));
    assert_eq!(town.delivered("web", None, &report(tcp(4000, 22, SYN))), "icmp-error");
    assert_eq!(town.delivered("web", None, &report(udp(9, 4000))), "default-deny");
    town.told("web", &ip(HOST, WEB, udp(4000, 9)));
    assert_eq!(town.delivered("web", None, &report(udp(9, 4000))), "icmp-error");
}

#[test]
fn foreign_routers_tell_a_hundred_things_a_second() {
    let mut town = Town::new("r allow blue world udp");
    town.sent("web", &ip(WEB, STRANGER, udp(4000, 53)));
    let from = |src| ip(src, WEB, about(&quote(WEB, STRANGER, udp(4000, 53))));
    for _ in 0..100 {
        assert_eq!(town.delivered("web", None, &from("192.0.2.1")), "icmp-error");
    }
    assert_eq!(town.delivered("web", None, &from("192.0.2.1")), "icmp-error-rate");
    assert_eq!(town.guarded("uplink", &from("192.0.2.1")), "icmp-error-rate");
    // Who got the packet is no router.
    assert_eq!(town.delivered("web", None, &from(STRANGER)), "icmp-error");
    town.wait(1);
    assert_eq!(town.guarded("uplink", &from("192.0.2.1")), "icmp-error");
    assert_eq!(town.delivered("web", None, &from("192.0.2.1")), "icmp-error");
}

#[test]
fn the_hosts_own_errors_are_the_hosts_packets() {
    let mut town = Town::new("r deny host db any");
    assert_eq!(town.told("web", &ip(HOST, WEB, about(&quote(API, DB, udp(1, 2))))), "host-open");
    assert_eq!(town.told("db", &ip(HOST, DB, about(&quote(DB, HOST, udp(1, 2))))), "denied-by-rule r");
}

#[test]
fn a_later_fragment_of_an_error_is_a_later_fragment() {
    let mut town = Town::new("");
    let first = fragment(API, WEB, 0, true, about(&quote(WEB, API, udp(4000, 53))));
    assert_eq!(town.sent("api", &first), "icmp-error");
    assert_eq!(town.sent("api", &fragment(API, WEB, 9, false, (1, vec![]))), "shared-network blue");
}
