//! What tunnels the workloads' packets through an IPv4 underlay that knows nothing of them.

use std::net::IpAddr;

use crate::command::transcript;
use crate::fabric::Site;
use crate::fabric::wires::WIRE;
use crate::netns::NetNs;
use crate::packet::Family;

/// What flannel calls its end of the overlay.
pub(super) const FLANNEL: &str = "flannel.1";
/// Of 1500 bytes the headers of Ethernet, VXLAN, UDP and IPv4 take 50.
pub(super) const FLANNEL_MTU: usize = 1450;
/// There is no inner Ethernet header: 36.
pub(super) const FAN_MTU: usize = 1464;

/// Does what flannel's agent does about one other host: a device that learns nothing, and for the other host a
/// route, its gateway's MAC, and behind which underlay address that is.
#[track_caller]
pub(super) fn flannel(netns: &NetNs, here: Site, there: Site) {
    let ([local, _], [remote, _]) = (here.routed(Family::V4), there.routed(Family::V4));
    let (own_mac, mac) = (flannel_mac(here), flannel_mac(there));
    let mut batch = vec![format!(
        "link add {FLANNEL} address {own_mac} mtu {FLANNEL_MTU} type vxlan id 1 \
         local {local} dev {WIRE} dstport 8472 nolearning\n"
    )];
    let mut routes = Vec::new();
    for family in Family::BOTH {
        // A host's end is the first address of its slice, as there.
        let (own, slice) = (here.slice(family).network(), there.slice(family));
        let gateway = slice.network();
        batch.push(match own {
            IpAddr::V4(_) => format!("addr add {own}/32 dev {FLANNEL}\n"),
            IpAddr::V6(_) => format!("addr add {own}/128 dev {FLANNEL} nodad\n"),
        });
        routes.push(format!(
            "neigh replace {gateway} lladdr {mac} dev {FLANNEL} nud permanent\n\
             route replace {slice} via {gateway} dev {FLANNEL} onlink\n"
        ));
    }
    batch.push(format!("link set {FLANNEL} up\n"));
    netns.ip(&[batch, routes].concat().concat());
    let remote = remote.to_string();
    let fdb = netns.run("bridge", &["fdb", "replace", &mac, "dev", FLANNEL, "dst", &remote]);
    assert!(fdb.status.success(), "bridge fdb: {}", transcript(&fdb));
}

/// The MAC of a host's end of the overlay.
fn flannel_mac(site: Site) -> String {
    format!("02:00:0a:0a:{:02x}:00", site.number)
}

/// Does what Ubuntu's Fan does: whatever is for 10.10.*n*.0/24 goes to the host 172.20.10.*n*, and nobody has to be
/// told so.
///
/// Fan's own tunnel computes that per packet, by a patch that only Ubuntu's kernels have. Here there is a route for
/// each host, computed just so. It names the far end of the tunnel itself, so there is no neighbour to resolve, and
/// the tunnel carries bare IP: with no IPIP at hand that is VXLAN without Ethernet, its extension GPE.
#[track_caller]
pub(super) fn fan(netns: &NetNs, there: Site) {
    let remote = there.switched(Family::V4);
    let routes = Family::BOTH.map(|family| {
        let slice = there.slice(family);
        format!("route add {slice} encap ip id 10 dst {remote} dev fan\n")
    });
    netns.ip(&format!(
        "link add fan mtu {FAN_MTU} type vxlan external gpe dstport 4790\nlink set fan up\n{}",
        routes.concat()
    ));
}
