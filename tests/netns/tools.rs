//! The tools that people reach for: traceroute and ping, each under the one rule that it needs.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use enforcer_tests::beyond::{Beyond, FAR, ROUTER};
use enforcer_tests::command::transcript;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::packet::Family;
use enforcer_tests::{Daemon, Host, NetNs, router, traffic, wait};

use crate::pair::{NETWORKS, Pair, allow};

/// Longer than an address may take to be formed and found free.
const PATIENCE: Duration = Duration::from_secs(15);

/// What traceroute prints about the path to far away, one question for each hop.
fn trace(from: &impl AsRef<NetNs>, family: Family) -> String {
    let (to, flag) = (FAR.on(family).to_string(), if family == Family::V4 { "-4" } else { "-6" });
    let output =
        from.as_ref().run("traceroute", &[flag, "-n", "-q", "1", "-m", "3", "-w", "1", "-N", "1", &to]);
    assert!(output.status.success(), "traceroute {to}: {}", transcript(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Who answered, hop by hop.
fn hops(trace: &str) -> Vec<Option<IpAddr>> {
    // The first line repeats the question.
    trace.lines().skip(1).map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

#[test]
fn traceroute_sees_every_hop_under_a_rule_for_its_ports() {
    let pair = Pair::build("traceroute");
    let beyond = Beyond::of(&pair.host);
    pair.govern(&[allow("clients", "world", &["udp/33434-33534"])]);
    for (family, host) in [(Family::V4, IpAddr::from(HOST_IPV4)), (Family::V6, HOST_IPV6.into())] {
        let trace = trace(&pair.client, family);
        let expected = [host, ROUTER.on(family), FAR.on(family)];
        assert_eq!(hops(&trace), expected.map(Some), "{trace}");
    }
    drop(beyond);
}

#[test]
fn traceroute_sees_nothing_without_a_rule() {
    let pair = Pair::build("no-traceroute");
    let beyond = Beyond::of(&pair.host);
    pair.govern(&[allow("clients", "world", &["tcp"])]);
    for family in Family::BOTH {
        let trace = trace(&pair.client, family);
        assert_eq!(hops(&trace), [None; 3], "{trace}");
    }
    drop(beyond);
}

/// Whether ping, given these arguments, hears all the replies it waits for.
fn ping(from: &impl AsRef<NetNs>, to: IpAddr, size: &str) -> bool {
    let to = to.to_string();
    from.as_ref().run("ping", &["-n", "-c", "3", "-i", "0.1", "-W", "1", "-s", size, &to]).status.success()
}

#[test]
fn ping_small_and_large_needs_one_rule() {
    let pair = Pair::build("ping");
    let addresses = [pair.server.ipv4(), pair.server.ipv6()];
    assert!(addresses.iter().all(|to| !traffic::ping_soon(&pair.client, *to)), "default deny");
    pair.govern(&[allow("clients", "servers", &["ping"])]);
    for to in addresses {
        for size in ["56", "4000"] {
            assert!(ping(&pair.client, to, size), "{size} bytes to {to}");
        }
    }
    for back in [pair.client.ipv4(), pair.client.ipv6()] {
        assert!(!ping(&pair.server, back, "4000"), "the rule has a direction");
    }
}

#[test]
fn large_pings_between_a_workload_and_its_host_arrive() {
    let pair = Pair::build("ping-host");
    for (host, client) in
        [(IpAddr::from(HOST_IPV4), pair.client.ipv4()), (HOST_IPV6.into(), pair.client.ipv6())]
    {
        assert!(ping(&pair.client, host, "4000"), "the allow list admits all of a ping to {host}");
        assert!(ping(&pair.host, client, "4000"), "the host may ask {client} anything");
    }
}

/// The IPv6 addresses of a workload that have this flag.
fn flagged(netns: &NetNs, flag: &str) -> Vec<String> {
    let output = netns.run("ip", &["-6", "-oneline", "address", "show", "dev", "eth0", flag]);
    let text = String::from_utf8(output.stdout).unwrap();
    let addresses = text.lines().filter_map(|line| line.split_whitespace().nth(3)?.split('/').next());
    addresses.map(str::to_owned).collect()
}

#[test]
fn an_interface_gets_its_addresses_under_default_deny() {
    let host = Host::new("dad");
    let client = host.workload("client").at("10.1.0.5/24").at("2001:db8:1::9/64").bridged();
    let server = host.workload("server").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[client.interface(), server.interface()]);
    daemon.apply(&(NETWORKS.to_owned() + &allow("clients", "servers", &["ping"])));
    // The lab turns duplicate address detection off; a real workload does it for each of its addresses.
    client.netns().sysctls(&[("net/ipv6/conf/eth0/accept_dad", "1")]);
    // Takes the IPv6 addresses and the routes away.
    client.netns().ip("link set eth0 down\nlink set eth0 up\nroute add default via 10.1.0.1\n");
    // The announcement is made once.
    client.netns().wait_for_carrier("eth0");
    for interface in [client.interface(), "br-10.1.0"] {
        host.netns().wait_for_carrier(interface);
    }
    router::advertise(host.netns(), "br-10.1.0", Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0));
    let formed =
        wait::until("the client has formed an address, and found all of its own free", PATIENCE, || {
            let formed = flagged(client.netns(), "dynamic").pop()?;
            flagged(client.netns(), "tentative").is_empty().then_some(formed)
        });
    assert_eq!(flagged(client.netns(), "dadfailed"), [""; 0]);
    wait::until("the daemon has found it", PATIENCE, || {
        daemon.json(&["endpoints", client.interface()]).to_string().contains(&formed).then_some(())
    });
    for to in [server.ipv4(), server.ipv6()] {
        assert!(ping(&client, to, "56"), "to {to}");
    }
}
