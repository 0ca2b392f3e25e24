//! What is too large for the interface that it would leave by.

use enforcer_tests::packet::Family;
use rstest::rstest;

use super::{Border, Layout};
use crate::path_mtu::assert_told;

/// A byte more than the interface takes, in a datagram that nobody on the way may cut.
#[rstest]
#[case::out("UPLINK")]
#[case::into("WEB")]
fn who_sends_too_much_is_told_by_the_host(
    #[case] narrow: &str,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let border = Border::build("out-too-much", Layout::Routed);
    border.on_host(&format!("ip link set {narrow} mtu 1400"));
    border.wait_straight(family);
    let [web, outside] = border.addresses(family);
    match narrow {
        "UPLINK" => assert_told(1_400, &border.web, outside),
        _ => assert_told(1_400, &border.outside, web),
    }
    assert!(border.goes_straight(family), "what fits goes straight as before");
}
