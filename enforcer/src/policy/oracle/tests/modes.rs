//! Modes and audits: what goes on although it should not.

use enforcer_common::mode::Mode;

use super::{super::Stamp, *};

fn question() -> Vec<u8> {
    ip(WEB, DB, udp(4000, 9))
}

#[test]
fn a_mode_decides_what_is_taken_seriously() {
    let mut town = Town::new("");
    let spoofed = ip(DB, API, udp(4000, 9));
    for (mode, policy, integrity) in [
        (Mode::Enforce, "default-deny", "spoofed-source"),
        (Mode::Audit, "would-drop default-deny", "spoofed-source"),
        (Mode::Observe, "would-drop default-deny", "would-drop spoofed-source"),
    ] {
        town.world.mode = mode;
        assert_eq!(town.sent("web", &question()), policy);
        assert_eq!(town.sent("web", &spoofed), integrity);
    }
    town.endpoint("web").mode = Some(Mode::Enforce);
    assert_eq!(town.sent("web", &question()), "default-deny");
    assert_eq!(town.sent("nobody", &question()), "would-drop no-endpoint");
}

#[test]
fn what_was_let_go_on_proves_as_much_as_was_asked_there() {
    let mut town = Town::new("");
    let frame = ip(WEB, API, udp(4000, 9));
    assert_eq!(town.delivered_relaxed("api", Stamp::Relaxed, &frame), "shared-network blue");
    assert_eq!(town.delivered_relaxed("api", Stamp::Doubtful, &frame), "unstamped-source");
    assert_eq!(town.delivered_relaxed("db", Stamp::Relaxed, &question()), "default-deny");
    let masked = ip(STRANGER, API, udp(4000, 9));
    assert_eq!(town.delivered_relaxed("api", Stamp::Relaxed, &masked), "masked-source");
}

#[test]
fn a_rule_on_trial_tells_what_it_would_deny() {
    let mut town = Town::new("a allow blue db udp\nb audit blue any udp");
    assert_eq!(town.sent("web", &question()), "would-drop denied-by-rule b");
    assert_eq!(town.sent("db", &ip(DB, WEB, udp(9, 4000))), "reply", "it opened what it opens");
    assert_eq!(town.sent("web", &ip(WEB, API, udp(1, 2))), "would-drop denied-by-rule b");
    assert_eq!(town.sent("web", &ip(WEB, API, tcp(1, 2, SYN))), "shared-network blue");
    assert_eq!(town.sent("web", &ip(WEB, HOST, udp(4000, 53))), "host-allowed", "any is not the host");
}

#[test]
fn a_rule_on_trial_stops_no_answer() {
    let mut town = Town::new("a allow any any udp\nb audit db any udp");
    assert_eq!(town.sent("web", &question()), "allowed-by-rule a");
    assert_eq!(town.sent("db", &ip(DB, WEB, udp(9, 4000))), "allowed-by-rule a");
    assert_eq!(town.sent("db", &ip(DB, WEB, udp(9, 4001))), "would-drop denied-by-rule b");
}
