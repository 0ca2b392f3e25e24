//! Tagged frames on a real veth, whose receiving side takes the tag off before any program runs.

use std::time::Duration;

use enforcer_tests::packet::from;
use enforcer_tests::spoof::send_frame;
use enforcer_tests::wait::until;

use crate::spoofing::dropped;
use crate::town::Town;

#[test]
fn a_tag_that_the_kernel_took_off_is_seen() {
    let town = Town::governed("tagging");
    let packet = || from(town.web.ipv4()).to(town.api.ipv4()).udp(9);
    let tagged =
        [packet().vlan(5), packet().vlan(0), packet().tagged(0x88a8, 5), packet().tagged(0x88a8, 5).vlan(6)];
    town.web.netns().enter(|| {
        for frame in [packet()].iter().chain(&tagged) {
            send_frame("eth0", &frame.bytes()).expect("root may send any frame");
        }
    });
    let seen = until("the tagged frames are dropped", Duration::from_secs(10), || {
        let seen = dropped(&town.daemon, "vlan-tag");
        (seen >= tagged.len() as u64).then_some(seen)
    });
    assert_eq!(seen, tagged.len() as u64, "and the frame without a tag is not");
}
