//! What lies beyond a host: a router behind its uplink, and somebody far away behind the router.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::echo::Echo;
use crate::host::Host;
use crate::netns::NetNs;
use crate::packet::Party;
use crate::traffic::ECHO_PORT;

/// The host's side of its uplink; no pattern of the lab's host file matches it.
pub const UPLINK: &str = "uplink";
/// The router, as the host sees it.
pub const ROUTER: Party =
    Party { v4: Ipv4Addr::new(198, 51, 100, 2), v6: Ipv6Addr::new(0x2001, 0xdb8, 0xfe, 0, 0, 0, 0, 2) };
/// Somebody far away, with an echo server.
pub const FAR: Party =
    Party { v4: Ipv4Addr::new(203, 0, 113, 5), v6: Ipv6Addr::new(0x2001, 0xdb8, 0xfd, 0, 0, 0, 0, 5) };
/// What a cloud's metadata service has: far away, and yet link-local.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The error messages of both families come as often as they are due: the lab counts them.
const UNLIMITED: &[(&str, &str)] = &[
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "100000"),
    ("net/ipv4/icmp_msgs_burst", "10000"),
    ("net/ipv6/icmp/ratelimit", "0"),
];

/// A router and somebody behind it. All that a host does not know goes there.
#[derive(Debug)]
pub struct Beyond {
    // Before the namespace: sockets would keep it alive.
    _echo: Echo,
    /// The namespace of [`FAR`].
    pub far: NetNs,
    /// The namespace of [`ROUTER`].
    pub router: NetNs,
}

impl Beyond {
    /// Joins a host to a new router.
    #[track_caller]
    pub fn of(host: &Host) -> Self {
        let router = NetNs::create(&format!("{}-router", host.name()));
        let far = NetNs::create(&format!("{}-far", host.name()));
        router.sysctls(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]);
        for netns in [host.netns(), &router, &far] {
            // Once, the limits of all messages together were the machine's and no namespace's.
            let exists = |key: &str| netns.enter(|| Path::new("/proc/sys").join(key).exists());
            let settings: Vec<_> = UNLIMITED.iter().copied().filter(|(key, _)| exists(key)).collect();
            netns.sysctls(&settings);
        }
        host.netns().ip(&format!("link add {UPLINK} type veth peer name near netns {}\n", router.name()));
        router.ip(&format!("link add far type veth peer name eth0 netns {}\n", far.name()));
        host.netns().ip(&on_the_host());
        router.ip(&on_the_router());
        far.ip(&far_away());
        for (netns, interface) in
            [(&**host.netns(), UPLINK), (&router, "near"), (&router, "far"), (&far, "eth0")]
        {
            netns.wait_for_carrier(interface);
        }
        Self { _echo: Echo::start(&far, ECHO_PORT), far, router }
    }

    /// Lowers the MTU of the path between host and far away, in both directions, and behind the router only:
    /// whoever sends too much learns it from an error of the router.
    #[track_caller]
    pub fn narrow(&self, mtu: u16) {
        self.router.ip(&routes(&format!(" mtu lock {mtu}")));
    }
}

impl AsRef<NetNs> for Beyond {
    /// Far away.
    fn as_ref(&self) -> &NetNs {
        &self.far
    }
}

fn on_the_host() -> String {
    let Party { v4, v6 } = ROUTER;
    format!(
        "addr add 198.51.100.1/24 dev {UPLINK}\naddr add 2001:db8:fe::1/64 dev {UPLINK} nodad\n\
         link set {UPLINK} up\nroute add default via {v4}\nroute add ::/0 via {v6}\n"
    )
}

fn on_the_router() -> String {
    let Party { v4, v6 } = ROUTER;
    format!(
        "addr add {v4}/24 dev near\naddr add {v6}/64 dev near nodad\n\
         addr add 203.0.113.1/24 dev far\naddr add 2001:db8:fd::1/64 dev far nodad\n\
         link set near up\nlink set far up\n{}route add {METADATA} via {}\n",
        routes(""),
        FAR.v4
    )
}

/// The router's routes to both sides.
fn routes(metrics: &str) -> String {
    let Party { v4, v6 } = FAR;
    format!(
        "route replace 10.0.0.0/8 via 198.51.100.1{metrics}\nroute replace 2001:db8::/32 via 2001:db8:fe::1{metrics}\n\
         route replace {v4} dev far{metrics}\nroute replace {v6} dev far{metrics}\n"
    )
}

fn far_away() -> String {
    let Party { v4, v6 } = FAR;
    format!(
        "addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\naddr add {METADATA}/32 dev lo\n\
         link set eth0 up\nroute add default via 203.0.113.1\nroute add ::/0 via 2001:db8:fd::1\n"
    )
}
