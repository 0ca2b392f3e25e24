//! Addresses that mean something on one link only, and others that look like something else.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, Family, HOST, WORKLOAD_MAC, dad_probe, from, neighbor_advertisement},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, lab};

const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
/// RFC 4291, appendix A: made of [`WORKLOAD_MAC`], and of another.
const OWN_EUI64: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
const OTHER_EUI64: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x77);

#[rstest]
fn an_address_made_of_a_mac_is_for_who_has_it(mut lab: Lab) {
    let speaks = |address: Ipv6Addr| from(address).to(LINK_LOCAL).udp(9);
    // While nobody knows the MAC, any will do.
    lab.sent_by("a", neighbor_advertisement(OTHER_EUI64, OTHER_EUI64)).passes(Neighbor);
    lab.endpoint("a").has_mac(WORKLOAD_MAC);
    lab.sent_by("a", neighbor_advertisement(OWN_EUI64, OWN_EUI64)).passes(Neighbor);
    lab.sent_by("a", dad_probe(OWN_EUI64)).passes(Neighbor);
    lab.sent_by("a", speaks(OWN_EUI64)).drops(DefaultDeny);
    lab.sent_by("a", neighbor_advertisement(OTHER_EUI64, OTHER_EUI64)).drops(SpoofedNeighbor);
    lab.sent_by("a", neighbor_advertisement(OWN_EUI64, OTHER_EUI64)).drops(SpoofedNeighbor);
    lab.sent_by("a", dad_probe(OTHER_EUI64)).drops(SpoofedNeighbor);
    lab.sent_by("a", speaks(OTHER_EUI64)).drops(SpoofedSource);
    // An owner decides before the form does.
    lab.endpoint("a").owns([OTHER_EUI64]);
    lab.sent_by("a", speaks(OTHER_EUI64)).drops(DefaultDeny);
}

#[rstest]
fn only_a_rule_that_means_them_admits_link_local_addresses(mut lab: Lab) {
    let (metadata, router) = ("169.254.169.254".parse::<IpAddr>().unwrap(), IpAddr::from(LINK_LOCAL));
    let asks = |dst: IpAddr| from(BLUE_A.on(Family::of(dst))).to(dst).tcp(80);
    let rule =
        |to: &str| format!("{TENANTS}[[rule]]\nname = 'r'\nfrom = ['blue']\nto = [{to}]\nallow = ['tcp/80']");
    for (dst, wide, narrow) in
        [(metadata, "'0.0.0.0/0'", "'169.254.169.254/32'"), (router, "'::/0'", "'fe80::/10'")]
    {
        lab.apply(&rule(wide));
        lab.sent_by("a", asks(dst)).drops(DefaultDeny);
        lab.sent_by("a", asks(DB.on(Family::of(dst)))).passes(AllowedByRule);
        lab.apply(&rule(narrow));
        lab.sent_by("a", asks(dst)).passes(AllowedByRule);
        lab.sent_by("a", asks(DB.on(Family::of(dst)))).drops(DefaultDeny);
    }
}

#[rstest]
fn an_ipv4_link_local_address_has_an_owner_or_is_nobodys(mut lab: Lab) {
    let source = "169.254.7.7".parse::<IpAddr>().unwrap();
    lab.sent_by("a", from(source).to(BLUE_B.v4).udp(53)).drops(SpoofedSource);
    lab.endpoint("a").owns([source]);
    lab.sent_by("a", from(source).to(BLUE_B.v4).udp(53)).drops(DefaultDeny);
}

/// Compatible (RFC 4291 §2.5.5.1) and translated (RFC 6052) addresses are plain IPv6 here: nobody in IPv4.
#[rstest]
#[case::compatible("::10.1.0.5", "::10.7.3.6", "::10.0.0.0/104")]
#[case::translated("64:ff9b::10.1.0.5", "64:ff9b::10.7.3.6", "64:ff9b::/96")]
fn an_embedded_ipv4_address_is_none(
    mut lab: Lab,
    #[case] own: &str,
    #[case] other: &str,
    #[case] prefix: &str,
) {
    let [own, other] = [own, other].map(|text| text.parse::<Ipv6Addr>().unwrap());
    lab.sent_by("a", from(own).to(BLUE_B.v6).udp(53)).drops(SpoofedSource);
    lab.sent_by("a", from(BLUE_A.v6).to(other).udp(53)).drops(DefaultDeny);
    lab.delivered_to("b", from(own).to(BLUE_B.v6).udp(53)).drops(DefaultDeny);
    lab.delivered_to("b", from(BLUE_A.v6).to(other).udp(53)).stamped_by("a").drops(NotOwner);
    // Members of what covers them as IPv6, which makes none of the IPv4 addresses one.
    lab.apply(&format!(
        "version = 1\n[network.wide]\nprefixes = ['{prefix}', '2001:db8:1::/64', '10.1.0.0/24']"
    ));
    lab.sent_by("a", from(BLUE_A.v6).to(other).udp(53)).passes(SharedNetwork);
    lab.delivered_to("a", from(other).to(BLUE_A.v6).udp(53)).passes(SharedNetwork);
    lab.sent_by("a", from(BLUE_A.v4).to(BLUE_B.v4).udp(53)).drops(DefaultDeny);
    lab.endpoint("a").owns([own]);
    lab.sent_by("a", from(own).to(other).udp(53)).passes(SharedNetwork);
}

#[rstest]
fn a_frame_from_a_group_is_nobodys(mut lab: Lab) {
    let to_host = from(BLUE_A.v4).to(HOST.v4).udp(53);
    let from_group = to_host.clone().byte(6, WORKLOAD_MAC[0] | 1);
    // While nobody knows the MAC, any will do.
    lab.sent_by("a", &from_group).passes(HostAllowed);
    lab.endpoint("a").has_mac(WORKLOAD_MAC);
    lab.sent_by("a", &from_group).drops(SpoofedMac);
    lab.guarded_by("a", &from_group).drops(SpoofedMac);
    lab.sent_by("a", to_host).passes(HostAllowed);
}
