//! From one version's tables and programs to another's and back, with traffic all the time. The earlier version's
//! programs are put on links here, and so where there are none only what needs no earlier version is tested.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use enforcer::datapath::bpf::{link_target, open_pin};
use enforcer::datapath::load::{FROM_ENDPOINT, TO_ENDPOINT};
use enforcer::datapath::pins::Pins;
use enforcer::datapath::sizes::TableKind;
use enforcer_common::ABI_VERSION;
use enforcer_tests::connection::{Connection, hears};
use enforcer_tests::daemon::{DEFAULT_CONFIG, ROOMY_CONFIG};
use enforcer_tests::kernel::require_tcx;
use enforcer_tests::numbered::Stream;
use enforcer_tests::tables::{in_host_file, of_this_run};
use enforcer_tests::traffic::{Conversation, DUE, ECHO_PORT, tcp, tcp_soon};
use enforcer_tests::{Numbered, earlier};
use serde_json::Value;

use crate::town::{POLICY, Town};

/// The town's policy, and a rule: db may be asked by web, so that there is state to carry over.
const WITH_RULE: &str = "\n[[rule]]\nname = \"web asks db\"\nfrom = [\"blue\"]\nto = [\"green\"]\n\
                         allow = [\"tcp\", \"udp\"]\n";

/// Interface, name and program of both links of each of the town's interfaces.
#[track_caller]
fn running(town: &Town) -> Vec<(u32, String, u32)> {
    let links = Pins::new(town.daemon.bpffs()).list_links().unwrap().into_iter();
    let links: Vec<_> = links
        .map(|(ifindex, name, path)| {
            let target = link_target(open_pin(&path).unwrap()).unwrap();
            (ifindex, name, target.program_id)
        })
        .collect();
    let of_endpoints =
        links.iter().filter(|(_, name, _)| [FROM_ENDPOINT, TO_ENDPOINT].contains(&name.as_str()));
    assert_eq!(of_endpoints.count(), 2 * town.interfaces().len(), "{links:?}");
    links
}

/// Both programs at each of the town's interfaces are of `programs`.
#[track_caller]
fn assert_runs(town: &Town, programs: &[u32]) {
    for (ifindex, name, program) in running(town) {
        assert!(programs.contains(&program), "{name} of {ifindex} is program {program}");
    }
}

/// No program is one of these.
#[track_caller]
fn assert_runs_none_of(town: &Town, programs: &[u32], when: &str) {
    for (ifindex, name, program) in running(town) {
        assert!(!programs.contains(&program), "{when}: {name} of {ifindex} still is program {program}");
    }
}

fn versions(town: &Town) -> Vec<u32> {
    Pins::new(town.daemon.bpffs()).versions().unwrap().into_iter().collect()
}

/// Takes the town back to the tables and programs of the earlier version.
#[track_caller]
fn downgrade(town: &mut Town) -> Vec<u32> {
    town.daemon.stop();
    let output = town.daemon.cli(&["upgrade", "--to", &earlier::VERSION.to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(versions(town), [earlier::VERSION], "nobody can mistake which tables count");
    let programs = earlier::take_over(&town.daemon.bpffs());
    assert_runs(town, &programs);
    programs
}

/// An upgrade and the way back, often, under streams between allowed and denied pairs.
#[test]
fn versions_replace_each_other_without_losing_or_admitting_a_packet() {
    require_tcx();
    let mut town = Town::governed("upgrade");
    town.daemon.apply(&format!("{POLICY}{WITH_RULE}"));
    let shared4 = Numbered::new(&town.web, &town.api, town.api.ipv4()).rate(5000).start();
    let shared6 = Numbered::new(&town.api, &town.web, town.web.ipv6()).rate(5000).start();
    let by_rule = Numbered::new(&town.web, &town.db, town.db.ipv6()).rate(2000).start();
    let denied = Numbered::new(&town.db, &town.api, town.api.ipv4()).port(7).rate(2000).start();
    let mut conversation = Conversation::open(&town.web, town.db.ipv4(), ECHO_PORT).unwrap();
    for round in 0..3 {
        let earlier = downgrade(&mut town);
        assert!(conversation.goes_on(), "state is shared with the earlier version, round {round}");
        assert!(!tcp_soon(&town.db, town.web.ipv4(), ECHO_PORT), "the earlier version denies, round {round}");
        town.daemon.start_again();
        assert_eq!(versions(&town), [ABI_VERSION]);
        assert_runs_none_of(&town, &earlier, &format!("round {round}"));
        assert!(conversation.goes_on(), "and with this one again, round {round}");
    }
    for (name, stream) in [("IPv4", shared4), ("IPv6", shared6), ("by rule", by_rule)] {
        assert_whole(name, stream);
    }
    let denied = denied.finish();
    assert!(
        denied.sent > 0 && denied.received.is_empty(),
        "{} denied packets arrived",
        denied.received.len()
    );
}

/// In a table of another size a conversation lies elsewhere, and who opened it says nothing meanwhile.
#[test]
fn conversations_are_carried_over_to_a_table_of_another_size() {
    require_tcx();
    let roomy = DEFAULT_CONFIG.replace("[datapath]\n", "[datapath]\nconversations = 1000000\n");
    let mut town = Town::build_with("upgrade-room", &roomy);
    town.daemon.apply(&format!("{POLICY}{WITH_RULE}"));
    let connections = [town.db.ipv4(), town.db.ipv6()]
        .map(|db| Connection::open(&town.web, &town.db, SocketAddr::new(db, 7000)).unwrap());
    downgrade(&mut town);
    for connection in &connections {
        (&connection.server).write_all(b"!").unwrap();
        assert!(hears(&connection.client, DUE), "the earlier version does not know who opened it");
    }
}

#[track_caller]
fn assert_whole(name: &str, stream: Stream) {
    let report = stream.finish();
    assert!(report.sent > 1000, "{name}: only {} packets were sent", report.sent);
    assert_eq!(report.lost().len(), 0, "{name}: lost {:?} of {}", report.lost(), report.sent);
    assert_eq!((report.duplicated, report.reordered), (0, 0), "{name}");
}

#[test]
fn totals_endpoints_and_the_policy_come_along() {
    require_tcx();
    let mut town = Town::build_with("upgrade-totals", ROOMY_CONFIG);
    town.daemon.apply(POLICY);
    assert!(!tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT));
    let (denied, networks) = (town.daemon.dropped("default-deny"), town.daemon.json(&["networks"]));
    let before = town.daemon.json(&["status"]);
    let endpoints = town.daemon.json(&["endpoints"]);
    assert!(denied > 0);
    downgrade(&mut town);
    assert!(!tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT), "counted by the earlier version");
    town.daemon.start_again();
    assert!(town.daemon.dropped("default-deny") > denied, "its drops are in the same totals");
    let after = town.daemon.json(&["status"]);
    assert_eq!(after["digest"], before["digest"]);
    assert!(after["passed"]["packets"].as_u64() >= before["passed"]["packets"].as_u64());
    let total = |networks: &Value| networks[0]["packets"].as_u64().unwrap();
    assert!(total(&town.daemon.json(&["networks"])) >= total(&networks));
    let ids = |endpoints: &Value| -> Vec<Value> {
        endpoints.as_array().unwrap().iter().map(|endpoint| endpoint["id"].clone()).collect()
    };
    assert_eq!(ids(&town.daemon.json(&["endpoints"])), ids(&endpoints), "counters keep their meaning");
}

#[test]
fn the_early_guard_is_replaced_too() {
    require_tcx();
    let mut town = Town::governed("upgrade-guard");
    town.daemon.configure(&format!("{DEFAULT_CONFIG}[guard]\nmatch = [\"{}\"]\n", town.web.interface()));
    town.daemon.restart();
    let guards = |town: &Town| town.daemon.json(&["status"])["guards"].as_array().unwrap().len();
    assert_eq!(guards(&town), 1);
    let stream = Numbered::new(&town.web, &town.api, town.api.ipv4()).rate(2000).start();
    downgrade(&mut town);
    town.daemon.start_again();
    assert_whole("guarded", stream);
    assert_eq!(guards(&town), 1);
}

#[test]
fn upgrading_needs_no_daemon() {
    require_tcx();
    let mut town = Town::governed("upgrade-verb");
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), in_host_file(DEFAULT_CONFIG)).unwrap();
    let upgrade = ["upgrade", "--if-needed", "--config", config.path().to_str().unwrap()];
    let idle = town.daemon.cli(&upgrade);
    assert!(idle.status.success() && idle.stdout.is_empty(), "{idle:?}");
    let earlier = downgrade(&mut town);
    let output = town.daemon.cli(&upgrade);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "table layout 3 -> 4: this version's programs run at 4 endpoints\n");
    assert_runs_none_of(&town, &earlier, "upgraded");
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT));
}

/// What the unit does with root's capabilities, for the daemon has fewer: it could not read a bank's tables.
#[test]
fn tables_of_another_kind_are_made_before_the_daemon_starts() {
    require_tcx();
    let mut town = Town::governed("upgrade-kind");
    let digest = town.daemon.json(&["status"])["digest"].clone();
    let stream = Numbered::new(&town.web, &town.api, town.api.ipv4()).rate(2000).start();
    let mut kinds = ["kernel", "own"];
    if of_this_run() == TableKind::Kernel {
        kinds.reverse();
    }
    for kind in kinds {
        town.daemon.stop();
        let config = DEFAULT_CONFIG.replace("flows = 32768", &format!("tables = \"{kind}\"\nflows = 32768"));
        town.daemon.configure(&config);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &config).unwrap();
        let upgrade = ["upgrade", "--if-needed", "--config", file.path().to_str().unwrap()];
        let output = town.daemon.cli(&upgrade);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("this version's programs run at 4 endpoints"), "{kind}: {text}");
        assert!(
            tcp(&town.web, town.api.ipv4(), ECHO_PORT) && !tcp_soon(&town.web, town.db.ipv6(), ECHO_PORT),
            "{kind}"
        );
        let idle = town.daemon.cli(&upgrade);
        assert!(idle.status.success() && idle.stdout.is_empty(), "{kind}: {idle:?}");
        town.daemon.start_again();
        let status = town.daemon.json(&["status"]);
        assert_eq!((&status["digest"], &status["repairs"]), (&digest, &Value::from(0)), "{kind}: {status}");
        town.daemon.apply(&format!("{POLICY}\n[network.other]\nprefixes = [\"192.0.2.0/24\"]\n"));
        town.daemon.apply(POLICY);
    }
    assert_whole("while tables are replaced", stream);
}

#[test]
fn an_upgrade_that_was_killed_half_way_is_finished_by_the_next() {
    require_tcx();
    let mut town = Town::governed("upgrade-killed");
    downgrade(&mut town);
    let pins = Pins::new(town.daemon.bpffs());
    // What a killed migration leaves: a directory that is not complete, or links that were not replaced yet.
    fs::create_dir(town.daemon.bpffs().join(format!("maps-v{ABI_VERSION}-new"))).unwrap();
    town.daemon.start_again();
    assert_eq!(versions(&town), [ABI_VERSION]);
    assert!(pins.ours().iter().all(|path| !path.to_string_lossy().contains("-new")), "{:?}", pins.ours());
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT) && !tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT));
}

/// No daemon was there to end it, and the earlier version could not.
#[test]
fn of_a_trial_that_is_over_its_fallback_is_taken_along() {
    const TRIAL: Duration = Duration::from_secs(5);
    require_tcx();
    let mut town = Town::governed("upgrade-trial");
    let before = town.daemon.json(&["status"])["digest"].clone();
    let policy = POLICY.replace("[network.green]", "[network.verdant]");
    let applied = town.daemon.cli_with_input(&["apply", "-", "--confirm", "5s"], &policy);
    assert!(applied.status.success(), "{applied:?}");
    town.daemon.stop();
    thread::sleep(TRIAL);
    let output = town.daemon.cli(&["upgrade", "--to", &earlier::VERSION.to_string()]);
    assert!(output.status.success(), "{output:?}");
    earlier::take_over(&town.daemon.bpffs());
    town.daemon.start_again();
    assert_eq!(town.daemon.json(&["status"])["digest"], before);
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT) && !tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT));
}

/// Who names another socket finds no daemon there, but its tables are the running one's.
#[test]
fn nobody_acts_in_the_place_of_a_daemon_that_runs() {
    let mut town = Town::governed("upgrade-place");
    let elsewhere = tempfile::tempdir().unwrap();
    let socket = elsewhere.path().join("other.sock");
    for verb in [&["upgrade", "--to", "3"][..], &["rollback"], &["confirm"], &["clean"]] {
        let args = [verb, &["--socket", socket.to_str().unwrap()]].concat();
        let output = town.daemon.cli(&args);
        assert!(!output.status.success(), "{verb:?} was done: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("another enforcer holds the tables"), "{verb:?}: {text}");
    }
    assert_eq!(versions(&town), [ABI_VERSION]);
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT) && !tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT));
    town.daemon.restart();
}

#[test]
fn what_cannot_be_taken_over_or_given_back_is_said() {
    let mut town = Town::governed("upgrade-refused");
    let told = |town: &Town, args: &[&str]| {
        let output = town.daemon.cli(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let running = told(&town, &["upgrade", "--to", "3"]);
    assert!(running.contains("stop the daemon first") && running.contains("another enforcer"), "{running}");
    town.daemon.stop();
    let unknown = told(&town, &["upgrade", "--to", "2"]);
    assert!(unknown.contains("versions 3 to 4"), "{unknown}");
    town.daemon.start_again();
    let policy = POLICY.replace("[network.green]", "[network.verdant]");
    let applied = town.daemon.cli_with_input(&["apply", "-", "--confirm", "600s"], &policy);
    assert!(applied.status.success(), "{applied:?}");
    town.daemon.stop();
    let unconfirmed = told(&town, &["upgrade", "--to", "3"]);
    assert!(unconfirmed.contains("generation 2 awaits confirmation"), "{unconfirmed}");
    let newer = town.daemon.bpffs().join("maps-v9");
    fs::rename(town.daemon.bpffs().join(format!("maps-v{ABI_VERSION}")), &newer).unwrap();
    let refused = told(&town, &["run", "--once"]);
    assert!(refused.contains("are of version 9"), "{refused}");
    fs::rename(&newer, town.daemon.bpffs().join(format!("maps-v{ABI_VERSION}"))).unwrap();
    town.daemon.start_again();
}
