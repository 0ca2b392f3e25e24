//! Who asks for an address, and who may give one.

use std::net::Ipv4Addr;

use enforcer_common::{
    endpoint::Endpoint,
    verdict::{DropReason::*, PassReason::*},
};
use enforcer_tests::{
    packet::{
        BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, Packet, WORKLOAD_MAC, dhcp_discover,
        dhcp_request, from,
    },
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, lab, without_policy};

const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];

#[rstest]
fn a_client_finds_the_hosts_dhcp_server_and_nobody_elses() {
    let mut lab = without_policy();
    lab.endpoint("new");
    let find = |lab: &mut Lab| {
        // Asked by an endpoint that has no address yet, too.
        for endpoint in ["new", "new", "a", "a"] {
            lab.sent_by(endpoint, dhcp_discover()).passes(HostAllowed).is_stamped_as(endpoint);
        }
    };
    lab.sent_by("a", from(BLUE_A.v4).to(BLUE_B.v4).udp(53)).drops(NoPolicy);
    find(&mut lab);
    lab.apply(TENANTS);
    find(&mut lab);
}

#[rstest]
fn a_clients_broadcast_reaches_no_other_workload(mut lab: Lab) {
    lab.sent_by("a", dhcp_discover()).passes(HostAllowed);
    lab.delivered_to("b", dhcp_discover()).stamped_by("a").drops(Multicast);
    lab.delivered_to("b", dhcp_discover()).drops(Multicast);
}

#[rstest]
#[case::other_source_port(dhcp_discover().from_port(69))]
#[case::other_destination_port(dhcp_discover().udp(68))]
#[case::over_tcp(dhcp_discover().tcp(67))]
fn only_a_dhcp_client_may_speak_without_an_address(mut lab: Lab, #[case] packet: Packet) {
    lab.sent_by("a", packet).drops(Multicast);
}

#[rstest]
fn nobody_speaks_to_one_without_an_address(mut lab: Lab) {
    lab.sent_by("a", from(Ipv4Addr::UNSPECIFIED).to(BLUE_B.v4).udp(67).from_port(68)).drops(Martian);
}

#[rstest]
fn a_client_renews_only_what_is_its_own(mut lab: Lab) {
    let renewal = |address: Ipv4Addr| from(address).to(Ipv4Addr::BROADCAST).udp(67).from_port(68);
    lab.sent_by("a", renewal(BLUE_A.v4)).passes(HostAllowed);
    lab.sent_by("a", renewal(BLUE_B.v4)).drops(SpoofedSource);
    lab.sent_by("a", renewal(OUTSIDER.v4)).drops(SpoofedSource);
}

#[rstest]
fn the_hosts_dhcp_answer_reaches_who_has_no_address_yet(mut lab: Lab) {
    lab.endpoint("new");
    let offer = from(HOST.v4).to(BLUE_FAR.v4).udp(68).from_port(67);
    lab.delivered_to("new", &offer).locally_generated().passes(HostOpen);
    lab.delivered_to("new", &offer).drops(NotOwner);
    let no_offer = from(HOST.v4).to(BLUE_FAR.v4).udp(69).from_port(67);
    lab.delivered_to("new", no_offer).locally_generated().drops(NotOwner);
}

/// What a DHCP server of the family says to `packet`'s destination.
fn offer(packet: Packet) -> Packet {
    match Family::of(packet.src()) {
        V4 => packet.udp(68).from_port(67),
        V6 => packet.udp(546).from_port(547),
    }
}

#[rstest]
fn a_workload_is_no_dhcp_server(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let to = |receiver| offer(from(BLUE_A.on(family)).to(receiver));
    // Not even inside a network, nor to the host, nor in fragments.
    for receiver in [BLUE_B, DB, HOST, OUTSIDER] {
        let offer = to(receiver.on(family));
        lab.sent_by("a", &offer).drops(DhcpServer);
        lab.sent_by("a", offer.clone().fragment(0, true)).drops(DhcpServer);
        lab.guarded_by("a", offer).drops(DhcpServer);
    }
    // Only the two ports together make a server.
    lab.sent_by("a", to(BLUE_B.on(family)).from_port(4000)).passes(SharedNetwork);
    lab.sent_by("a", to(BLUE_B.on(family)).udp(4000)).passes(SharedNetwork);
}

#[rstest]
fn a_workload_offers_no_address_to_all(mut lab: Lab) {
    lab.sent_by("a", offer(from(BLUE_A.v4).to(Ipv4Addr::BROADCAST))).drops(DhcpServer);
}

#[rstest]
fn a_declared_dhcp_server_is_judged_like_anybody_else(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.provides("a", Endpoint::DHCP_SERVER);
    let to = |receiver| offer(from(BLUE_A.on(family)).to(receiver));
    lab.sent_by("a", to(BLUE_B.on(family))).passes(SharedNetwork);
    lab.sent_by("a", to(DB.on(family))).drops(DefaultDeny);
    lab.sent_by("b", offer(from(BLUE_B.on(family)).to(BLUE_A.on(family)))).drops(DhcpServer);
}

#[rstest]
fn a_client_asks_for_its_own_mac_only(mut lab: Lab) {
    let (all, none) = (Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED);
    for (client, server) in [(none, all), (BLUE_A.v4, all), (BLUE_A.v4, HOST.v4), (BLUE_A.v4, BLUE_B.v4)] {
        let request = |mac| dhcp_request(client, server, mac);
        lab.sent_by("a", request(OTHER_MAC)).drops(SpoofedMac);
        lab.guarded_by("a", request(OTHER_MAC)).drops(SpoofedMac);
        assert!(lab.sent_by("a", request(WORKLOAD_MAC)).outcome().judged.is_pass());
        // Nobody reads a client's MAC in a packet without one.
        assert!(lab.sent_by("a", request(OTHER_MAC).declaring(8 + 33)).outcome().judged.is_pass());
    }
}

#[rstest]
fn a_dhcpv6_client_asks_a_group_and_no_policy_allows_it(mut lab: Lab) {
    let servers = "ff02::1:2".parse::<std::net::Ipv6Addr>().unwrap();
    let link_local = "fe80::5".parse::<std::net::Ipv6Addr>().unwrap();
    lab.sent_by("a", from(link_local).to(servers).udp(547).from_port(546)).drops(Multicast);
    lab.sent_by("a", from(BLUE_A.v6).to(HOST.v6).udp(547).from_port(546)).drops(DefaultDeny);
}
