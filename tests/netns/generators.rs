//! As many packets as the kernel can make, through a path that is enforced: each of them is counted once, with its
//! verdict and in its flow, and those that were allowed arrive.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use enforcer_tests::packet::from;
use enforcer_tests::pktgen::{self, Datagrams};
use enforcer_tests::tally::Tally;
use enforcer_tests::traffic::ping;
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{live_frames, wait};
use serde_json::Value;

use crate::pair::{Pair, allow};

/// Packets of each flow; fewer on a slow machine.
const OF_A_FLOW: u32 = 2000;
/// Each source port is a flow.
const FLOWS: Range<u16> = 40_000..40_010;
/// The port that the rule names.
const ALLOWED: u16 = 7000;
const DENIED: u16 = 7001;
const PATIENCE: Duration = Duration::from_secs(5);

fn of_a_flow() -> u32 {
    OF_A_FLOW / wait::slowness()
}

/// Packets to each port, in each family.
fn count() -> u32 {
    of_a_flow() * FLOWS.len() as u32
}

/// What is counted of the packets to one port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Account {
    /// By the enforcer, with the port's verdict.
    judged: u64,
    /// By the enforcer, in all flows to the port.
    in_flows: u64,
    /// By the server, before anybody there could lose them.
    arrived: u64,
    /// Those that never got to the enforcer, or not from there to the server: an interface had no room.
    lost: [u64; 2],
}

/// A client that may ask its server at one port, and a server that counts what arrives and answers nothing.
struct Counted(Pair);

impl Counted {
    #[track_caller]
    fn build(name: &str) -> Self {
        let pair = Pair::build(name);
        pair.govern(&[allow("clients", "servers", &[&format!("udp/{ALLOWED}")])]);
        let server = pair.server.netns();
        server.nft("add table inet sink\nadd chain inet sink input { type filter hook input priority 0; }");
        for port in [ALLOWED, DENIED] {
            server.nft(&format!("add rule inet sink input udp dport {port} counter drop"));
        }
        // Whoever forwards knows the next hop.
        for to in [pair.server.ipv4(), pair.server.ipv6()] {
            assert!(ping(&pair.host, to));
        }
        Self(pair)
    }

    fn account(&self, port: u16) -> Account {
        let Self(Pair { daemon, client, server, host }) = self;
        let verdict = if port == ALLOWED { ("pass", "allowed-by-rule") } else { ("drop", "default-deny") };
        let flows = daemon.json(&["flows", "--port", &port.to_string()]);
        let packets = |flow: &Value| flow["packets_fwd"].as_u64().unwrap();
        Account {
            judged: daemon.counts(verdict.0)[verdict.1],
            in_flows: flows.as_array().unwrap().iter().map(packets).sum(),
            arrived: self.arrived(port),
            lost: [Tally::of(client.netns(), INSIDE).lost, Tally::of(host.netns(), server.interface()).lost],
        }
    }

    fn arrived(&self, port: u16) -> u64 {
        let listed = self.0.server.netns().run("nft", &["list", "chain", "inet", "sink", "input"]);
        let text = String::from_utf8(listed.stdout).expect("nft writes text");
        let rule = text.lines().find(|line| line.contains(&port.to_string())).expect("the rule is there");
        let packets = rule.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        packets.and_then(|packets| packets.parse().ok()).unwrap_or_else(|| panic!("no count in {rule}"))
    }

    /// Lets `generate` send all packets to a port and say how many it sent: each is somewhere.
    #[track_caller]
    fn assert_accounted(&self, port: u16, to: IpAddr, generate: impl FnOnce() -> u64) {
        let before = self.account(port);
        let sent = generate();
        let mut balance = Vec::new();
        wait::within(PATIENCE, || {
            let now = self.account(port);
            let lost = [0, 1].map(|at| now.lost[at] - before.lost[at]);
            let judged = sent - lost[0];
            let arrived = if port == ALLOWED { judged - lost[1] } else { 0 };
            let expected = Account { judged, in_flows: judged, arrived, lost };
            let seen = Account {
                judged: now.judged - before.judged,
                in_flows: now.in_flows - before.in_flows,
                arrived: now.arrived - before.arrived,
                lost,
            };
            balance = vec![seen, expected];
            (seen == expected).then_some(())
        });
        println!("{sent} to {to} at {port}: {:?}", balance[0]);
        assert_eq!(balance[0], balance[1], "seen and expected, of {sent} packets to {to} at {port}");
        // Some kernels send on until so many got through the first interface.
        assert!(sent >= u64::from(count()), "{sent} packets were sent");
        assert!(balance[0].judged > 0 && (balance[0].arrived > 0) == (port == ALLOWED), "{balance:?}");
    }

    /// Both families, and both ports.
    #[track_caller]
    fn assert_all_accounted(&self, generate: impl Fn([IpAddr; 2], u16) -> u64) {
        let Self(Pair { client, server, .. }) = self;
        for port in [ALLOWED, DENIED] {
            for ends in [[client.ipv4(), server.ipv4()], [client.ipv6(), server.ipv6()]] {
                self.assert_accounted(port, ends[1], || generate(ends, port));
            }
            let flows = self.0.daemon.json(&["flows", "--port", &port.to_string()]);
            assert_eq!(flows.as_array().unwrap().len(), 2 * FLOWS.len(), "{flows}");
        }
    }
}

#[test]
fn every_packet_of_pktgen_is_accounted_for() {
    pktgen::require();
    let counted = Counted::build("pktgen");
    let Pair { client, host, .. } = &counted.0;
    let next_hop = host.netns().mac(client.interface());
    counted.assert_all_accounted(|addresses, to_port| {
        let datagrams = Datagrams { addresses, from_ports: FLOWS, to_port, next_hop, count: count() };
        pktgen::send(client.netns(), INSIDE, &datagrams)
    });
}

#[test]
fn every_live_frame_is_accounted_for() {
    live_frames::require();
    let counted = Counted::build("live");
    let Pair { client, host, .. } = &counted.0;
    let macs = [host.netns().mac(client.interface()), client.netns().mac(INSIDE)].concat();
    counted.assert_all_accounted(|[client_address, server], port| {
        for source in FLOWS {
            let mut frame = from(client_address).to(server).udp(port).from_port(source).payload(40).bytes();
            frame[..12].copy_from_slice(&macs);
            live_frames::arrive(host.netns(), client.interface(), &frame, of_a_flow());
        }
        count().into()
    });
}
