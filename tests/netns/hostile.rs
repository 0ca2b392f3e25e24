//! A workload that may send any frame it likes, and gets none of these past its veth.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_tests::packet::{self, Packet, from};
use enforcer_tests::spoof::send_frame;
use enforcer_tests::{Daemon, Host, Workload, icmp};

use crate::pair::{NETWORKS, Pair, allow};

/// The hostile workload's own addresses.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 66);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x66);
/// In the form that is made of a MAC (RFC 4291, appendix A), and of its own.
const OWN_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
/// The same of another MAC.
const OTHER_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x99);
/// Whom it is after.
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 5);
const VICTIM6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 5);
/// The gateway of both.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const MULTICAST: Ipv6Addr = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x101);

/// A hostile workload and its victim.
struct Street {
    daemon: Daemon,
    hostile: Workload,
    _victim: Workload,
    _host: Host,
}

impl Street {
    /// The hostile workload has the MAC that described packets come from, and its host the one they go to.
    fn build(name: &str) -> Self {
        let host = Host::new(name);
        let hostile = host.workload("hostile").at(&format!("{OWN}/24")).at(&format!("{OWN6}/64")).routed();
        let victim =
            host.workload("victim").at(&format!("{VICTIM}/24")).at(&format!("{VICTIM6}/64")).routed();
        host.netns().ip("link set veth-hostile address 02:00:00:00:00:02\n");
        hostile.netns().ip("link set eth0 address 02:00:00:00:00:01\naddress flush dev eth0 scope link\n");
        let daemon = Daemon::start(&host);
        daemon.wait_ready(&[hostile.interface(), victim.interface()]);
        daemon.apply(&(NETWORKS.to_owned() + &allow("clients", "servers", &["udp/7000"])));
        Self { daemon, hostile, _victim: victim, _host: host }
    }

    fn sends(&self, packet: &Packet) {
        send_frame(self.hostile.netns(), "eth0", &packet.bytes());
    }
}

fn v4() -> Packet {
    from(OWN).to(VICTIM).udp(7000)
}

fn v6() -> Packet {
    from(OWN6).to(VICTIM6).udp(7000)
}

/// Frames by the reason that they are counted for.
fn frames() -> Vec<(&'static str, Packet)> {
    [integrity(), link(), services()].concat()
}

fn integrity() -> Vec<(&'static str, Packet)> {
    let mapped: Ipv6Addr = OWN.to_ipv6_mapped();
    vec![
        ("vlan-tag", v4().vlan(5)),
        ("vlan-tag", v6().vlan(0)),
        ("vlan-tag", v4().tagged(0x88a8, 5)),
        ("vlan-tag", v4().tagged(0x88a8, 5).vlan(6)),
        ("ethertype", v4().ethertype(0x88cc)),
        ("ip-options", v4().options(8)),
        ("routing-header", v6().routing()),
        ("bad-header", from(OWN).to(VICTIM).protocol(58)),
        ("bad-header", from(OWN6).to(VICTIM6).protocol(1)),
        ("martian", from(Ipv4Addr::LOCALHOST).to(VICTIM).udp(7000)),
        ("mapped-address", from(mapped).to(VICTIM6).udp(7000)),
        ("overlapping-fragment", from(OWN).to(VICTIM).tcp(7000).fragment(1, false)),
        ("overlapping-fragment", from(OWN6).to(VICTIM6).tcp(7000).fragment(1, false)),
        ("spoofed-source", from(VICTIM).to(GATEWAY).udp(53)),
        ("spoofed-source", from(VICTIM6).to(OWN6).udp(53)),
        ("spoofed-source", from(OTHER_LINK).to(GATEWAY6).udp(53)),
        ("multicast", from(OWN).to(Ipv4Addr::BROADCAST).udp(7000)),
        ("multicast", from(OWN6).to(MULTICAST).udp(7000)),
    ]
}

fn link() -> Vec<(&'static str, Packet)> {
    vec![
        ("spoofed-neighbor", packet::arp_reply(VICTIM, OWN)),
        ("spoofed-neighbor", packet::arp_request(VICTIM, GATEWAY)),
        ("spoofed-neighbor", packet::arp_request(Ipv4Addr::UNSPECIFIED, VICTIM)),
        ("spoofed-neighbor", packet::arp_reply(GATEWAY, GATEWAY)),
        ("spoofed-neighbor", packet::neighbor_advertisement(OWN6, VICTIM6)),
        ("spoofed-neighbor", packet::neighbor_solicitation(VICTIM6, GATEWAY6)),
        ("spoofed-neighbor", packet::dad_probe(VICTIM6)),
        ("spoofed-neighbor", packet::dad_probe(OTHER_LINK)),
        ("spoofed-mac", v4().byte(11, 0x99)),
        ("spoofed-mac", v6().byte(11, 0x99)),
    ]
}

fn services() -> Vec<(&'static str, Packet)> {
    vec![
        ("router-advertisement", packet::router_advertisement(OWN_LINK)),
        ("router-advertisement", packet::redirect(OWN_LINK, VICTIM6, OWN6)),
        ("router-advertisement", from(OWN).to(VICTIM).icmp(5, 1)),
        ("dhcp-server", from(OWN).to(VICTIM).udp(68).from_port(67).payload(300)),
        ("dhcp-server", from(OWN6).to(VICTIM6).udp(546).from_port(547).payload(100)),
        // In the name of a MAC that is not the sender's.
        ("spoofed-mac", packet::dhcp_request(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, [6; 6])),
    ]
}

#[test]
fn each_frame_is_dropped_for_its_reason() {
    let street = Street::build("hostile");
    for (reason, packet) in frames() {
        let mut expected = street.daemon.counts("drop");
        *expected.get_mut(reason).unwrap() += 3;
        (0..3).for_each(|_| street.sends(&packet));
        assert_eq!(street.daemon.counts("drop"), expected, "{reason}: {packet}\n{}", packet.hex());
    }
}

#[test]
fn honest_frames_sent_in_the_same_way_pass() {
    let street = Street::build("honest");
    let honest = [
        ("allowed-by-rule", v4()),
        ("allowed-by-rule", v6()),
        ("host-allowed", from(OWN).to(GATEWAY).udp(53)),
        ("host-allowed", from(OWN_LINK).to(GATEWAY6).udp(53)),
        ("host-allowed", packet::dhcp_discover()),
        ("neighbor", packet::arp_request(OWN, GATEWAY)),
        // A probe claims nothing (RFC 5227 §2.1.1), but asks for nobody else's.
        ("neighbor", packet::arp_request(Ipv4Addr::UNSPECIFIED, OWN)),
        ("neighbor", packet::neighbor_solicitation(OWN6, GATEWAY6)),
        ("neighbor", packet::dad_probe(OWN_LINK)),
    ];
    let before = street.daemon.counts("drop");
    for (reason, packet) in honest {
        let count = street.daemon.counts("pass")[reason];
        street.sends(&packet);
        assert!(street.daemon.counts("pass")[reason] > count, "{reason}: {packet}\n{}", packet.hex());
    }
    assert_eq!(street.daemon.counts("drop"), before);
}

/// Errors about packets that their sender cannot have got: sent to somebody else, or by somebody else.
#[test]
fn an_error_about_the_packet_of_somebody_else_is_dropped() {
    let pair = Pair::build("quote");
    pair.govern(&[allow("clients", "servers", &["any"]), allow("servers", "clients", &["any"])]);
    let families: [(_, _, [IpAddr; 3]); 2] = [
        (3, 1, [pair.client.ipv4(), VICTIM.into(), OWN.into()]),
        (1, 0, [pair.client.ipv6(), VICTIM6.into(), OWN6.into()]),
    ];
    for (kind, code, [client, server, nobody]) in families {
        let complains = |quoted: Packet| {
            let before = pair.daemon.dropped("bad-quote");
            icmp::send(pair.client.netns(), server, kind, code, [0; 4], &quoted.bytes()[14..]);
            pair.daemon.dropped("bad-quote") - before
        };
        assert_eq!(complains(from(server).to(nobody).udp(9)), 1, "not sent to the complainer, {client}");
        assert_eq!(complains(from(nobody).to(client).udp(9)), 1, "not sent by {server}");
        assert_eq!(complains(from(server).to(client).udp(9)), 0, "this one might be true");
    }
}
