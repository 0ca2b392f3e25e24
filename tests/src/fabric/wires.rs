//! The wires between the hosts, the middle and the stranger. The hosts' ends are called `eth0`.

use crate::fabric::Site;
use crate::host::Host;
use crate::netns::NetNs;
use crate::packet::Family;

/// What a host calls its wire; no pattern of the lab's host file matches it.
pub(super) const WIRE: &str = "eth0";
/// What the middle calls the bridge of a shared wire.
const SWITCH: &str = "switch";

/// A router that believes whatever source a packet has: the enforcers must not depend on a better one.
const ROUTER: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// Everybody on a wire of their own, with a router in the middle that knows the hosts' slices.
#[track_caller]
pub(super) fn routed(hosts: &[Host; 2], middle: &NetNs, stranger: &NetNs, families: &[Family]) {
    middle.sysctls(ROUTER);
    for (netns, site) in everybody(hosts, stranger) {
        netns.ip(&cable(site, middle));
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for family in families {
            let [address, router] = site.routed(*family);
            let (length, nodad, everything) = match family {
                Family::V4 => (24, "", "0.0.0.0/0"),
                Family::V6 => (64, " nodad", "::/0"),
            };
            near.push(format!("addr add {address}/{length} dev {WIRE}{nodad}\n"));
            far.push(format!("addr add {router}/{length} dev to-{}{nodad}\n", site.name));
            near.push(format!("link set {WIRE} up\nroute add {everything} via {router}\n"));
            far.push(format!("link set to-{} up\n", site.name));
            if site != Site::STRANGER {
                let slice = site.slice(*family);
                // Otherwise packets to nobody's address in the slice would go to and fro.
                near.push(format!("route add unreachable {slice} metric 4096\n"));
                far.push(format!("route add {slice} via {address}\n"));
            }
        }
        netns.ip(&near.concat());
        middle.ip(&far.concat());
    }
    wait_for_carriers(hosts, middle, stranger);
}

/// Everybody on one wire with addresses of their own there.
#[track_caller]
pub(super) fn switched(hosts: &[Host; 2], middle: &NetNs, stranger: &NetNs, families: &[Family]) {
    plug_in(hosts, middle, stranger);
    for (netns, site) in everybody(hosts, stranger) {
        let addresses = families.iter().map(|family| match family {
            Family::V4 => format!("addr add {}/16 dev {WIRE}\n", site.switched(*family)),
            Family::V6 => format!("addr add {}/64 dev {WIRE} nodad\n", site.switched(*family)),
        });
        netns.ip(&addresses.collect::<String>());
    }
    wait_for_carriers(hosts, middle, stranger);
    stranger.ip(&Site::HOSTS.map(|site| routes(site, families)).concat());
}

/// Everybody in the workloads' own subnet: each host's bridge has a port on the wire.
#[track_caller]
pub(super) fn flat(hosts: &[Host; 2], middle: &NetNs, stranger: &NetNs) {
    plug_in(hosts, middle, stranger);
    for host in hosts {
        host.netns().ip(&format!("link set {WIRE} master br-10.10\n"));
    }
    stranger
        .ip(&format!("addr add 10.10.3.9/16 dev {WIRE}\naddr add 2001:db8:a:300::9/48 dev {WIRE} nodad\n"));
    wait_for_carriers(hosts, middle, stranger);
}

/// The `ip` commands that lead to a host's workloads by way of the host itself.
pub(super) fn routes_to(there: Site) -> String {
    routes(there, &Family::BOTH)
}

fn routes(there: Site, families: &[Family]) -> String {
    let route =
        |family: &Family| format!("route add {} via {}\n", there.slice(*family), there.switched(*family));
    families.iter().map(route).collect()
}

/// Joins everybody to a switch in the middle.
#[track_caller]
fn plug_in(hosts: &[Host; 2], middle: &NetNs, stranger: &NetNs) {
    middle.ip(&format!("link add {SWITCH} type bridge stp_state 0\nlink set {SWITCH} up\n"));
    for (netns, site) in everybody(hosts, stranger) {
        netns.ip(&format!("{}link set {WIRE} up\n", cable(site, middle)));
        middle.ip(&format!("link set to-{0} master {SWITCH}\nlink set to-{0} up\n", site.name));
    }
}

/// The `ip` command for one cable.
fn cable(site: Site, middle: &NetNs) -> String {
    format!("link add {WIRE} type veth peer name to-{} netns {}\n", site.name, middle.name())
}

#[track_caller]
fn wait_for_carriers(hosts: &[Host; 2], middle: &NetNs, stranger: &NetNs) {
    for (netns, site) in everybody(hosts, stranger) {
        netns.wait_for_carrier(WIRE);
        middle.wait_for_carrier(&format!("to-{}", site.name));
    }
}

fn everybody<'n>(hosts: &'n [Host; 2], stranger: &'n NetNs) -> [(&'n NetNs, Site); 3] {
    let [one, two] = Site::HOSTS;
    [(hosts[0].netns(), one), (hosts[1].netns(), two), (stranger, Site::STRANGER)]
}
