//! The daemon gives up what it does not need, whoever started it, and everything goes on working.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use enforcer::daemon::privileges;
use enforcer_tests::daemon::{DEFAULT_CONFIG, PATIENCE, attaching_by};
use enforcer_tests::traffic::{ECHO_PORT, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host, NetNs, wait};
use serde_json::json;

use crate::town::POLICY;

/// `CAP_NET_ADMIN`, `CAP_PERFMON` and `CAP_BPF`, by their numbers in `linux/capability.h`.
const NEEDED: u64 = 1 << 12 | 1 << 38 | 1 << 39;
const CAPABILITIES: &str = "-all,+net_admin,+perfmon,+bpf";
const NOBODY: u32 = 65534;

/// A field of each thread's status, by thread.
fn of_all_threads(pid: u32, field: &str) -> BTreeMap<String, String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let read = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some((thread.file_name().into_string().unwrap(), value.trim().to_owned()))
    };
    threads.filter_map(read).collect()
}

#[track_caller]
fn assert_reduced(daemon: &Daemon, sets: &[&str]) {
    let pid = daemon.pid().unwrap();
    for set in sets {
        for (thread, value) in of_all_threads(pid, set) {
            let found = u64::from_str_radix(&value, 16).unwrap();
            assert_eq!(found, NEEDED, "{set} of thread {thread}: {found:#x}, wanted {NEEDED:#x}");
        }
    }
    let rules_out = of_all_threads(pid, "NoNewPrivs");
    assert!(!rules_out.is_empty() && rules_out.values().all(|value| value == "1"), "{rules_out:?}");
}

/// A workload comes, is governed, guarded, outlives a restart and goes; every verb answers.
fn lives_a_life(host: &Host, daemon: &mut Daemon) {
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
    let db = host.workload("db").at("10.3.0.5/24").routed();
    daemon.wait_ready(&[web.interface(), api.interface(), db.interface()]);
    daemon.apply(POLICY);
    let governed = || {
        assert!(tcp(&web, api.ipv4(), ECHO_PORT) && tcp(&web, api.ipv6(), ECHO_PORT));
        assert!(!tcp_soon(&web, db.ipv4(), ECHO_PORT));
    };
    governed();
    let outside = host.workload("outside").at("198.51.100.9/24").behind("up0").routed();
    wait::until("the guard is loaded and runs", PATIENCE, || {
        (daemon.json(&["status"])["guards"][0]["interface"] == "up0").then_some(())
    });
    for verb in ["status", "networks", "rules", "endpoints", "flows", "drops"] {
        daemon.json(&[verb]);
    }
    let explained = daemon.cli(&["explain", "veth-web", "10.2.0.5"]);
    assert!(explained.status.success(), "{explained:?}");
    daemon.restart();
    governed();
    let status = daemon.json(&["status"]);
    assert_eq!((&status["generation"], &status["warnings"]), (&json!(1), &json!([])), "{status}");
    daemon.apply(&POLICY.replace("10.3.0.0/24", "10.1.0.0/16"));
    drop(outside);
    wait::until("the guard is gone", PATIENCE, || {
        (daemon.json(&["status"])["guards"] == json!([])).then_some(())
    });
}

const GUARD: &str = "[guard]\nmatch = [\"up*\"]\n";

fn config() -> String {
    DEFAULT_CONFIG.to_owned() + GUARD
}

#[test]
fn root_keeps_three_capabilities_in_every_set() {
    let host = Host::new("caproot");
    let mut daemon = Daemon::start_with(&host, &config());
    lives_a_life(&host, &mut daemon);
    assert_reduced(&daemon, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    assert!(
        of_all_threads(daemon.pid().unwrap(), "CapEff").len() > 1,
        "threads that answer are looked at, too"
    );
}

#[test]
fn clsact_needs_no_more() {
    let host = Host::new("capclsact");
    let clsact = attaching_by("clsact") + GUARD;
    let mut daemon = Daemon::start_with(&host, &clsact);
    lives_a_life(&host, &mut daemon);
}

#[test]
fn three_capabilities_are_enough_from_the_start() {
    let host = Host::new("capthree");
    let setpriv = ["setpriv", "--bounding-set", CAPABILITIES, "--inh-caps", "-all", "--no-new-privs"];
    let config = format!("{}[control]\ngroup = \"4001\"\n", config());
    let mut daemon = Daemon::start_through(&host, &config, &setpriv);
    lives_a_life(&host, &mut daemon);
    assert_reduced(&daemon, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    let log = daemon.log();
    assert!(log.contains("cannot give the control socket to its group"), "{log}");
    let mode = fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn another_user_with_three_capabilities_may_run_it() {
    let host = Host::new("capuser");
    let mut daemon = Daemon::prepare(&host, &config());
    // The binary may lie where only root may look.
    let binary = daemon.directory().join("enforcer");
    fs::copy(daemon.binary(), &binary).unwrap();
    daemon.use_binary(binary);
    for path in ["", "state", "bpf"] {
        chown(daemon.directory().join(path), Some(NOBODY), None).unwrap();
    }
    let user = NOBODY.to_string();
    daemon.wrap(
        &[
            &["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"][..],
            &["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES],
        ]
        .concat(),
    );
    daemon.start_again();
    lives_a_life(&host, &mut daemon);
    assert_reduced(&daemon, &["CapInh", "CapPrm", "CapEff", "CapAmb"]);
}

#[test]
fn what_is_missing_is_named() {
    let host = Host::new("capmissing");
    let mut daemon = Daemon::start(&host);
    daemon.stop();
    let run = daemon.cli_through(&["setpriv", "--bounding-set", "-all,+net_admin"], &["run"], "");
    assert_eq!(run.status.code(), Some(1));
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(text.contains("CAP_BPF, CAP_PERFMON") && !text.contains("NET_ADMIN"), "{text}");
}

#[test]
fn programs_that_it_starts_may_administer_the_network_and_no_more() {
    let netns = NetNs::create("capchild");
    let (added, status) = netns.enter(|| {
        privileges::reduce().unwrap();
        let added = Command::new("nft").args(["add", "table", "inet", "probe"]).output().unwrap();
        (added, Command::new("cat").arg("/proc/self/status").output().unwrap())
    });
    assert!(added.status.success(), "{added:?}");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t{NEEDED:016x}\n")), "{status}");
    }
}
