//! Where the attempts are made: two hosts with published ports and NAT, an attacker, two victims, and two wires.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use enforcer_tests::capture::Capture;
use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::fabric::{Fabric, POLICY, Site, Underlay};
use enforcer_tests::mark::{self, Mark};
use enforcer_tests::packet::{Family, Party};
use enforcer_tests::proxy::Proxy;
use enforcer_tests::spoof::Injector;
use enforcer_tests::traffic::{ECHO_PORT, ping, tcp_soon};
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Daemon, NetNs, Workload, wait};

use super::attempts::{Attempt, By, Hop};

/// Frames of each attempt.
pub const TIMES: u8 = 3;
/// What each host publishes of its victim: NAT leads there, and whoever is blue may ask for it.
pub const PUBLISHED: u16 = 8080;
/// Where a program on the host leads to the victim, and nobody may ask for it.
const PROXIED: u16 = 8081;
/// The wire that leads to nobody of the fabric.
const WAN: &str = "wan0";
/// Of which it has these addresses, the host's first.
pub const WAN_WIRE: [Party; 2] = [wan(1), wan(2)];

/// How long a frame may take to be counted, or to arrive.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long nothing arrives when everything has.
const SILENCE: Duration = Duration::from_millis(300);

const fn wan(host: u8) -> Party {
    Party {
        v4: Ipv4Addr::new(192, 168, 7, host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, host as u16),
    }
}

/// Frames by their reason.
pub type Counts = BTreeMap<String, u64>;

/// See the module.
pub struct Range {
    pub fabric: Fabric,
    victims: [Capture; 2],
    senders: BTreeMap<(By, Hop), (Injector, [u8; 12])>,
    wan: NetNs,
}

impl Range {
    /// No enforcer is there yet.
    #[track_caller]
    pub fn build(underlay: Underlay) -> Self {
        let name = format!("red-{underlay:?}").to_lowercase();
        let fabric = Fabric::build(underlay, &name);
        let wan = NetNs::create(&format!("{name}-wan"));
        let [ours, theirs] = WAN_WIRE;
        fabric.hosts[0]
            .netns()
            .ip(&format!("link add {WAN} type veth peer name eth0 netns {}\n", wan.name()));
        for (netns, interface, party) in [(&**fabric.hosts[0].netns(), WAN, ours), (&wan, "eth0", theirs)] {
            netns.ip(&format!(
                "addr add {}/24 dev {interface}\naddr add {}/64 dev {interface} nodad\nlink set {interface} up\n",
                party.v4, party.v6
            ));
        }
        for (netns, interface) in [(&**fabric.hosts[0].netns(), WAN), (&wan, "eth0")] {
            netns.wait_for_carrier(interface);
        }
        for (host, victim) in fabric.hosts.iter().zip(["db", "store"]) {
            publish(host.netns(), fabric.workload(victim));
        }
        let victims = ["db", "store"].map(|name| Capture::start(fabric.workload(name).netns()));
        let mut range = Self { fabric, victims, senders: BTreeMap::new(), wan };
        for by in By::ALL {
            for hop in Hop::ALL {
                range.senders.insert((by, hop), range.sender(by, hop));
            }
        }
        range.introduce();
        range
    }

    /// Everybody finds everybody else's MAC, as it is.
    #[track_caller]
    fn introduce(&self) {
        for (victim, host) in [("db", 0), ("store", 1)] {
            let (victim, host) = (self.fabric.workload(victim), self.fabric.hosts[host].netns());
            for netns in [host, victim.netns()] {
                netns.ip("neigh flush all\n");
            }
            for address in [victim.ipv4(), victim.ipv6()] {
                assert!(ping(&**host, address), "{address} is there");
                assert!(ping(self.fabric.workload("web"), address), "{address} can be reached");
            }
        }
    }

    /// Whom the attacker is taken for, on its host and by the victim there.
    pub fn poisoned(&self) -> Vec<String> {
        let web = self.fabric.workload("web");
        let own = web.netns().mac(INSIDE).map(|byte| format!("{byte:02x}")).join(":");
        let places = [&**self.fabric.hosts[0].netns(), self.victim(false).netns()];
        let told = places
            .map(|netns| String::from_utf8(netns.run("ip", &["neigh"]).stdout).expect("ip writes text"));
        let own_addresses = [web.ipv4(), web.ipv6()].map(|address| address.to_string());
        let is_false = |line: &&str| {
            let whom = line.split(' ').next().unwrap_or_default();
            line.contains(&own) && !whom.starts_with("fe80") && !own_addresses.iter().any(|own| own == whom)
        };
        told.iter().flat_map(|told| told.lines()).filter(is_false).map(str::to_owned).collect()
    }

    /// From now on the hosts are defended.
    #[track_caller]
    pub fn defend(&self) -> [Daemon; 2] {
        self.introduce();
        let uplinks = format!(
            "{DEFAULT_CONFIG}[[uplink]]\nmatch = \"eth0\"\ntrust = \"fabric\"\n\
             [[uplink]]\nmatch = \"{WAN}\"\ntrust = \"external\"\n"
        );
        let daemons = self.fabric.enforce_by(&uplinks);
        let published = format!(
            "{POLICY}[[rule]]\nname = \"who is blue may ask for what is published\"\nfrom = [\"blue\"]\n\
             to = [\"host\"]\nallow = [\"tcp/{PUBLISHED}\"]\n"
        );
        for daemon in &daemons {
            daemon.apply(&published);
        }
        self.arrived();
        daemons
    }

    /// Makes all attempts; which of them arrive.
    pub fn make(&self, attempts: &[Attempt]) -> BTreeSet<usize> {
        for (index, attempt) in attempts.iter().enumerate() {
            self.attempt(index, attempt);
        }
        self.arrived()
    }

    /// Makes one.
    pub fn attempt(&self, index: usize, attempt: &Attempt) {
        let (sender, macs) = &self.senders[&(attempt.by, attempt.hop)];
        for number in 0..TIMES {
            let mut frame = attempt.frame(macs);
            mark::put(Mark { index, number }, &mut frame);
            sender.send_marked(&frame, attempt.socket_mark);
        }
    }

    /// What has arrived at the victims since the last look, once nothing more does.
    pub fn arrived(&self) -> BTreeSet<usize> {
        let mut arrived = BTreeSet::new();
        wait::until("nothing more arrives", Duration::from_secs(10), || {
            let silent = wait::within(SILENCE, || {
                let frames = self.victims.iter().flat_map(|victim| victim.find(&[&mark::FILLER[..4]]));
                let marks: Vec<Mark> = frames.filter_map(|frame| mark::of(&frame)).collect();
                arrived.extend(marks.iter().map(|mark| mark.index));
                (!marks.is_empty()).then_some(())
            });
            silent.is_none().then_some(())
        });
        arrived
    }

    /// The victim on the attacker's host, or on the other one.
    pub fn victim(&self, far: bool) -> &Workload {
        self.fabric.workload(if far { "store" } else { "db" })
    }

    /// Where frames are sent, and their two MACs.
    fn sender(&self, by: By, hop: Hop) -> (Injector, [u8; 12]) {
        let host = self.fabric.hosts[0].netns();
        let web = self.fabric.workload("web");
        let (netns, interface): (&NetNs, _) = match by {
            By::Web => (web.netns(), INSIDE),
            By::Wire => (&self.fabric.middle, "to-one"),
            By::Wan => (&self.wan, "eth0"),
        };
        let next = match (by, hop) {
            (_, Hop::Everybody) => [0xff; 6],
            (By::Web, Hop::Gateway) => host.mac(&self.attackers_bridge()),
            (_, Hop::Victim) => self.victim(false).netns().mac(INSIDE),
            (By::Wire, Hop::Gateway) => host.mac(self.bridge_at_wire()),
            (By::Wan, Hop::Gateway) => host.mac(WAN),
        };
        let own = if by == By::Web { netns.mac(interface) } else { [0x02, 0xee, 0, 0, 0, 1] };
        let macs = [next, own].concat().try_into().expect("two MACs are twelve bytes");
        (Injector::open(netns, interface), macs)
    }

    /// The bridge that the attacker's veth is a port of.
    #[track_caller]
    fn attackers_bridge(&self) -> String {
        let host = self.fabric.hosts[0].netns();
        let shown = host.run("ip", &["-o", "link", "show", "dev", self.fabric.workload("web").interface()]);
        let text = String::from_utf8(shown.stdout).expect("ip writes text");
        let master = text.split_whitespace().skip_while(|word| *word != "master").nth(1);
        master.unwrap_or_else(|| panic!("it is no port of a bridge: {text}")).to_owned()
    }

    /// Whoever answers for the host on its wire.
    fn bridge_at_wire(&self) -> &'static str {
        if self.fabric.underlay == Underlay::Bridge { "br-10.10" } else { "eth0" }
    }

    /// A program on the host that leads to the victim.
    pub fn proxy(&self) -> Proxy {
        let victim = SocketAddr::new(self.victim(false).ipv4(), ECHO_PORT);
        Proxy::start(self.fabric.hosts[0].netns(), PROXIED, victim)
    }

    /// Whether the attacker gets to the victim by the proxy, at any of the host's addresses.
    pub fn asks_proxy(&self) -> bool {
        let web = self.fabric.workload("web");
        self.host_addresses(Family::V4).into_iter().any(|address| tcp_soon(web, address, PROXIED))
    }

    /// Every address that the attacker's host has, but those of links alone.
    pub fn host_addresses(&self, family: Family) -> Vec<IpAddr> {
        let output = self.fabric.hosts[0].netns().run("ip", &["-o", "address", "show", "scope", "global"]);
        let text = String::from_utf8(output.stdout).expect("ip writes text");
        let words = text.lines().filter_map(|line| line.split_whitespace().nth(3));
        let addresses = words.filter_map(|word| word.split('/').next()?.parse::<IpAddr>().ok());
        // The overlay's end has the first address of its subnet: in IPv6 that is any router's (RFC 4291 §2.6.1), and
        // nothing is published there.
        let anycast = Site::HOSTS[0].slice(Family::V6).network();
        let own = addresses.filter(|address| Family::of(*address) == family && *address != anycast);
        own.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// What both hosts have dropped so far.
pub fn dropped(daemons: &[Daemon; 2]) -> Counts {
    let mut sum = Counts::new();
    for (reason, count) in daemons.iter().flat_map(|daemon| daemon.counts("drop")) {
        *sum.entry(reason).or_default() += count;
    }
    sum
}

/// What both have dropped since, once there is all that is expected of a reason.
pub fn dropped_since(daemons: &[Daemon; 2], before: &Counts, reason: &str) -> Counts {
    let mut seen = Counts::new();
    wait::within(PATIENCE, || {
        seen = dropped(daemons);
        for (reason, count) in &mut seen {
            *count -= before.get(reason).copied().unwrap_or(0);
        }
        seen.retain(|_, count| *count > 0);
        (seen.get(reason).copied().unwrap_or(0) >= u64::from(TIMES)).then_some(())
    });
    seen
}

/// NAT leads from the published port of any address of the host to its victim, and gives it the host's address in
/// the place of whoever asks.
fn publish(host: &NetNs, victim: &Workload) {
    let batch = format!(
        "add table inet publish\n\
         add chain inet publish pre {{ type nat hook prerouting priority dstnat; }}\n\
         add rule inet publish pre fib daddr type local tcp dport {PUBLISHED} meta nfproto ipv4 dnat ip to {}:{ECHO_PORT}\n\
         add rule inet publish pre fib daddr type local tcp dport {PUBLISHED} meta nfproto ipv6 dnat ip6 to [{}]:{ECHO_PORT}\n\
         add chain inet publish post {{ type nat hook postrouting priority srcnat; }}\n\
         add rule inet publish post ct status dnat tcp sport != 30000 masquerade\n",
        victim.ipv4(),
        victim.ipv6()
    );
    host.nft(&batch);
}
