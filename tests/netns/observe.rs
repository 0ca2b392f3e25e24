//! A host that observes lets everything go on, and tells exactly what it will drop once it enforces.

mod script;
mod stage;

use std::collections::BTreeMap;

use enforcer_tests::{Daemon, Numbered, Workload};
use serde_json::Value;

use script::{POLICY, Scene, script};
use stage::{Arrivals, Stage, TIMES};

const CONFIG: &str = "mode = \"observe\"\npolicy = []\n[attach]\nmatch = [\"veth-*\"]\n\
                      [[uplink]]\nmatch = \"uplink\"\ntrust = \"fabric\"\n";

/// Packets by reason.
type Counts = BTreeMap<String, u64>;

#[test]
fn observing_loses_nothing_and_tells_what_enforcing_drops() {
    let stage = Stage::build("observe");
    let script = script();
    // Neighbours are found the first time.
    stage.play(&script);
    let without = stage.play(&script);
    assert_whole(&script, &without);

    let daemon = Daemon::start_with(&stage.host, CONFIG);
    daemon.wait_ready(&[&stage.web, &stage.api, &stage.db, &stage.tool].map(Workload::interface));
    daemon.apply(POLICY);
    let allowed = Numbered::new(&stage.web, &stage.api, stage.api.ipv4()).start();
    let (observed, would_drop) = counted(&daemon, "would-drop", || stage.play(&script));
    assert_eq!(lost(&script, &without, &observed), [""; 0], "lost while nothing is to be");
    assert_eq!(daemon.counts("drop").values().sum::<u64>(), 0, "{:?}", daemon.counts("drop"));
    assert_eq!(would_drop, expected(&script), "what would be dropped is not what the script says");
    let told = flows(&daemon, "would-drop");

    daemon.json(&["mode", "enforce"]);
    let (enforced, dropped) = counted(&daemon, "drop", || stage.play(&script));
    assert_eq!(dropped, would_drop, "enforcing drops what was told, packet by packet");
    assert_eq!(honest(flows(&daemon, "drop")), honest(told), "and of the same flows");
    let passed: Vec<Scene> = script.iter().filter(|scene| scene.reason.is_none()).cloned().collect();
    assert_eq!(enforced.len(), passed.len() * usize::from(TIMES), "{:?}", by_scene(&script, &enforced));
    let report = allowed.finish();
    assert_eq!(report.lost(), [0; 0], "of {} numbered packets of an allowed stream", report.sent);
}

/// A denied stream under load: each packet arrives, and is told once.
#[test]
fn a_denied_stream_goes_on_while_observing() {
    let stage = Stage::build("stream");
    let daemon = Daemon::start_with(&stage.host, CONFIG);
    daemon.wait_ready(&[&stage.web, &stage.db].map(Workload::interface));
    daemon.apply(POLICY);
    let (reports, told) = counted(&daemon, "would-drop", || {
        let streams = [stage.db.ipv4(), stage.db.ipv6()]
            .map(|address| Numbered::new(&stage.web, &stage.db, address).rate(5000).start());
        daemon.apply(&POLICY.replace("tcp/80", "tcp/81"));
        streams.map(enforcer_tests::numbered::Stream::finish)
    });
    let sent: u64 = reports.iter().map(|report| report.sent).sum();
    for report in reports {
        assert_eq!(report.lost(), [0; 0], "of {}", report.sent);
    }
    assert_eq!(told, Counts::from([("default-deny".to_owned(), sent)]));
}

/// Without enforcement each scene arrives as often as it is played, or never: then the kernel itself drops it.
#[track_caller]
fn assert_whole(script: &[Scene], arrived: &Arrivals) {
    for (index, times) in by_scene(script, arrived).into_iter().enumerate() {
        let scene = &script[index];
        assert!(times == 0 || times == usize::from(TIMES), "{times} of {TIMES}: {}", scene.packet);
        assert!(times > 0 || scene.reason.is_some(), "it never arrives: {}", scene.packet);
    }
}

fn by_scene(script: &[Scene], arrived: &Arrivals) -> Vec<usize> {
    let times = |index| arrived.iter().filter(|(_, mark)| mark.index == index).count();
    (0..script.len()).map(times).collect()
}

/// What arrived before and does not any more.
fn lost(script: &[Scene], before: &Arrivals, now: &Arrivals) -> Vec<String> {
    let lost = before.difference(now);
    lost.map(|(place, mark)| format!("at {place}: number {} of {}", mark.number, script[mark.index].packet))
        .collect()
}

/// Packets by reason, as the script says.
fn expected(script: &[Scene]) -> Counts {
    let mut counts = Counts::new();
    for reason in script.iter().filter_map(|scene| scene.reason) {
        *counts.entry(reason.to_owned()).or_default() += u64::from(TIMES);
    }
    counts
}

/// What happens, and the packets that were counted with this verdict meanwhile, by reason.
fn counted<T>(daemon: &Daemon, verdict: &str, happens: impl FnOnce() -> T) -> (T, Counts) {
    let before = daemon.counts(verdict);
    let outcome = happens();
    let mut after = daemon.counts(verdict);
    for (reason, count) in &mut after {
        *count -= before.get(reason).copied().unwrap_or(0);
    }
    after.retain(|_, count| *count > 0);
    (outcome, after)
}

/// Without what is forged: that has records only while it goes on.
fn honest(mut flows: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    flows.retain(|flow, _| !flow.contains(" spoofed-"));
    flows
}

/// The flows with this verdict: why, and how many packets.
fn flows(daemon: &Daemon, verdict: &str) -> BTreeMap<String, u64> {
    let flows = daemon.json(&["flows", "--verdict", verdict]);
    let flows = flows.as_array().expect("flows are a list").iter();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let key = |flow: &Value| {
        ["protocol", "src", "src_port", "dst", "dst_port", "reason"].map(|name| text(&flow[name])).join(" ")
    };
    flows.map(|flow| (key(flow), flow["packets_fwd"].as_u64().expect("a count"))).collect()
}
