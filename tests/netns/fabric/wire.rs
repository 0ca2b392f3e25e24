//! Addresses that are not the sender's own, across hosts and from the wire.

use std::net::{IpAddr, SocketAddr};

use enforcer_tests::fabric::{Site, Underlay};
use enforcer_tests::packet::Family;
use enforcer_tests::spoof::bind_foreign;
use enforcer_tests::traffic::{ECHO_PORT, ping, tcp, udp};
use enforcer_tests::{Daemon, NetNs};

use super::{address_of, governed};

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
                assert!(udp(thief, address_of(target, family), ECHO_PORT));
                let there = daemons[1].dropped("default-deny");
                let dropped = drops_by(&daemons[0], "spoofed-source", || {
                    lie(thief.netns(), address_of(victim, family), address_of(target, family));
                });
                assert_eq!(dropped, LIES, "{underlay:?}, {family:?}, to {}", target.name());
                assert_eq!(daemons[1].dropped("default-deny"), there, "nothing leaves the thief's host");
            }
        }
    }
}

#[test]
fn an_address_of_a_local_workload_is_not_believed_from_the_wire() {
    for (underlay, name) in
        [(Underlay::L3, "wire"), (Underlay::Bridge, "flatwire"), (Underlay::HostGw, "gwwire")]
    {
        let (fabric, daemons) = governed(underlay, name);
        let [web, hub] = ["web", "hub"].map(|name| fabric.workload(name));
        for family in Family::BOTH {
            let (claimed, target) = (address_of(web, family), address_of(hub, family));
            assert!(udp(web, target, ECHO_PORT), "what web says itself arrives");
            ping(&fabric.stranger, target);
            let reason = "unstamped-source";
            let dropped = drops_by(&daemons[0], reason, || lie(&fabric.stranger, claimed, target));
            assert_eq!(dropped, LIES, "{underlay:?}, {family:?}: {reason}");
        }
    }
}

#[test]
fn an_address_of_a_local_workload_is_not_believed_from_a_tunnel() {
    let (fabric, daemons) = governed(Underlay::Vxlan, "tunnel");
    let [web, hub] = ["web", "hub"].map(|name| fabric.workload(name));
    // The stranger knows the overlay's number and port: nothing in VXLAN asks for more.
    let [[local, _], [remote, _]] = [Site::STRANGER, Site::HOSTS[0]].map(|site| site.routed(Family::V4));
    fabric.stranger.ip(&format!(
        "link add flannel.1 type vxlan id 1 local {local} remote {remote} dstport 8472 nolearning\n\
         link set flannel.1 up\n\
         neigh add 10.10.1.0 lladdr 02:00:0a:0a:01:00 dev flannel.1 nud permanent\n\
         route add 10.10.1.0/24 via 10.10.1.0 dev flannel.1 onlink\n"
    ));
    assert!(udp(web, hub.ipv4(), ECHO_PORT), "what web says itself arrives");
    let dropped = drops_by(&daemons[0], "unstamped-source", || lie(&fabric.stranger, web.ipv4(), hub.ipv4()));
    assert_eq!(dropped, LIES);
}

#[test]
fn workloads_do_not_reach_what_carries_them() {
    let (fabric, daemons) = governed(Underlay::Vxlan, "carrier");
    let web = fabric.workload("web");
    // In blue, which may open anything to the world; but the other host, the router and the tunnels are not the world.
    for address in Site::HOSTS[1].routed(Family::V4) {
        let denied = drops_by(&daemons[0], "denied-by-rule", || {
            assert!(!udp(web, address, 8472) && !tcp(web, address, 22) && !ping(web, address), "{address}");
        });
        assert!(denied >= 3, "{address}: {denied} packets denied");
    }
}
