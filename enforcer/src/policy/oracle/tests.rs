//! A small town, and one sentence of the rules per test.

mod errors;
mod fragments;
mod guard;
mod host;
mod integrity;
mod modes;
mod rules;
mod state;
mod town;

use town::*;

#[test]
fn who_shares_a_network_talks() {
    let mut town = Town::new("");
    let mut to = |dst| town.sent("web", &ip(WEB, dst, udp(4000, 9)));
    assert_eq!(to(API), "shared-network blue");
    assert_eq!(to(ODD), "default-deny");
    assert_eq!(to(DB), "default-deny");
    assert_eq!(to(HOST), "default-deny");
    assert_eq!(town.sent("db", &ip(WEB, API, udp(4000, 9))), "spoofed-source");
    assert_eq!(town.sent("nobody", &ip(WEB, API, udp(4000, 9))), "no-endpoint");
    town.world.policy = None;
    assert_eq!(town.sent("web", &ip(WEB, API, udp(4000, 9))), "no-policy");
}

#[test]
fn a_stamp_proves_where_a_packet_came_from() {
    let mut town = Town::new("");
    let frame = ip(WEB, API, udp(4000, 9));
    assert_eq!(town.delivered("api", Some("web"), &frame), "shared-network blue");
    assert_eq!(town.delivered("api", Some("db"), &frame), "unstamped-source");
    assert_eq!(town.delivered("api", None, &frame), "unstamped-source");
    assert_eq!(town.delivered("db", Some("web"), &frame), "not-owner");
    assert_eq!(town.delivered("api", None, &ip(HOST, API, udp(4000, 9))), "masked-source");
}

#[test]
fn what_is_cut_short_is_malformed() {
    let mut town = Town::new("");
    let frame = ip(WEB, API, udp(4000, 9));
    for length in 0..frame.len() {
        assert_eq!(town.sent("web", &frame[..length]), "malformed");
    }
}
