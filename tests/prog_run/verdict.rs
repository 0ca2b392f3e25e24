//! Who may talk to whom: membership decides, in both directions, at both hooks.

use std::net::IpAddr;

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, OUTSIDER, Packet, Party, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, lab, without_policy};

/// A probe between two parties; the verdict depends on their addresses alone.
fn between(family: Family, src: Party, dst: Party) -> Packet {
    from(src.on(family)).to(dst.on(family)).tcp(5432)
}

#[rstest]
#[case::there("a", BLUE_A, "b", BLUE_B)]
#[case::back("b", BLUE_B, "a", BLUE_A)]
fn members_of_one_network_talk_whatever_their_subnets(
    mut lab: Lab,
    #[case] sender: &str,
    #[case] src: Party,
    #[case] receiver: &str,
    #[case] dst: Party,
    #[values(V4, V6)] family: Family,
) {
    let packet = between(family, src, dst);
    lab.sent_by(sender, &packet).passes(SharedNetwork).is_stamped_as(sender);
    lab.delivered_to(receiver, &packet).stamped_by(sender).passes_counted_before().is_stamped_as(sender);
}

#[rstest]
#[case::there("a", BLUE_A, "db", DB)]
#[case::back("db", DB, "a", BLUE_A)]
fn members_of_different_networks_do_not(
    mut lab: Lab,
    #[case] sender: &str,
    #[case] src: Party,
    #[case] receiver: &str,
    #[case] dst: Party,
    #[values(V4, V6)] family: Family,
) {
    let packet = between(family, src, dst);
    lab.sent_by(sender, &packet).drops(DefaultDeny).is_not_stamped();
    // Were the sender's hook not to drop it, the receiver's would.
    lab.delivered_to(receiver, &packet).stamped_by(sender).drops(DefaultDeny);
}
