//! The early guard, on a veth and on an uplink.

use super::*;

#[test]
fn on_a_veth_it_says_what_the_veth_says_and_remembers_only_ports() {
    let mut town = Town::new("r allow blue db udp/53");
    let question = ip(WEB, DB, udp(4000, 53));
    assert_eq!(town.guarded("web", &question), "allowed-by-rule r");
    assert_eq!(town.guarded("db", &question), "spoofed-source");
    assert_eq!(town.guarded("nobody", &question), "no-endpoint");
    // It opened nothing.
    assert_eq!(town.guarded("db", &ip(DB, WEB, udp(53, 4000))), "default-deny");
    let later = fragment(WEB, DB, 3, true, (17, vec![]));
    assert_eq!(town.guarded("web", &later), "fragment");
    assert_eq!(town.guarded("web", &fragment(WEB, DB, 0, true, udp(4000, 53))), "allowed-by-rule r");
    assert_eq!(town.guarded("web", &later), "allowed-by-rule r");
}

#[test]
fn on_a_veth_it_refreshes_nothing() {
    let mut town = Town::new("r allow blue db udp/53");
    let (question, answer) = (ip(WEB, DB, udp(4000, 53)), ip(DB, WEB, udp(53, 4000)));
    town.sent("web", &question);
    town.wait(29);
    assert_eq!(town.guarded("db", &answer), "reply");
    assert_eq!(town.guarded("web", &question), "allowed-by-rule r");
    town.wait(1);
    assert_eq!(town.guarded("db", &answer), "default-deny");
}

#[test]
fn on_an_uplink_what_is_for_nobody_here_passes() {
    let mut town = Town::new("");
    let mut guarded = |frame: &[u8]| town.guarded("uplink", frame);
    assert_eq!(guarded(&ip(STRANGER, HOST, tcp(4000, 22, SYN))), "uplink");
    assert_eq!(guarded(&ip(STRANGER, "10.1.0.77", tcp(4000, 22, SYN))), "uplink");
    assert_eq!(guarded(&ip(STRANGER, "224.0.0.1", udp(1, 2))), "uplink");
    assert_eq!(guarded(&[0; 14]), "uplink");
    for ethertype in [0x0806_u16, 0x8100, 0x88cc] {
        let mut frame = ip(STRANGER, WEB, udp(1, 2));
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        assert_eq!(guarded(&frame), "uplink");
    }
}

#[test]
fn on_an_uplink_what_is_for_a_workload_meets_its_veth() {
    let mut town = Town::new("r allow world blue tcp/22");
    let mut guarded = |frame: &[u8]| town.guarded("uplink", frame);
    assert_eq!(guarded(&ip(STRANGER, WEB, tcp(4000, 22, SYN))), "allowed-by-rule r");
    assert_eq!(guarded(&ip(STRANGER, WEB, tcp(4000, 23, SYN))), "default-deny");
    assert_eq!(guarded(&ip("127.0.0.1", WEB, tcp(4000, 22, SYN))), "martian");
}

#[test]
fn on_an_uplink_nobody_is_local() {
    let mut town = Town::new("");
    for (src, dst) in [(WEB, API), (HOST, WEB), (WEB, HOST), (API6, STRANGER6)] {
        assert_eq!(town.guarded("uplink", &ip(src, dst, udp(1, 2))), "spoofed-outside");
    }
    // Every link has its own.
    town.endpoint("web").addresses.push("fe80::5/128".parse().unwrap());
    assert_eq!(town.guarded("uplink", &ip("fe80::5", HOST6, udp(1, 2))), "uplink");
    assert_eq!(town.guarded("uplink", &ip("fe80::5", API6, udp(1, 2))), "unstamped-source");
}

#[test]
fn on_an_uplink_what_cannot_be_read_is_dropped_for_workloads_only() {
    let mut town = Town::new("");
    let cut = |dst| ip(STRANGER, dst, udp(1, 2))[..34].to_vec();
    assert_eq!(town.guarded("uplink", &cut(WEB)), "malformed");
    assert_eq!(town.guarded("uplink", &cut(HOST)), "uplink");
    assert_eq!(town.guarded("uplink", &cut("10.1.0.77")), "uplink");
    assert_eq!(town.guarded("uplink", &cut(WEB)[..33]), "uplink");
    let cut = ip(STRANGER6, WEB6, udp(1, 2));
    assert_eq!(town.guarded("uplink", &cut[..60]), "malformed");
    assert_eq!(town.guarded("uplink", &cut[..50]), "uplink");
}
