//! Addresses that are not the sender's own, across hosts and from the wire.

use std::net::{IpAddr, SocketAddr};

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::fabric::{Fabric, Site, Underlay};
use enforcer_tests::packet::Family;
use enforcer_tests::spoof::bind_foreign;
use enforcer_tests::traffic::{ECHO_PORT, ping_soon, tcp_soon, udp, udp_soon};
use enforcer_tests::{Daemon, NetNs};
use rstest::rstest;

use super::{governed, governed_by};

/// How many packets a liar sends.
const LIES: u64 = 20;

/// Sends datagrams under an address that the namespace does not have.
#[track_caller]
fn lie(netns: &NetNs, claimed: IpAddr, to: IpAddr) {
    netns.enter(|| {
        let socket = bind_foreign(SocketAddr::new(claimed, 47_000)).expect("root may bind anything");
        for _ in 0..LIES {
            let sent = socket.send_to(b"it is me", SocketAddr::new(to, ECHO_PORT));
            sent.expect("a datagram can be sent");
        }
    });
}

/// How many packets a host drops for a reason, by what `act` does. All of it is local, so it is over with `act`.
fn drops_by(daemon: &Daemon, reason: &str, act: impl FnOnce()) -> u64 {
    let before = daemon.dropped(reason);
    act();
    daemon.dropped(reason) - before
}

#[test]
fn an_address_of_another_hosts_workload_is_dropped_where_it_is_stolen() {
    for (underlay, name) in [(Underlay::L3, "theft"), (Underlay::Bridge, "flattheft")] {
        let (fabric, daemons) = governed(underlay, name);
        let [thief, victim] = ["db", "api"].map(|name| fabric.workload(name));
        for family in Family::BOTH {
            // One neighbour of the thief's, one of the victim's. Each knows the thief: else its lie would go no
            // further than a question for the neighbour's MAC.
            for target in ["hub", "store"].map(|name| fabric.workload(name)) {
                assert!(udp(thief, target.address(family), ECHO_PORT));
                let there = daemons[1].dropped("default-deny");
                let dropped = drops_by(&daemons[0], "spoofed-source", || {
                    lie(thief.netns(), victim.address(family), target.address(family));
                });
                assert_eq!(dropped, LIES, "{underlay:?}, {family:?}, to {}", target.name());
                assert_eq!(daemons[1].dropped("default-deny"), there, "nothing leaves the thief's host");
            }
        }
    }
}

/// Whether the host file names the uplinks, and the reason for which the host then drops what has an address of a
/// local workload: at the uplink, or where it would have been delivered.
const BY: [(bool, &str); 2] = [(true, "spoofed-outside"), (false, "unstamped-source")];

/// A fabric whose hosts were told of their uplinks, or were not.
#[track_caller]
fn told(underlay: Underlay, name: &str, has_uplinks: bool) -> (Fabric, [Daemon; 2]) {
    if has_uplinks {
        governed(underlay, name)
    } else {
        governed_by(underlay, &format!("{name}bare"), DEFAULT_CONFIG)
    }
}

/// The stranger claims to be a workload of the first host, to another one of it.
#[track_caller]
fn assert_not_believed(
    (fabric, daemons): &(Fabric, [Daemon; 2]),
    families: &[Family],
    reason: &str,
    is_judged_before: bool,
) {
    let [web, hub] = ["web", "hub"].map(|name| fabric.workload(name));
    for family in families {
        let (claimed, target) = (web.address(*family), hub.address(*family));
        assert!(udp(web, target, ECHO_PORT), "what web says itself arrives");
        // It learns the neighbour's MAC first, where there is one to learn.
        ping_soon(&fabric.stranger, target);
        let dropped = drops_by(&daemons[0], reason, || lie(&fabric.stranger, claimed, target));
        assert_eq!(dropped, LIES, "{:?}, {family:?}: {reason}", fabric.underlay);
        if is_judged_before {
            assert_eq!(daemons[0].dropped("unstamped-source"), 0, "it comes no further than the uplink");
        }
    }
}

#[rstest]
#[case::routed(Underlay::L3, "wire")]
#[case::flat(Underlay::Bridge, "flatwire")]
#[case::host_gw(Underlay::HostGw, "gwwire")]
fn an_address_of_a_local_workload_is_not_believed_from_the_wire(
    #[case] underlay: Underlay,
    #[case] name: &str,
) {
    for (has_uplinks, reason) in BY {
        let governed = told(underlay, name, has_uplinks);
        assert_not_believed(&governed, underlay.families(), reason, has_uplinks);
    }
}

#[test]
fn an_address_of_a_local_workload_is_not_believed_from_a_tunnel() {
    for (has_uplinks, reason) in BY {
        let governed = told(Underlay::Vxlan, "tunnel", has_uplinks);
        // The stranger knows the overlay's number and port: nothing in VXLAN asks for more.
        let [[local, _], [remote, _]] = [Site::STRANGER, Site::HOSTS[0]].map(|site| site.routed(Family::V4));
        governed.0.stranger.ip(&format!(
            "link add flannel.1 type vxlan id 1 local {local} remote {remote} dstport 8472 nolearning\n\
             link set flannel.1 up\n\
             neigh add 10.10.1.0 lladdr 02:00:0a:0a:01:00 dev flannel.1 nud permanent\n\
             route add 10.10.1.0/24 via 10.10.1.0 dev flannel.1 onlink\n"
        ));
        assert_not_believed(&governed, &[Family::V4], reason, has_uplinks);
    }
}

#[test]
fn an_address_of_a_local_workload_is_not_believed_from_a_fan() {
    // No uplink's program sees what comes out of it: only the wire is one, and the receiver's veth decides.
    let governed = governed(Underlay::Fan, "fantunnel");
    let remote = Site::HOSTS[0].switched(Family::V4);
    let slices = Family::BOTH.map(|family| Site::HOSTS[0].slice(family));
    let routes = slices.map(|slice| format!("route replace {slice} encap ip id 10 dst {remote} dev fan\n"));
    governed.0.stranger.ip(&format!(
        "link add fan type vxlan external gpe dstport 4790\nlink set fan up\n{}",
        routes.concat()
    ));
    assert_not_believed(&governed, &Family::BOTH, "unstamped-source", false);
}

#[test]
fn a_tunnel_without_ethernet_is_no_uplink_and_that_is_told() {
    let host_file = format!(
        "{}[[uplink]]\nmatch = \"fan\"\n[guard]\nmatch = [\"fan\"]\n",
        Underlay::Fan.host_file("fabric")
    );
    let (fabric, daemons) = governed_by(Underlay::Fan, "fanuplink", &host_file);
    for daemon in &daemons {
        let status = daemon.json(&["status"]);
        let warnings = status["warnings"].to_string();
        for consequence in ["what comes from fan is not judged", "fan is not guarded"] {
            let expected = format!("{consequence}: fan has no Ethernet header");
            assert!(warnings.contains(&expected), "{expected}: {warnings}");
        }
        assert!(!warnings.contains("eth0"), "{warnings}");
    }
    let [web, api] = ["web", "api"].map(|name| fabric.workload(name));
    assert!(
        udp(web, api.ipv4(), ECHO_PORT) && udp(web, api.ipv6(), ECHO_PORT),
        "it carries packets as before"
    );
}

#[test]
fn workloads_do_not_reach_what_carries_them() {
    let (fabric, daemons) = governed(Underlay::Vxlan, "carrier");
    let web = fabric.workload("web");
    // In blue, which may open anything to the world; but the other host, the router and the tunnels are not the world.
    for address in Site::HOSTS[1].routed(Family::V4) {
        let denied = drops_by(&daemons[0], "denied-by-rule", || {
            assert!(
                !udp_soon(web, address, 8472) && !tcp_soon(web, address, 22) && !ping_soon(web, address),
                "{address}"
            );
        });
        assert!(denied >= 3, "{address}: {denied} packets denied");
    }
}
