//! Who may talk to whom: membership decides, in both directions, at both hooks.

use std::net::IpAddr;

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, DB_FAR, Family, Family::*, OUTSIDER, Party, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, between, lab, without_policy};

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

#[rstest]
fn a_member_of_two_networks_talks_to_both_and_bridges_neither(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.apply(
        r#"
        version = 1
        [network.blue]
        prefixes = ["10.1.0.0/24", "10.7.3.0/26", "2001:db8:1::/64", "2001:db8:73::/64"]
        [network.backup]
        prefixes = ["10.7.3.6/32", "10.9.0.0/24", "2001:db8:73::6/128", "2001:db8:9::/64"]
        "#,
    );
    lab.sent_by("b", between(family, BLUE_B, BLUE_A)).passes(SharedNetwork);
    lab.sent_by("b", between(family, BLUE_B, DB)).passes(SharedNetwork);
    lab.sent_by("a", between(family, BLUE_A, DB)).drops(DefaultDeny);
    lab.sent_by("db", between(family, DB, BLUE_A)).drops(DefaultDeny);
}

#[rstest]
fn an_exception_is_no_member(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.apply(
        r#"
        version = 1
        [network.blue]
        prefixes = ["10.0.0.0/8", "2001:db8::/32"]
        except = ["10.7.3.6/32", "2001:db8:73::/48"]
        "#,
    );
    lab.sent_by("a", between(family, BLUE_A, DB)).passes(SharedNetwork);
    lab.sent_by("a", between(family, BLUE_A, BLUE_B)).drops(DefaultDeny);
    lab.sent_by("b", between(family, BLUE_B, BLUE_A)).drops(DefaultDeny);
}

#[rstest]
fn a_nested_prefix_takes_nobody_out_of_the_wider_network(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.apply(
        r#"
        version = 1
        [network.wide]
        prefixes = ["10.0.0.0/8", "2001:db8::/32"]
        [network.narrow]
        prefixes = ["10.1.0.0/24", "10.9.0.0/24", "2001:db8:1::/64", "2001:db8:9::/64"]
        "#,
    );
    for (sender, src, dst) in [("a", BLUE_A, BLUE_B), ("b", BLUE_B, BLUE_A), ("a", BLUE_A, DB)] {
        lab.sent_by(sender, between(family, src, dst)).passes(SharedNetwork);
    }
    let both = lab.flow(&between(family, BLUE_A, DB));
    assert!(both.network.is_some(), "one of the two shared networks is named: {both:?}");
    assert_eq!(lab.flow(&between(family, BLUE_A, BLUE_B)).network.as_deref(), Some("wide"));
}

#[rstest]
fn everything_of_ipv6_is_nothing_of_ipv4() {
    let mut lab = without_policy();
    lab.apply("version = 1\n[network.six]\nprefixes = [\"::/0\"]");
    lab.sent_by("a", between(V6, BLUE_A, DB)).passes(SharedNetwork);
    lab.sent_by("a", between(V4, BLUE_A, DB)).drops(DefaultDeny);
    lab.delivered_to("db", between(V6, OUTSIDER, DB)).passes(SharedNetwork);
    lab.delivered_to("db", between(V4, OUTSIDER, DB)).drops(DefaultDeny);
}

#[rstest]
#[case::v6_both("fe80::5", "fe80::9")]
#[case::v6_destination("2001:db8:1::5", "fe80::9")]
#[case::v6_source("fe80::5", "2001:db8:9::5")]
#[case::metadata("10.1.0.5", "169.254.169.254")]
fn the_widest_networks_do_not_hold_link_local_addresses(#[case] src: &str, #[case] dst: &str) {
    let mut lab = without_policy();
    lab.apply("version = 1\n[network.everything]\nprefixes = [\"0.0.0.0/0\", \"::/0\"]");
    let [src, dst] = [src, dst].map(|text| text.parse::<IpAddr>().unwrap());
    lab.sent_by("a", from(src).to(dst).tcp(80)).drops(DefaultDeny);
    let family = Family::of(src);
    lab.sent_by("a", between(family, BLUE_A, DB)).passes(SharedNetwork);
}

#[rstest]
fn before_the_first_policy_nobody_talks(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    let packet = between(family, BLUE_A, BLUE_B);
    lab.sent_by("a", &packet).drops(NoPolicy);
    lab.delivered_to("b", &packet).stamped_by("a").drops(NoPolicy);
    lab.apply(TENANTS);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
}

#[rstest]
fn an_empty_policy_denies_everything(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.apply("version = 1");
    lab.sent_by("a", between(family, BLUE_A, BLUE_B)).drops(DefaultDeny);
}

#[rstest]
fn an_interface_that_nobody_registered_carries_nothing(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    lab.interface("stray");
    lab.sent_by("stray", &packet).drops(NoEndpoint);
    lab.delivered_to("stray", &packet).stamped_by("a").drops(NoEndpoint);
    lab.delivered_to("stray", &packet).locally_generated().drops(NoEndpoint);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.forget("a");
    lab.sent_by("a", &packet).drops(NoEndpoint);
}

#[rstest]
fn an_endpoint_without_an_address_is_quarantined(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.endpoint("new");
    let packet = between(family, BLUE_FAR, BLUE_B);
    lab.sent_by("new", &packet).drops(Quarantined);
    lab.delivered_to("new", packet.answer()).stamped_by("b").drops(NotOwner);
    lab.endpoint("new").owns([BLUE_FAR]);
    lab.sent_by("new", &packet).passes(SharedNetwork);
    lab.delivered_to("new", packet.answer()).stamped_by("b").passes_counted_before();
}

#[rstest]
#[case::member(BLUE_FAR, true)]
#[case::member_of_another_network(DB_FAR, false)]
#[case::member_of_none(OUTSIDER, false)]
fn a_remote_is_judged_by_its_membership_at_the_receiver(
    mut lab: Lab,
    #[case] remote: Party,
    #[case] admitted: bool,
    #[values(V4, V6)] family: Family,
) {
    let packet = between(family, remote, BLUE_A);
    let run = lab.delivered_to("a", &packet);
    let outcome = if admitted { run.passes(SharedNetwork) } else { run.drops(DefaultDeny) };
    outcome.is_not_stamped();
    // And so are the answers at their sender.
    let run = lab.sent_by("a", packet.answer());
    if admitted {
        run.passes(SharedNetwork)
    } else {
        run.drops(DefaultDeny)
    };
}

#[rstest]
fn the_second_packet_gets_the_same_verdict_from_the_same_record(
    mut lab: Lab,
    #[values(V4, V6)] family: Family,
) {
    let (allowed, denied) = (between(family, BLUE_A, BLUE_B), between(family, BLUE_A, DB));
    for _ in 0..3 {
        lab.sent_by("a", &allowed).passes(SharedNetwork).is_stamped_as("a");
        lab.sent_by("a", &denied).drops(DefaultDeny).is_not_stamped();
    }
    for (packet, verdict) in [(&allowed, "pass"), (&denied, "drop")] {
        let flow = lab.flow(packet);
        assert_eq!((flow.verdict.as_str(), flow.packets_fwd, flow.packets_rev), (verdict, 3, 0));
    }
}

#[rstest]
#[case::network_address("10.1.0.0", true)]
#[case::last_address("10.1.0.255", true)]
#[case::before("10.0.255.255", false)]
#[case::behind("10.1.1.0", false)]
#[case::v6_first("2001:db8:1::", true)]
#[case::v6_last("2001:db8:1::ffff:ffff:ffff:ffff", true)]
#[case::v6_before("2001:db8:0:ffff:ffff:ffff:ffff:ffff", false)]
#[case::v6_behind("2001:db8:1:1::", false)]
fn a_prefix_ends_where_it_ends(mut lab: Lab, #[case] remote: &str, #[case] member: bool) {
    let remote: IpAddr = remote.parse().unwrap();
    let packet = from(remote).to(BLUE_B.on(Family::of(remote))).udp(53);
    let run = lab.delivered_to("b", packet);
    if member {
        run.passes(SharedNetwork)
    } else {
        run.drops(DefaultDeny)
    };
}
