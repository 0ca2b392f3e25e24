//! What no policy can allow.

use super::*;

#[test]
fn ip_options_are_for_groups() {
    let with_options = |dst: &str| {
        let mut frame = ip(WEB, dst, udp(4000, 9));
        frame[14] = 0x46;
        frame[17] += 4;
        frame.splice(34..34, [148, 4, 0, 0]);
        frame
    };
    let mut town = Town::new("");
    assert_eq!(town.sent("web", &with_options(API)), "ip-options");
    assert_eq!(town.sent("web", &with_options("224.0.0.22")), "multicast");
    assert_eq!(town.sent("web", &with_options(API)[..36]), "malformed");
}

#[test]
fn a_routing_header_is_refused_wherever_it_stands() {
    let mut town = Town::new("");
    let routing = |(next, body): Body| (43, [&[next, 0, 0, 0, 0, 0, 0, 0], &body[..]].concat());
    assert_eq!(town.sent("web", &ip(WEB6, API6, routing(udp(1, 2)))), "routing-header");
    assert_eq!(town.sent("web", &ip(WEB6, API6, options(routing(udp(1, 2))))), "routing-header");
    assert_eq!(town.sent("web", &ip(WEB6, API6, options(udp(1, 2)))), "shared-network blue");
}

#[test]
fn icmp_is_of_its_own_family() {
    let mut town = Town::new("");
    assert_eq!(town.sent("web", &ip(WEB, API, (58, vec![128, 0, 0, 0, 0, 0, 0, 0]))), "bad-header");
    assert_eq!(town.sent("web", &fragment(WEB, API, 3, true, (58, vec![]))), "bad-header");
    let mut frame = ip(WEB6, API6, udp(1, 2));
    frame[20] = 1;
    assert_eq!(town.sent("web", &frame), "bad-header");
    assert_eq!(town.sent("web", &fragment6(WEB6, API6, 3, true, (1, vec![]))), "bad-header");
}

#[test]
fn only_routers_redirect() {
    let mut town = Town::new("");
    let redirect = ip(WEB, API, icmp(5, &[0; 28]));
    assert_eq!(town.sent("web", &redirect), "router-advertisement");
    assert_eq!(town.delivered("api", Some("web"), &redirect), "shared-network blue");
    town.endpoint("web").router = true;
    assert_eq!(town.sent("web", &redirect), "shared-network blue");
}

#[test]
fn only_routers_advertise_and_only_themselves() {
    let mut town = Town::new("");
    let advertisement = |src| {
        let mut frame = ip(src, "ff02::1", icmp(134, &[0; 8]));
        frame[21] = 255;
        frame
    };
    assert_eq!(town.sent("web", &advertisement("fe80::1")), "router-advertisement");
    town.endpoint("web").router = true;
    assert_eq!(town.sent("web", &advertisement("fe80::1")), "neighbor");
    assert_eq!(town.sent("web", &advertisement(API6)), "spoofed-neighbor");
}

#[test]
fn only_dhcp_servers_answer() {
    for (src, dst, body) in [(WEB, API, udp(67, 68)), (WEB6, API6, udp(547, 546))] {
        let mut town = Town::new("");
        assert_eq!(town.sent("web", &ip(src, dst, body.clone())), "dhcp-server");
        assert_eq!(town.sent("db", &ip(src, dst, body.clone())), "spoofed-source");
        town.endpoint("web").dhcp_server = true;
        assert_eq!(town.sent("web", &ip(src, dst, body)), "shared-network blue");
    }
    let mut town = Town::new("");
    assert_eq!(town.sent("web", &ip(WEB, API, udp(547, 546))), "shared-network blue");
    assert_eq!(town.sent("web", &fragment(WEB, API, 0, true, udp(67, 68))), "dhcp-server");
}

#[test]
fn a_dhcp_client_asks_for_itself() {
    let request = |mac: [u8; 6], length: usize| {
        let body = [&[0; 28][..], &mac, &[0; 10]].concat();
        let (protocol, ports) = udp(68, 67);
        ip("0.0.0.0", "255.255.255.255", (protocol, [&ports[..8], &body[..length]].concat()))
    };
    let mut town = Town::new("");
    assert_eq!(town.sent("new", &request(MAC, 40)), "host-allowed");
    assert_eq!(town.sent("new", &request([9; 6], 40)), "spoofed-mac");
    assert_eq!(town.sent("new", &request([9; 6], 34)), "spoofed-mac");
    assert_eq!(town.sent("new", &request([9; 6], 33)), "host-allowed");
    town.endpoint("new").mac = Some([7; 6]);
    assert_eq!(town.sent("new", &request(MAC, 40)), "spoofed-mac");
}

#[test]
fn a_link_local_address_made_of_a_mac_is_made_of_the_speakers() {
    const OWN: &str = "fe80::ff:fe00:1";
    const OTHER: &str = "fe80::ff:fe00:2";
    let mut town = Town::new("r allow any blue any");
    let says = |town: &mut Town, src: &str| town.sent("web", &ip(src, API6, udp(1, 2)));
    assert_eq!(says(&mut town, OTHER), "allowed-by-rule r");
    town.endpoint("web").mac = Some(MAC);
    assert_eq!(says(&mut town, OWN), "allowed-by-rule r");
    assert_eq!(says(&mut town, OTHER), "spoofed-source");
    assert_eq!(says(&mut town, "fe80::1"), "allowed-by-rule r");
    // Who has it may use it.
    town.endpoint("web").addresses.push("fe80::ff:fe00:2/128".parse().unwrap());
    assert_eq!(says(&mut town, OTHER), "allowed-by-rule r");
}

#[test]
fn nobody_probes_for_an_address_made_of_anothers_mac() {
    let mut town = Town::new("");
    town.endpoint("web").mac = Some(MAC);
    let probe = |target: &str| {
        let target: std::net::Ipv6Addr = target.parse().unwrap();
        let mut frame = ip("::", "ff02::1:ff00:1", icmp(135, &target.octets()));
        frame[21] = 255;
        frame
    };
    assert_eq!(town.sent("web", &probe("fe80::ff:fe00:1")), "neighbor");
    assert_eq!(town.sent("web", &probe("fe80::ff:fe00:2")), "spoofed-neighbor");
    assert_eq!(town.sent("web", &probe("2001:db8::1")), "neighbor");
    assert_eq!(town.sent("web", &probe(API6)), "spoofed-neighbor");
}
