//! What only an endpoint may do of which the host file says so: answer DHCP, advertise itself as a router.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::traffic::PATIENCE;
use enforcer_tests::{Daemon, Host, Workload, router, wait};
use serde_json::json;

/// A server and a client on one link, in one network.
struct Link {
    server: Workload,
    client: Workload,
    daemon: Daemon,
    _host: Host,
}

impl Link {
    #[track_caller]
    fn with(name: &str, declared: &str) -> Self {
        let host = Host::new(name);
        let server = host.workload("server").at("10.1.0.2/24").at("2001:db8:1::2/64").bridged();
        let client = host.workload("client").at("10.1.0.5/24").at("2001:db8:1::5/64").bridged();
        let daemon = Daemon::start_with(&host, &format!("{DEFAULT_CONFIG}{declared}"));
        daemon.wait_ready(&[server.interface(), client.interface()]);
        daemon.apply("version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\", \"2001:db8::/32\"]\n");
        Self { server, client, daemon, _host: host }
    }

    /// Speaks as a DHCP server to the client's port and waits for what comes back.
    fn serves(&self, server: SocketAddr, client: SocketAddr) -> bool {
        self.client.serve(client.port());
        self.server.netns().enter(|| {
            let socket = UdpSocket::bind(server).expect("the address is configured");
            socket.set_read_timeout(Some(wait::scaled(PATIENCE))).expect("a timeout can be set");
            socket.send_to(b"offer", client).expect("a datagram can be sent");
            socket.recv(&mut [0; 16]).is_ok()
        })
    }

    /// Whether the client forms an address of an advertised prefix.
    fn forms_address(&self, limit: Duration) -> bool {
        router::advertise(self.server.netns(), "eth0", Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0));
        let shown = || self.client.netns().run("ip", &["-6", "address", "show", "dev", "eth0"]);
        wait::within(limit, || {
            String::from_utf8_lossy(&shown().stdout).contains("2001:db8:77:").then_some(())
        })
        .is_some()
    }

    fn offers(&self) -> [(SocketAddr, SocketAddr); 2] {
        let Self { server, client, .. } = self;
        [
            (SocketAddr::new(server.ipv4(), 67), SocketAddr::new(client.ipv4(), 68)),
            (SocketAddr::new(server.ipv6(), 547), SocketAddr::new(client.ipv6(), 546)),
        ]
    }
}

#[test]
fn an_undeclared_workload_neither_serves_addresses_nor_routes() {
    let link = Link::with("undeclared", "");
    for (server, client) in link.offers() {
        let before = link.daemon.dropped("dhcp-server");
        assert!(!link.serves(server, client), "{server}");
        assert_eq!(link.daemon.dropped("dhcp-server") - before, 1, "{server}");
    }
    let before = link.daemon.dropped("router-advertisement");
    assert!(!link.forms_address(PATIENCE));
    assert_eq!(link.daemon.dropped("router-advertisement") - before, 1);
}

#[test]
fn a_declared_dhcp_server_may_answer_within_its_network() {
    let declared = "[[endpoint]]\nmatch = \"veth-server\"\nprovides = [\"dhcp-server\"]\n";
    let link = Link::with("dhcp", declared);
    for (server, client) in link.offers() {
        assert!(link.serves(server, client), "{server}");
    }
    assert_eq!(link.daemon.dropped("dhcp-server"), 0);
    assert_eq!(link.daemon.json(&["endpoints", "veth-server"])[0]["provides"], json!(["dhcp-server"]));
    assert!(!link.forms_address(PATIENCE), "a DHCP server is no router");
}

#[test]
fn a_declared_router_may_advertise_itself_until_it_is_declared_no_more() {
    let declared = "[[endpoint]]\nmatch = \"veth-server\"\nprovides = [\"router\"]\n";
    let mut link = Link::with("router", declared);
    assert!(link.forms_address(Duration::from_secs(10)));
    let [(server, client), _] = link.offers();
    assert!(!link.serves(server, client), "a router is no DHCP server");
    link.daemon.configure(DEFAULT_CONFIG);
    link.daemon.restart();
    let before = link.daemon.dropped("router-advertisement");
    router::advertise(link.server.netns(), "eth0", Ipv6Addr::new(0x2001, 0xdb8, 0x78, 0, 0, 0, 0, 0));
    assert_eq!(link.daemon.dropped("router-advertisement") - before, 1);
}
