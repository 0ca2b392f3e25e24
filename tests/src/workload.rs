//! A workload: what a container looks like to its host, a namespace at the end of a veth pair.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Mutex;

use ipnet::IpNet;

use crate::bridge::INTERFACE_NAME_MAX;
use crate::echo::Echo;
use crate::host::{Host, ROUTED_GATEWAY_IPV4, ROUTED_GATEWAY_IPV6, routed_side, routes_to};
use crate::netns::NetNs;
use crate::packet::Family;
use crate::traffic::ECHO_PORT;

/// A workload that is being described; [`routed`](Self::routed) or [`bridged`](Self::bridged) creates it.
#[derive(Debug)]
#[must_use = "nothing exists before `routed` or `bridged`"]
pub struct NewWorkload<'h> {
    host: &'h Host,
    name: String,
    interface: String,
    addresses: Vec<IpNet>,
    netns: Option<NetNs>,
    macs: Option<[String; 2]>,
}

impl<'h> NewWorkload<'h> {
    /// A workload without addresses, whose host side is to be `veth-<name>`.
    pub(crate) fn on(host: &'h Host, name: &str) -> Self {
        Self {
            host,
            name: name.to_owned(),
            interface: format!("veth-{name}"),
            addresses: Vec::new(),
            netns: None,
            macs: None,
        }
    }

    /// Gives it an address with its subnet, such as `10.1.0.5/24`.
    #[track_caller]
    pub fn at(mut self, address: &str) -> Self {
        match address.parse() {
            Ok(address) => self.addresses.push(address),
            Err(error) => panic!("bad address {address}: {error}"),
        }
        self
    }

    /// Names the host side otherwise than `veth-<name>`: an uplink, or an interface the enforcer is not to match.
    pub fn behind(mut self, interface: &str) -> Self {
        interface.clone_into(&mut self.interface);
        self
    }

    /// Puts it into a namespace in which something runs already, instead of a new one.
    pub fn within(mut self, netns: NetNs) -> Self {
        self.netns = Some(netns);
        self
    }

    /// Chooses the MACs of its veth pair: the host's side and its own.
    pub fn with_macs(mut self, outside: &str, inside: &str) -> Self {
        self.macs = Some([outside, inside].map(|mac| format!("address {mac}")));
        self
    }

    /// Hangs it on a point-to-point link of its own: host routes to it, a link-local gateway for it.
    ///
    /// So several workloads may be in one subnet and yet meet at the host only.
    #[track_caller]
    pub fn routed(self) -> Workload {
        self.host.route_subnets_of(&self.addresses);
        let host = self.host;
        let outside = routed_side(self.host, &self.interface);
        let inside = routed_inside(&self.addresses);
        let workload = self.create(&outside, &inside);
        // Last: a packet that comes too early would leave an unanswered ARP request, asked again after a second.
        host.netns().ip(&routes_to(host, workload.interface(), workload.addresses()));
        workload
    }

    /// Hangs it on the bridge of its first address' subnet, with the bridge as its gateway.
    #[track_caller]
    pub fn bridged(self) -> Workload {
        let bridge = self.host.bridge_for(&self.addresses);
        let interface = &self.interface;
        let outside = format!("link set {interface} master {bridge}\nlink set {interface} up\n");
        let host = self.host;
        let inside = bridged_inside(host, &self.addresses);
        let workload = self.create(&outside, &inside);
        host.netns().wait_for_carrier(&bridge);
        workload
    }

    /// Creates the namespace and the veth pair, configures both of its sides and starts the echo server.
    #[track_caller]
    fn create(self, outside: &str, inside: &str) -> Workload {
        let Self { host, name, interface, addresses, netns, macs } = self;
        assert!(
            interface.len() <= INTERFACE_NAME_MAX,
            "{interface}: longer than {INTERFACE_NAME_MAX} characters"
        );
        let netns = netns.unwrap_or_else(|| NetNs::create(&format!("{}-{name}", host.name())));
        let [mac, inner_mac] = macs.unwrap_or_default();
        let pair = format!(
            "link add {interface} {mac} type veth peer name {INSIDE} {inner_mac} netns {}\n",
            netns.name()
        );
        host.netns().ip(&(pair + outside));
        netns.ip(inside);
        let echo = Echo::start(&netns, ECHO_PORT);
        host.netns().wait_for_carrier(&interface);
        netns.wait_for_carrier(INSIDE);
        Workload { name, interface, addresses, echoes: Mutex::new(vec![echo]), netns }
    }
}

/// The interface a workload sees.
pub const INSIDE: &str = "eth0";

/// The `ip` commands inside a routed workload: bare addresses, and everything by way of the link-local gateway.
fn routed_inside(addresses: &[IpNet]) -> String {
    let hosts: Vec<IpNet> = addresses.iter().map(|address| address.addr().into()).collect();
    let mut batch = addressed(&hosts);
    if addresses.iter().any(|address| address.addr().is_ipv4()) {
        let gateway = ROUTED_GATEWAY_IPV4;
        write!(batch, "route add {gateway} dev {INSIDE} scope link\n{}", default_route(gateway.into()))
            .expect("a string takes all that is written");
    }
    if addresses.iter().any(|address| address.addr().is_ipv6()) {
        batch += &default_route(ROUTED_GATEWAY_IPV6.into());
    }
    batch
}

/// The `ip` commands inside a bridged workload: addresses in their subnets, the first gateway of each family.
fn bridged_inside(host: &Host, addresses: &[IpNet]) -> String {
    let mut batch = addressed(addresses);
    for is_family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        if let Some(address) = addresses.iter().find(|address| is_family(&address.addr())) {
            batch += &default_route(host.gateway_of(*address));
        }
    }
    batch
}

/// The `ip` commands that put addresses on the inner interface and bring it up.
fn addressed(addresses: &[IpNet]) -> String {
    let mut batch = String::new();
    for address in addresses {
        let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
        writeln!(batch, "addr add {address} dev {INSIDE}{nodad}")
            .expect("a string takes all that is written");
    }
    batch + &format!("link set {INSIDE} up\n")
}

/// The `ip` command for a default route; the prefix tells the family.
fn default_route(gateway: IpAddr) -> String {
    let everything = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    format!("route add {everything} via {gateway} dev {INSIDE}\n")
}

/// A namespace joined to its host by a veth pair, with an echo server in it. It leaves its host when dropped.
#[derive(Debug)]
pub struct Workload {
    name: String,
    interface: String,
    addresses: Vec<IpNet>,
    // Before the namespace: sockets would keep it alive.
    echoes: Mutex<Vec<Echo>>,
    netns: NetNs,
}

impl Workload {
    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host side of its veth pair: the name of its endpoint.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its namespace.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// Its addresses with their subnets, in the order given.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// Its first IPv4 address.
    #[track_caller]
    pub fn ipv4(&self) -> IpAddr {
        self.first_address(IpAddr::is_ipv4)
    }

    /// Its first IPv6 address.
    #[track_caller]
    pub fn ipv6(&self) -> IpAddr {
        self.first_address(IpAddr::is_ipv6)
    }

    /// Its first address of a family.
    #[track_caller]
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.ipv4(),
            Family::V6 => self.ipv6(),
        }
    }

    /// Starts one more echo server, at another port.
    #[track_caller]
    pub fn serve(&self, port: u16) {
        let echo = Echo::start(&self.netns, port);
        self.echoes.lock().expect("a thread panicked while it started an echo server").push(echo);
    }

    #[track_caller]
    fn first_address(&self, is_family: fn(&IpAddr) -> bool) -> IpAddr {
        match self.addresses.iter().map(IpNet::addr).find(is_family) {
            Some(address) => address,
            None => panic!("{} has no address of this family, only {:?}", self.name, self.addresses),
        }
    }
}

impl AsRef<NetNs> for Workload {
    fn as_ref(&self) -> &NetNs {
        &self.netns
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // The kernel frees a namespace some time after its last user: do not let the veth linger until then.
        // Without a host there is no veth left.
        self.netns.try_run("ip", &["link", "delete", INSIDE]).ok();
    }
}
