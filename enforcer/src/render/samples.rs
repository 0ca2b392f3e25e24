//! One small host for the tests of every screen: a web server, a database, two networks.

use std::{collections::BTreeMap, time::Duration};

use enforcer_common::{
    counter::{Counter, EndpointCounters},
    mode::Mode,
};

use super::{Format, Screen};
use crate::{
    config::Trust,
    datapath::{attach::Mechanism, flows::Flow, guard, memory::Memory},
    foreign::{Effect, Finding},
    policy::rule::{Action, Side},
    report::{
        Barred, DaemonStatus, DirectionReport, Drops, EndReport, EndpointReport, ExplainReport,
        FastpathReport, GateReport, GuardReport, ModeState, NetworkReport, ReasonReport, RecentDrop,
        RuleReport, Status, UplinkReport,
    },
    shortcut::{Barrier, Kinds},
    unenforced::Unenforced,
};

mod plan;

pub(crate) use plan::plan;

/// Noon of the samples' day.
pub(crate) fn screen(format: Format) -> Screen {
    let now = humantime::parse_rfc3339("2026-08-01T12:00:00Z").unwrap();
    Screen { format, headers: true, colour: false, now }
}

/// So many seconds before noon, as reports write it.
fn before_noon(seconds: u64) -> String {
    let time = screen(Format::Table).now - Duration::from_secs(seconds);
    humantime::format_rfc3339_millis(time).to_string()
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

const fn counter(packets: u64, bytes: u64) -> Counter {
    Counter { packets, bytes }
}

/// A passing TCP flow, opened by the web server.
fn flow() -> Flow {
    Flow {
        family: "ipv4".to_owned(),
        proto: "tcp".to_owned(),
        src: "10.1.0.5".parse().unwrap(),
        src_port: 40_000,
        dst: "10.1.0.6".parse().unwrap(),
        dst_port: 80,
        icmp_type: None,
        verdict: "pass".to_owned(),
        reason: "shared-network".to_owned(),
        network: Some("blue".to_owned()),
        rule: None,
        generation: 4,
        digest: Some("1a".repeat(32)),
        first_seen: before_noon(3600),
        last_seen: before_noon(3),
        packets_fwd: 1200,
        bytes_fwd: 98_765,
        packets_rev: 1100,
        bytes_rev: 3_456_789,
        endpoint_src: Some("veth-web".to_owned()),
        endpoint_dst: None,
    }
}

/// HTTP, DNS over IPv6, a denied connection to the database, an echo; the latest first.
pub(crate) fn flows() -> Vec<Flow> {
    let dns = Flow {
        family: "ipv6".to_owned(),
        proto: "udp".to_owned(),
        src: "2001:db8:1::1".parse().unwrap(),
        dst: "2001:db8:1::2".parse().unwrap(),
        dst_port: 53,
        last_seen: before_noon(60),
        packets_fwd: 1,
        bytes_fwd: 86,
        packets_rev: 1,
        bytes_rev: 500,
        ..flow()
    };
    let denied = Flow {
        dst: "10.9.0.7".parse().unwrap(),
        dst_port: 5432,
        verdict: "drop".to_owned(),
        reason: "default-deny".to_owned(),
        network: None,
        last_seen: before_noon(200),
        packets_fwd: 1,
        bytes_fwd: 74,
        packets_rev: 0,
        bytes_rev: 0,
        endpoint_dst: Some("veth-db".to_owned()),
        ..flow()
    };
    let echo = Flow {
        proto: "icmp".to_owned(),
        dst: "10.1.0.7".parse().unwrap(),
        src_port: 77,
        dst_port: 77,
        last_seen: before_noon(7200),
        packets_fwd: 2,
        bytes_fwd: 196,
        packets_rev: 2,
        bytes_rev: 196,
        ..flow()
    };
    vec![flow(), dns, denied, echo]
}

/// One with more prefixes than a table shows, one small.
pub(crate) fn networks() -> Vec<NetworkReport> {
    let blue = NetworkReport {
        name: "blue".to_owned(),
        id: 1,
        prefixes: texts(["10.1.0.0/24", "10.7.3.0/26", "10.8.0.0/24", "2001:db8:1::/64"]),
        members: texts(["docker:label:team=blue"]),
        except: texts(["10.1.0.13/32"]),
        endpoints: texts(["veth-web"]),
        packets: 2306,
        bytes: 3_556_000,
    };
    let db = NetworkReport {
        name: "db".to_owned(),
        id: 2,
        prefixes: texts(["10.9.0.0/24"]),
        members: Vec::new(),
        except: Vec::new(),
        endpoints: Vec::new(),
        packets: 0,
        bytes: 0,
    };
    vec![blue, db]
}

/// One that admits and was asked often, one that denies with exceptions and was never hit.
pub(crate) fn rules() -> Vec<RuleReport> {
    let ends = |ends: &[&str]| ends.iter().map(|end| end.parse().unwrap()).collect();
    let side = |from: &[&str], except: &[&str]| Side { ends: ends(from), except: ends(except) };
    let quarantine = RuleReport {
        name: "quarantine".to_owned(),
        id: 2,
        action: Action::Deny,
        from: side(&["10.1.0.66/32"], &[]),
        to: side(&["any"], &["blue", "db"]),
        services: ["any".parse().unwrap()].into(),
        packets: 0,
        bytes: 0,
    };
    let web = RuleReport {
        name: "the web".to_owned(),
        id: 1,
        action: Action::Allow,
        from: side(&["blue"], &[]),
        to: side(&["world"], &[]),
        services: ["tcp/80", "tcp/443", "udp/443", "ping"].map(|service| service.parse().unwrap()).into(),
        packets: 1203,
        bytes: 1_048_576,
    };
    vec![quarantine, web]
}

/// One ready, one whose address somebody else owns.
pub(crate) fn endpoints() -> Vec<EndpointReport> {
    let web = EndpointReport {
        name: "veth-web".to_owned(),
        ifindex: 7,
        id: 1,
        state: "ready".to_owned(),
        mode: Mode::Enforce,
        mac: Some("02:00:00:00:00:05".to_owned()),
        addresses: texts(["10.1.0.5", "2001:db8:1::1"]),
        networks: texts(["blue"]),
        provides: texts(["dhcp-server"]),
        conflicts: Vec::new(),
        counters: EndpointCounters {
            sent: counter(1203, 99_047),
            received: counter(1103, 3_457_485),
            sent_dropped: counter(1, 74),
            received_dropped: counter(0, 0),
        },
    };
    let db = EndpointReport {
        name: "veth-db".to_owned(),
        ifindex: 9,
        id: 2,
        state: "quarantined".to_owned(),
        mode: Mode::Audit,
        mac: None,
        addresses: Vec::new(),
        networks: Vec::new(),
        provides: Vec::new(),
        conflicts: texts(["10.1.0.5"]),
        counters: EndpointCounters::default(),
    };
    vec![web, db]
}

fn reason(verdict: &str, reason: &str, category: &str, caption: &str, count: Counter) -> ReasonReport {
    ReasonReport {
        reason: reason.to_owned(),
        verdict: verdict.to_owned(),
        category: category.to_owned(),
        caption: caption.to_owned(),
        packets: count.packets,
        bytes: count.bytes,
    }
}

/// A pass, a drop that was counted, one that was not; one recent deny, one packet that was not understood.
pub(crate) fn drops() -> Drops {
    let denied = RecentDrop {
        time: before_noon(200),
        endpoint: Some("veth-web".to_owned()),
        hook: Some("from-endpoint".to_owned()),
        verdict: "would-drop".to_owned(),
        reason: "default-deny".to_owned(),
        rule: None,
        proto: Some("tcp".to_owned()),
        src: Some("10.1.0.5".parse().unwrap()),
        src_port: 40_000,
        dst: Some("10.9.0.7".parse().unwrap()),
        dst_port: 5432,
        generation: 4,
    };
    let truncated = RecentDrop {
        time: before_noon(7200),
        verdict: "drop".to_owned(),
        reason: "truncated".to_owned(),
        proto: None,
        src: None,
        src_port: 0,
        dst: None,
        dst_port: 0,
        ..denied.clone()
    };
    Drops {
        reasons: vec![
            reason(
                "pass",
                "shared-network",
                "policy",
                "source and destination share a network",
                counter(2306, 3_556_000),
            ),
            reason("drop", "truncated", "integrity", "the packet ends before its headers do", counter(1, 20)),
            reason("drop", "martian", "integrity", "an address that cannot be on this wire", counter(0, 0)),
            reason(
                "drop",
                "default-deny",
                "policy",
                "no common network and no rule admits it",
                counter(1234, 91_316),
            ),
            reason(
                "would-drop",
                "default-deny",
                "policy",
                "no common network and no rule admits it",
                counter(12, 888),
            ),
        ],
        recent: vec![denied, truncated],
        events_lost: 17,
    }
}

fn named(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
    texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// A daemon at work, one endpoint in quarantine, one warning.
pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        daemon: Some(DaemonStatus { pid: 812, started_at: before_noon(7200) }),
        kernel: "6.12.0".to_owned(),
        attach: Mechanism::Tcx,
        features: named(&[("attach", "tcx links"), ("kernel types", "not needed")]),
        lacking: named(&[("kernel types", "BTF (CONFIG_DEBUG_INFO_BTF)")]),
        generation: 4,
        digest: Some("1a".repeat(32)),
        applied_at: Some(before_noon(180)),
        seconds_left: None,
        networks: 2,
        prefixes: 6,
        sets: 2,
        rules: 3,
        endpoints_ready: 1,
        endpoints_quarantined: 1,
        gate: GateReport::On,
        unenforced: vec![Unenforced {
            name: "vnet0".to_owned(),
            why: "a tap: programs are attached to veths only".to_owned(),
        }],
        fastpath: Some(FastpathReport {
            kinds: Kinds::ROUTED_V6.and(Kinds::BRIDGED),
            barriers: vec![Barrier::new(Kinds::ROUTED_V4, "rules of nftables: ip nat POSTROUTING")],
            endpoints: 1,
            uplinks: 1,
            barred_uplinks: Vec::new(),
            barred: vec![Barred {
                endpoint: "veth-web".to_owned(),
                barriers: vec![Barrier::new(Kinds::ALL, "the queue of its interface (tbf)")],
            }],
        }),
        foreign: foreign_rules(),
        foreign_unseen: Vec::new(),
        mode: ModeState {
            mode: Mode::Observe,
            by: "ordered".to_owned(),
            seconds_left: Some(850),
            then: Some(Mode::Enforce),
        },
        endpoints_other_mode: 1,
        uplinks: vec![UplinkReport { interface: "eth0".to_owned(), ifindex: 2, trust: Trust::External }],
        guards: vec![
            GuardReport {
                interface: "eth0".to_owned(),
                ifindex: 2,
                mode: guard::Mode::Native,
                role: "uplink".to_owned(),
            },
            GuardReport {
                interface: "veth-web".to_owned(),
                ifindex: 7,
                mode: guard::Mode::Generic,
                role: "veth".to_owned(),
            },
        ],
        passed: counter(2306, 3_556_000),
        dropped: counter(1235, 91_336),
        would_dropped: counter(12, 888),
        events_lost: 17,
        memory: Memory {
            flows: 41 << 20,
            conversations: 8 << 20,
            policies: Some(900 << 10),
            counters: 22 << 20,
            others: 3 << 20,
        },
        repairs: 3,
        last_repair: Some("the programs of veth-web".to_owned()),
        warnings: texts(["veth-db claims 10.1.0.5, which veth-web owns"]),
    }
}

fn end(address: &str, network: &str, endpoint: &str) -> EndReport {
    EndReport {
        address: address.parse().unwrap(),
        endpoint: Some(endpoint.to_owned()),
        networks: texts([network]),
        groups: Vec::new(),
        selected: BTreeMap::new(),
        world: false,
    }
}

/// From one network to another.
pub(crate) fn denied() -> ExplainReport {
    let direction = DirectionReport {
        verdict: "drop".to_owned(),
        reason: "default-deny".to_owned(),
        network: None,
        rule: None,
        why: "no common network".to_owned(),
    };
    ExplainReport {
        src: end("10.1.0.5", "blue", "veth-web"),
        dst: end("10.9.0.7", "db", "veth-db"),
        service: None,
        forward: direction.clone(),
        reverse: direction,
        one_way: false,
        generation: Some(4),
        members_unknown: false,
        modes: BTreeMap::new(),
    }
}

/// Within a network.
pub(crate) fn allowed() -> ExplainReport {
    let direction = DirectionReport {
        verdict: "pass".to_owned(),
        reason: "shared-network".to_owned(),
        network: Some("blue".to_owned()),
        rule: None,
        why: "both are in blue".to_owned(),
    };
    ExplainReport {
        src: end("10.1.0.5", "blue", "veth-web"),
        dst: EndReport { endpoint: None, ..end("10.1.0.6", "blue", "") },
        service: Some("tcp/80".to_owned()),
        forward: direction.clone(),
        reverse: direction,
        one_way: false,
        generation: Some(4),
        members_unknown: false,
        modes: BTreeMap::new(),
    }
}

/// From a group to the world, which does not answer first.
pub(crate) fn by_rule() -> ExplainReport {
    let forward = DirectionReport {
        verdict: "pass".to_owned(),
        reason: "allowed-by-rule".to_owned(),
        network: None,
        rule: Some("the web".to_owned()),
        why: "rule `the web` allows tcp/443".to_owned(),
    };
    let nothing = EndReport { endpoint: None, networks: Vec::new(), ..end("1.1.1.1", "", "") };
    ExplainReport {
        src: EndReport { groups: texts(["admins"]), ..end("10.1.0.5", "blue", "veth-web") },
        dst: EndReport { world: true, ..nothing },
        service: Some("tcp/443".to_owned()),
        forward,
        reverse: DirectionReport {
            why: "answers to what 10.1.0.5 opens pass, but 1.1.1.1 may not open".to_owned(),
            ..denied().reverse
        },
        one_way: true,
        generation: Some(4),
        members_unknown: false,
        modes: BTreeMap::new(),
    }
}

/// What Docker leaves on a host: one of its rules dropped something.
fn foreign_rules() -> Vec<Finding> {
    let rule = |chain: &str, hook: &str, handle, effect, text: &str, packets| Finding {
        family: "ip".to_owned(),
        table: if effect == Effect::Drops { "filter" } else { "nat" }.to_owned(),
        chain: chain.to_owned(),
        hook: hook.to_owned(),
        handle,
        effect,
        text: text.to_owned(),
        packets,
    };
    let isolation = "oifname \"docker0\" counter drop";
    let masquerade = "oifname != \"docker0\" ip saddr 172.17.0.0/16 masquerade";
    vec![
        rule("DOCKER-ISOLATION-STAGE-2", "forward", Some(14), Effect::Drops, isolation, Some(12)),
        rule("FORWARD", "forward", None, Effect::Drops, "policy drop", None),
        rule("POSTROUTING", "postrouting", Some(7), Effect::HidesSender, masquerade, Some(0)),
    ]
}
