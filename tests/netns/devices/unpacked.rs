//! What the host itself unpacks, of tunnels and tags, is judged again by who really sent it: where it is delivered, and
//! where the unpacking device counts as an uplink, there.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::kernel::{Feature, require_devices};
use enforcer_tests::traffic::{ECHO_PORT, tcp_soon};
use enforcer_tests::{Daemon, Host, NetNs, Workload, wait};

use super::line::Line;
use super::{BOTH, PATIENCE, V4, V6, snapshot};
use crate::pair::{NETWORKS, allow};

/// Datagrams of one attempt.
const TIMES: u64 = 5;
/// Where the victim listens.
const PORT: u16 = 9;

/// A victim, and a friend of it with which it shares a network.
struct Friends {
    victim: Workload,
    friend: Workload,
    ears: [UdpSocket; 2],
}

impl Friends {
    #[track_caller]
    fn on(host: &Host) -> Self {
        let victim = host.workload("victim").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
        let friend = host.workload("friend").at("10.2.0.6/24").at("2001:db8:2::6/64").routed();
        let ears = [victim.ipv4(), victim.ipv6()].map(|own| {
            let ear = victim.netns().enter(|| UdpSocket::bind((own, PORT))).expect("the port is free");
            ear.set_read_timeout(Some(Duration::from_millis(300))).expect("a time can be set");
            ear
        });
        Self { victim, friend, ears }
    }

    /// Victim and friend by family.
    fn families(&self) -> [[IpAddr; 2]; 2] {
        [[self.victim.ipv4(), self.friend.ipv4()], [self.victim.ipv6(), self.friend.ipv6()]]
    }

    /// In the friend's name, to the victim.
    #[track_caller]
    fn forge(&self, from: &NetNs) {
        for [victim, friend] in self.families() {
            from.enter(|| {
                let socket = UdpSocket::bind((friend, 0)).expect("the friend's address is configured");
                for _ in 0..TIMES {
                    socket.send_to(b"forged", SocketAddr::new(victim, PORT)).expect("it can be sent");
                }
            });
        }
    }

    /// How many datagrams the victim has heard.
    fn heard(&self) -> usize {
        let heard = |ear: &UdpSocket| std::iter::from_fn(|| ear.recv(&mut [0; 16]).ok()).count();
        self.ears.iter().map(heard).sum()
    }
}

/// A line from somebody to the host, for each family.
struct Way<'n> {
    from: &'n NetNs,
    lines: [&'n Line<'n>; 2],
}

impl Way<'_> {
    /// Leads to the victim by the host's ends of the lines, under the friend's addresses.
    #[track_caller]
    fn lead(&self, friends: &Friends) {
        for ([victim, friend], line) in friends.families().into_iter().zip(self.lines) {
            let nodad = if friend.is_ipv6() { " nodad" } else { "" };
            let [near, far] = &line.ends;
            let hosts_end = line.far().into_iter().find(|end| end.is_ipv6() == friend.is_ipv6());
            let hosts_end = hosts_end.expect("the line is for this family");
            // Who unpacks for everybody does not know where to send an answer.
            let neighbour = far.netns.try_mac(far.device).map(|mac| {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                format!("neigh replace {hosts_end} lladdr {mac} dev {}\n", near.device)
            });
            self.from.ip(&format!(
                "addr replace {friend} dev lo{nodad}\nroute replace {victim} via {hosts_end} dev {}\n{}",
                near.device,
                neighbour.unwrap_or_default()
            ));
        }
    }
}

/// Tunnels from the workload to its host, of every kind that a host unpacks. The host takes them from everybody, and
/// sends nothing into them.
fn tunnels<'n>(hostile: &'n Workload, host: &'n Host) -> Vec<Line<'n>> {
    let lay = |number, device, families, kind: &str, [own, hosts]: [IpAddr; 2]| {
        let near = format!("type {kind} local {own} remote {hosts}");
        let far = format!("type {kind} local {hosts}");
        Line::lay(number, families, [(hostile.netns(), device, near), (host.netns(), device, far)])
    };
    let v4 = [hostile.ipv4(), HOST_IPV4.into()];
    let v6 = [hostile.ipv6(), HOST_IPV6.into()];
    vec![
        lay(1, "tun-ipip", V4, "ipip", v4),
        lay(2, "tun-sit", V6, "sit", v4),
        lay(3, "tun-gre", BOTH, "gre", v4),
        lay(4, "tun-any6", BOTH, "ip6tnl mode any", v6),
        lay(5, "tun-tap", BOTH, "gretap", v4),
    ]
}

/// Somebody beyond an uplink is in a VLAN with the host.
fn trunk<'n>(outside: &'n Workload, host: &'n Host) -> Line<'n> {
    let tagged = |lower| format!("link {lower} type vlan id 5");
    Line::lay(6, BOTH, [(outside.netns(), "trunk", tagged("eth0")), (host.netns(), "up0.5", tagged("up0"))])
}

/// The host file with these uplinks.
fn uplinks(patterns: &[&str]) -> String {
    let uplink = |pattern: &&str| format!("[[uplink]]\nmatch = \"{pattern}\"\ntrust = \"fabric\"\n");
    DEFAULT_CONFIG.to_owned() + &patterns.iter().map(uplink).collect::<String>()
}

#[test]
fn what_the_host_unpacks_is_its_senders() {
    require_devices(&[Feature::Vlan, Feature::Ipip, Feature::Sit, Feature::Gre, Feature::Ip6Tunnel]);
    let host = Host::new("unpacks");
    let hostile = host.workload("hostile").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let outside =
        host.workload("outside").at("198.51.100.9/24").at("2001:db8:99::9/64").behind("up0").routed();
    let friends = Friends::on(&host);
    let (tunnels, trunk) = (tunnels(&hostile, &host), trunk(&outside, &host));
    let [ipip, sit, gre, any6, tap] = &tunnels[..] else { panic!("these are the tunnels") };
    let by_tunnels =
        [[ipip, sit], [gre; 2], [any6; 2], [tap; 2]].map(|lines| Way { from: hostile.netns(), lines });
    let by_trunk = Way { from: outside.netns(), lines: [&trunk; 2] };
    let forge = || {
        for way in by_tunnels.iter().chain([&by_trunk]) {
            way.lead(&friends);
            friends.forge(way.from);
        }
        friends.heard()
    };
    // Of each way.
    let each = 2 * TIMES;
    assert_eq!(forge() as u64, 5 * each, "without an enforcer all arrive");
    let reached = || friends.families().map(|[victim, _]| tcp_soon(&outside, victim, ECHO_PORT));
    assert_eq!(reached(), [true; 2]);

    let daemon = Daemon::start_with(&host, &uplinks(&["up0"]));
    daemon.wait_ready(&[hostile.interface(), friends.victim.interface(), friends.friend.interface()]);
    daemon.apply(NETWORKS);
    let state = || snapshot(&tunnels, &[0], || daemon.dropped("default-deny"));
    let (before, unstamped) = (state(), daemon.dropped("unstamped-source"));
    assert_eq!(forge(), 0, "nobody may ask the host to unpack, and who is in the VLAN is no friend");
    wait::until("all that was sent is counted", PATIENCE, || {
        let now = state();
        (now[0] - before[0] == now[1] - before[1]).then_some(())
    });
    assert_eq!(daemon.dropped("unstamped-source") - unstamped, each);
    assert_eq!(reached(), [false; 2], "it is in no network either");

    // From now on the host may be asked, and whoever is in the VLAN is in a network.
    let vlan = NETWORKS.replace("10.2.0.0/24", "10.2.0.0/24\", \"172.16.6.0/24\", \"2001:db8:c006::/64");
    daemon.apply(&(vlan + &allow("clients", "host", &["proto/4", "proto/41", "proto/47"])));
    assert_eq!(reached(), [true; 2]);
    let counts = || ["unstamped-source", "spoofed-outside"].map(|reason| daemon.dropped(reason));
    let before = counts();
    assert_eq!(forge(), 0, "what comes out did not enter where its source is");
    assert_eq!(counts(), [before[0] + 5 * each, before[1]]);

    // Only what carries frames can be an uplink.
    daemon.reload(&uplinks(&["up0*", "tun-*"]));
    let before = counts();
    assert_eq!(forge(), 0, "nor is it from outside");
    assert_eq!(counts(), [before[0] + 3 * each, before[1] + 2 * each]);
    let warnings = daemon.json(&["status"])["warnings"].to_string();
    let told = ["ipip", "sit", "gre", "any6"].map(|kind| format!("tun-{kind} has no Ethernet header"));
    assert!(told.iter().all(|told| warnings.contains(told)), "{warnings}");
}
