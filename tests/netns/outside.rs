//! Packets between a workload and the outside are forwarded past the host's stack where nothing there could make a
//! difference, and nowhere else.

mod sizes;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enforcer::datapath::bpf::TcxHook;
use enforcer_tests::command::transcript;
use enforcer_tests::connection::Connection;
use enforcer_tests::daemon::attaching_by;
use enforcer_tests::foreign::Foreign;
use enforcer_tests::packet::Family;
use enforcer_tests::snmp::{counted, counted6};
use enforcer_tests::tcx::Place;
use enforcer_tests::traffic::{Conversation, ECHO_PORT, tcp, udp, udp_soon};
use enforcer_tests::{Daemon, Host, Workload, wait};
use rstest::rstest;
use serde_json::Value;

/// Longer than the daemon takes to notice anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Questions to find out by which way their packets go; each is a packet there and one back.
const QUESTIONS: u64 = 20;

const UPLINK: &str = "veth-up0";

/// A workload, and somebody beyond an uplink.
struct Border {
    /// Dropped first: when a test fails, it dumps what it knows of the others.
    daemon: Daemon,
    web: Workload,
    outside: Workload,
    host: Host,
    config: String,
}

/// How the workload hangs in the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    Routed,
    Bridged,
}

impl Border {
    #[track_caller]
    fn build(name: &str, layout: Layout) -> Self {
        Self::attaching_by("auto", name, layout)
    }

    /// See [`attaching_by`].
    #[track_caller]
    fn attaching_by(mechanism: &str, name: &str, layout: Layout) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64");
        let web = if layout == Layout::Routed { web.routed() } else { web.bridged() };
        let outside = host.workload("outside").at("198.51.100.9/24").at("2001:db8:99::9/64");
        let outside = outside.behind(UPLINK).routed();
        let config =
            format!("{}[[uplink]]\nmatch = \"{UPLINK}\"\ntrust = \"fabric\"\n", attaching_by(mechanism));
        let daemon = Daemon::start_with(&host, &config);
        daemon.wait_ready(&[web.interface()]);
        let border = Self { daemon, web, outside, host, config };
        border.admit(true);
        border
    }

    /// Whether the outside is a member of the workload's network.
    #[track_caller]
    fn admit(&self, member: bool) {
        let more = if member { ", \"198.51.100.0/24\", \"2001:db8:99::/64\"" } else { "" };
        self.daemon.apply(&format!(
            "version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\", \"2001:db8:1::/64\"{more}]\n"
        ));
    }

    fn addresses(&self, family: Family) -> [IpAddr; 2] {
        match family {
            Family::V4 => [self.web.ipv4(), self.outside.ipv4()],
            Family::V6 => [self.web.ipv6(), self.outside.ipv6()],
        }
    }

    /// Packets that the host's stack has forwarded.
    fn forwarded(&self, family: Family) -> u64 {
        match family {
            Family::V4 => counted(&**self.host.netns(), "Ip", "ForwDatagrams"),
            Family::V6 => counted6(&**self.host.netns(), "Ip6OutForwDatagrams"),
        }
    }

    /// How many of the packets of some questions and of their answers the stack forwarded; `None` if not all were
    /// answered.
    fn by_stack(&self, family: Family, from_web: bool) -> Option<u64> {
        let before = self.forwarded(family);
        let [web, outside] = self.addresses(family);
        let (from, to) = if from_web { (&self.web, outside) } else { (&self.outside, web) };
        let answered = (0..QUESTIONS).all(|_| udp_soon(from, to, ECHO_PORT));
        answered.then(|| self.forwarded(family) - before)
    }

    fn goes_straight(&self, family: Family) -> bool {
        let forwarded = [true, false].map(|from_web| self.by_stack(family, from_web));
        forwarded.iter().all(|packets| packets.is_some_and(|packets| packets < QUESTIONS / 2))
    }

    fn goes_by_stack(&self, family: Family) -> bool {
        let forwarded = [true, false].map(|from_web| self.by_stack(family, from_web));
        forwarded.iter().all(|packets| packets.is_some_and(|packets| packets >= 2 * QUESTIONS))
    }

    #[track_caller]
    fn wait_straight(&self, family: Family) {
        wait::until("packets go straight", PATIENCE, || self.goes_straight(family).then_some(()));
    }

    #[track_caller]
    fn wait_by_stack(&self, family: Family) {
        wait::until("packets go by the stack", PATIENCE, || self.goes_by_stack(family).then_some(()));
    }

    #[track_caller]
    fn on_host(&self, command: &str) {
        let command = command.replace("UPLINK", UPLINK).replace("WEB", self.web.interface());
        let output = self.host.netns().run("sh", &["-ec", &command]);
        assert!(output.status.success(), "{command}: {}", transcript(&output));
    }

    /// From now on all goes by the stack.
    #[track_caller]
    fn forbid(&self) {
        self.daemon.reload(&self.config.replace("[datapath]\n", "[datapath]\nfastpath = \"off\"\n"));
    }

    fn fastpath(&self) -> Value {
        self.daemon.json(&["status"])["fastpath"].clone()
    }
}

#[rstest]
#[case::routed(Layout::Routed)]
#[case::bridged(Layout::Bridged)]
fn what_nothing_is_in_the_way_of_goes_straight(
    #[case] layout: Layout,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let border = Border::build(&format!("out-{layout:?}-{family:?}").to_lowercase(), layout);
    border.wait_straight(family);
    let [web, outside] = border.addresses(family);
    let counted = || border.daemon.json(&["endpoints"])[0]["counters"].clone();
    let before = counted();
    assert!((0..QUESTIONS).all(|_| udp(&border.web, outside, ECHO_PORT)), "{family:?} is answered");
    let after = counted();
    for direction in ["sent", "received"] {
        let of = |counters: &Value| counters[direction]["packets"].as_u64().expect("packets");
        assert!(of(&after) >= of(&before) + QUESTIONS, "{direction}: {before} {after}");
    }
    for (from, to) in [(&border.web, outside), (&border.outside, web)] {
        let output = from.netns().run("ping", &["-c", "1", "-W", "2", &to.to_string()]);
        let shown = transcript(&output);
        assert!(shown.contains("ttl=63"), "a router counts hops: {shown}");
        let output = from.netns().run("ping", &["-c", "1", "-t", "1", "-W", "2", &to.to_string()]);
        let shown = transcript(&output);
        assert!(shown.contains("Time to live exceeded") || shown.contains("Hop limit"), "{shown}");
    }
    let connection = Connection::open(&border.web, &border.outside, SocketAddr::new(outside, 7000)).unwrap();
    connection.upload(4 << 20).expect("much gets there");
    connection.download(4 << 20).expect("and back");
    let fastpath = border.fastpath();
    assert_eq!((&fastpath["uplinks"], &fastpath["barred_uplinks"]), (&1.into(), &serde_json::json!([])));
    let shown = String::from_utf8(border.daemon.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("at 1 endpoint and 1 uplink"), "{shown}");
}

#[test]
fn filters_of_ours_are_no_barrier() {
    let border = Border::attaching_by("clsact", "out-clsact", Layout::Routed);
    for family in Family::BOTH {
        border.wait_straight(family);
    }
}

/// What is not admitted gets nowhere by any way, in either direction, also while people talk.
#[rstest]
fn who_is_not_admitted_gets_nowhere(#[values(Family::V4, Family::V6)] family: Family) {
    let border = Border::build("out-denied", Layout::Routed);
    border.wait_straight(family);
    let [web, outside] = border.addresses(family);
    let mut conversation = Conversation::open(&border.outside, web, ECHO_PORT).expect("they talk");
    border.admit(false);
    assert!(!udp_soon(&border.web, outside, ECHO_PORT) && !udp_soon(&border.outside, web, ECHO_PORT));
    assert!(conversation.is_over(), "TCP ends, too");
    assert!(border.daemon.dropped("default-deny") > 0);
    border.admit(true);
    border.wait_straight(family);
}

#[rstest]
#[case::masquerade(
    "nft 'add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; add rule ip nat post oifname UPLINK masquerade'",
    "nft delete table ip nat"
)]
#[case::fwmark("ip rule add fwmark 1 priority 100 lookup 100", "ip rule del priority 100")]
#[case::filters_of_others("tc qdisc add dev UPLINK ingress", "tc qdisc del dev UPLINK ingress")]
#[case::strict_way_back(
    "sysctl -w net.ipv4.conf.UPLINK.rp_filter=1",
    "sysctl -w net.ipv4.conf.UPLINK.rp_filter=0"
)]
#[case::strict_way_back_everywhere(
    "sysctl -w net.ipv4.conf.all.rp_filter=1",
    "sysctl -w net.ipv4.conf.all.rp_filter=0"
)]
#[case::mtu_of_a_route(
    "ip route add 192.0.2.0/24 dev UPLINK mtu 1400",
    "ip route del 192.0.2.0/24 dev UPLINK"
)]
#[case::queue_of_the_workload(
    "tc qdisc add dev WEB root tbf rate 1gbit burst 1mb latency 50ms",
    "tc qdisc del dev WEB root"
)]
fn what_is_in_the_way_is_not_passed_by(#[case] raise: &str, #[case] lower: &str) {
    let border = Border::build("out-barrier", Layout::Routed);
    border.wait_straight(Family::V4);
    let outside = border.outside.ipv4();
    let mut conversation = Conversation::open(&border.web, outside, ECHO_PORT).expect("they talk");
    border.on_host(raise);
    border.wait_by_stack(Family::V4);
    assert!(raise.contains("masquerade") || conversation.goes_on(), "TCP goes on by the stack");
    assert!(tcp(&border.web, outside, ECHO_PORT), "and begins there");
    let fastpath = border.fastpath();
    let told = ["barriers", "barred", "barred_uplinks"]
        .iter()
        .any(|key| !fastpath[*key].as_array().unwrap().is_empty());
    assert!(told, "`status` says why: {fastpath}");
    border.on_host(lower);
    border.wait_straight(Family::V4);
}

/// What a workload on a bridge sends to its router comes in by the bridge's own hook.
#[test]
fn rules_of_a_bridge_are_met_by_what_is_routed() {
    let border = Border::build("out-bridge", Layout::Bridged);
    border.wait_straight(Family::V4);
    border.on_host(
        "nft 'add table bridge f; add chain bridge f in { type filter hook input priority 0; }; \
         add rule bridge f in ip daddr 198.51.100.9 counter drop'",
    );
    wait::until("nothing gets out", PATIENCE, || {
        (!udp_soon(&border.web, border.outside.ipv4(), ECHO_PORT)).then_some(())
    });
    let shown = transcript(&border.host.netns().run("nft", &["list", "table", "bridge", "f"]));
    assert!(shown.contains("counter packets ") && !shown.contains("counter packets 0 "), "{shown}");
    border.on_host("nft delete table bridge f");
    border.wait_straight(Family::V4);
}

/// Whom nobody answers for is told of by the host, as ever.
#[test]
fn who_asks_for_nobody_is_told_so() {
    let border = Border::build("out-nobody", Layout::Routed);
    border.on_host("ip route add 198.51.100.0/24 dev UPLINK");
    border.wait_straight(Family::V4);
    let output = border.web.netns().run("ping", &["-c", "2", "-W", "9", "198.51.100.77"]);
    let shown = transcript(&output);
    assert_eq!(shown.matches("Destination Host Unreachable").count(), 2, "{shown}");
}

/// Its own queue and programs a packet meets all the same.
#[test]
fn the_queue_of_an_uplink_is_no_barrier_and_is_met() {
    let border = Border::build("out-queue", Layout::Routed);
    border.on_host("tc qdisc add dev UPLINK root tbf rate 1gbit burst 1mb latency 50ms");
    let foreign = Foreign::attach(border.host.netns(), UPLINK, TcxHook::Egress, Place::Last);
    border.wait_straight(Family::V4);
    let before = foreign.packets();
    assert!(border.by_stack(Family::V4, true).is_some());
    assert!(foreign.packets() >= before + QUESTIONS, "programs of others see what goes out");
    let shown = border.host.netns().run("tc", &["-s", "qdisc", "show", "dev", UPLINK]);
    let shown = transcript(&shown);
    let sent = shown.split("pkt").next().and_then(|head| head.split_whitespace().last()?.parse::<u64>().ok());
    assert!(sent.is_some_and(|sent| sent >= QUESTIONS), "{shown}");
}

#[test]
fn nobody_takes_a_way_that_nobody_watches() {
    let mut border = Border::build("out-unwatched", Layout::Routed);
    border.wait_straight(Family::V6);
    let mut conversation =
        Conversation::open(&border.outside, border.web.ipv6(), ECHO_PORT).expect("they talk");
    border.daemon.kill();
    border.wait_by_stack(Family::V6);
    assert!(conversation.goes_on(), "TCP goes on by the stack");
    border.daemon.start_again();
    border.wait_straight(Family::V6);
    assert!(conversation.goes_on(), "and straight again");
}
