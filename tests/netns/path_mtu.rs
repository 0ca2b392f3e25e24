//! Path MTU discovery under default deny: who sends too much is told, by a router or by the host, and
//! nobody else can tell it.

use std::net::{IpAddr, SocketAddr};
use std::process::Output;
use std::time::Duration;

use enforcer_tests::beyond::{Beyond, FAR};
use enforcer_tests::connection::Connection;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::packet::{Family, from};
use enforcer_tests::traffic::{ECHO_PORT, echo_of};
use enforcer_tests::{NetNs, Workload, icmp, wait};

use crate::pair::{Pair, allow};

/// The MTU behind the router, not below IPv6's smallest.
const ROUTER_MTU: u16 = 1400;
/// Bytes in front of the IP header.
const ETHERNET: usize = 14;
/// The MTU behind the host.
const HOST_MTU: u16 = 1300;
const PORT: u16 = 7000;
/// Longer than the daemon takes to notice anything.
const PATIENCE: Duration = Duration::from_secs(10);
const MEGABYTE: usize = 1 << 20;

/// What somebody's kernel has learned about the path to an address.
fn learned(netns: &impl AsRef<NetNs>, to: IpAddr) -> String {
    let Output { stdout, .. } = netns.as_ref().run("ip", &["route", "get", &to.to_string()]);
    String::from_utf8(stdout).unwrap()
}

/// A datagram that fits is answered. Of one that is a byte larger, and that nobody on the way may cut, its sender is told,
/// and then cuts it itself.
#[track_caller]
pub fn assert_told(mtu: u16, from: &Workload, to: IpAddr) {
    let fits = usize::from(mtu) - if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
    echo_of(from, to, fits).unwrap_or_else(|error| panic!("{fits} bytes to {to}: {error}"));
    // The daemon hears of an interface's new size a moment later.
    wait::until("who sends too much is told", PATIENCE, || {
        let error = echo_of(from, to, fits + 1).err()?;
        (error.raw_os_error() == Some(libc::EMSGSIZE)).then_some(())
    });
    let route = learned(from, to);
    assert!(route.contains(&format!("mtu {mtu}")), "{route}");
    echo_of(from, to, fits + 1).unwrap_or_else(|error| panic!("in pieces, to {to}: {error}"));
}

/// A megabyte there and a megabyte back.
#[track_caller]
fn carries_much(connection: &Connection, name: &str) {
    connection.upload(MEGABYTE).unwrap_or_else(|error| panic!("{name}, there: {error}"));
    connection.download(MEGABYTE).unwrap_or_else(|error| panic!("{name}, back: {error}"));
}

#[test]
fn a_client_learns_the_path_mtu_from_a_router() {
    let pair = Pair::build("pmtu-client");
    let beyond = Beyond::of(&pair.host);
    beyond.narrow(ROUTER_MTU);
    pair.govern(&[allow("clients", "world", &["tcp/7000"])]);
    for family in Family::BOTH {
        let far = FAR.on(family);
        let connection = Connection::open(&pair.client, &beyond, SocketAddr::new(far, PORT)).unwrap();
        carries_much(&connection, "client to far");
        let route = learned(&pair.client, far);
        assert!(route.contains(&format!("mtu {ROUTER_MTU}")), "{family:?}: {route}");
    }
    assert!(pair.daemon.counts("pass")["icmp-error"] >= 2, "the router's errors pass by that reason");
}

#[test]
fn a_server_learns_the_path_mtu_of_its_answers_from_a_router() {
    let pair = Pair::build("pmtu-server");
    let beyond = Beyond::of(&pair.host);
    beyond.narrow(ROUTER_MTU);
    pair.govern(&[allow("world", "servers", &["tcp/7000"])]);
    for family in Family::BOTH {
        let server = SocketAddr::new(pair.server.address(family), PORT);
        let connection = Connection::open(&beyond, &pair.server, server).unwrap();
        carries_much(&connection, "far to server");
        let route = learned(&pair.server, FAR.on(family));
        assert!(route.contains(&format!("mtu {ROUTER_MTU}")), "{family:?}: {route}");
    }
    assert!(pair.daemon.counts("pass")["icmp-error"] >= 2, "the router's errors pass by that reason");
}

#[test]
fn both_ends_learn_the_path_mtu_from_their_host() {
    let pair = Pair::build("pmtu-host");
    pair.govern(&[allow("clients", "servers", &["tcp/7000"])]);
    for (family, source) in [(Family::V4, IpAddr::from(HOST_IPV4)), (Family::V6, HOST_IPV6.into())] {
        let (client, server) = (pair.client.address(family), pair.server.address(family));
        pair.host.netns().ip(&format!(
            "route replace {client} dev veth-client src {source} mtu lock {HOST_MTU}\n\
             route add {server} dev br-10.2.0 mtu lock {HOST_MTU}\n"
        ));
        let connection = Connection::open(&pair.client, &pair.server, SocketAddr::new(server, PORT)).unwrap();
        let told = format!("mtu {HOST_MTU}");
        // Until the daemon has heard of the routes, what is sent may pass them by.
        wait::until("both ends are told", PATIENCE, || {
            carries_much(&connection, "client to server");
            let ends = [(&pair.client, server), (&pair.server, client)];
            ends.iter().all(|(netns, to)| learned(*netns, *to).contains(&told)).then_some(())
        });
    }
}

/// "Too big" about a packet that was never sent, by the family's numbers.
fn too_big(router: &NetNs, client: IpAddr, sent_by: IpAddr, port: u16) {
    let quote = from(sent_by).to(FAR.on(Family::of(client))).tcp(port).payload(8).bytes();
    let (kind, code, rest) = match Family::of(client) {
        Family::V4 => (3, 4, 600_u32),
        Family::V6 => (2, 0, 1280),
    };
    icmp::send(router, client, kind, code, rest.to_be_bytes(), &quote[ETHERNET..]);
}

#[test]
fn errors_about_what_was_never_sent_do_not_pass() {
    let pair = Pair::build("pmtu-lies");
    let beyond = Beyond::of(&pair.host);
    pair.govern(&[allow("clients", "world", &["tcp/5432"])]);
    for family in Family::BOTH {
        let client = pair.client.address(family);
        let other = pair.server.address(family);
        assert!(enforcer_tests::traffic::tcp(&pair.client, FAR.on(family), ECHO_PORT));
        let count = || (pair.daemon.counts("drop"), pair.daemon.counts("pass")["icmp-error"]);
        let (mut drops, passes) = count();
        // A connection that the rule would allow and nobody opened, one that it would not, a packet of another.
        too_big(&beyond.router, client, client, ECHO_PORT);
        too_big(&beyond.router, client, client, 22);
        too_big(&beyond.router, client, other, ECHO_PORT);
        *drops.get_mut("default-deny").unwrap() += 2;
        *drops.get_mut("bad-quote").unwrap() += 1;
        assert_eq!(count(), (drops, passes), "{family:?}");
        assert!(!learned(&pair.client, FAR.on(family)).contains("mtu"));
    }
}
