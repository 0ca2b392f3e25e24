//! What the daemon lives on fails: the disk, the BPF file system, its own file. What is enforced stays enforced.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use enforcer::datapath::pins::Pins;
use enforcer_tests::command::errors;
use enforcer_tests::mounts;
use enforcer_tests::traffic::{ECHO_PORT, tcp, udp, udp_soon};
use enforcer_tests::wait;

use crate::town::{POLICY, Town};

/// How long the daemon may take to find out.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for the policies of these tests, and little more.
const SMALL_DISK: usize = 64 << 10;

/// Everybody shares one network.
const OPEN: &str = "version = 1\n[network.all]\nprefixes = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n";

fn state(town: &Town) -> PathBuf {
    PathBuf::from(&town.daemon.environment()[2].1)
}

fn generation(town: &Town) -> u64 {
    town.daemon.json(&["status"])["generation"].as_u64().unwrap()
}

/// What [`POLICY`] says, asked with packets.
#[track_caller]
fn assert_governed(town: &Town, when: &str) {
    assert!(udp(&town.web, town.api.ipv4(), ECHO_PORT), "{when}: web and api share a network");
    assert!(udp(&town.web, town.api.ipv6(), ECHO_PORT), "{when}: over IPv6, too");
    assert!(!udp_soon(&town.web, town.db.ipv4(), ECHO_PORT), "{when}: web and db share none");
}

#[test]
fn a_full_disk_refuses_the_policy_and_the_old_one_decides() {
    mounts::keep_to_ourselves();
    let town = Town::build("full-disk");
    mounts::small(&state(&town), SMALL_DISK);
    town.daemon.apply(POLICY);
    let files = || -> BTreeSet<PathBuf> {
        let found = [state(&town), state(&town).join("generations")].map(|path| fs::read_dir(path).unwrap());
        found.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let before = files();
    let ballast = state(&town).join("ballast");
    // Written up to the last byte that there is room for.
    assert!(fs::write(&ballast, vec![0; 2 * SMALL_DISK]).is_err(), "the disk is not small");
    let refused = town.daemon.cli_with_input(&["apply", "-"], OPEN);
    let text = errors(&refused);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    let place = state(&town).display().to_string();
    assert!(text.contains("No space left") && text.contains(&place), "{text}");
    assert_eq!(generation(&town), 1);
    assert_governed(&town, "after the refusal");
    fs::remove_file(&ballast).unwrap();
    assert_eq!(files(), before, "something half written is left");
    town.daemon.apply(OPEN);
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT), "there is room again");
}

#[test]
fn a_policy_that_could_not_be_saved_is_not_in_force_after_a_restart() {
    mounts::keep_to_ourselves();
    let mut town = Town::build("unsaved");
    mounts::small(&state(&town), SMALL_DISK);
    town.daemon.apply(POLICY);
    fs::write(state(&town).join("ballast"), vec![0; 2 * SMALL_DISK]).unwrap_err();
    assert!(!town.daemon.cli_with_input(&["apply", "-"], OPEN).status.success());
    town.daemon.kill();
    town.daemon.start_again();
    assert_eq!(generation(&town), 1);
    assert_governed(&town, "after the restart");
}

#[test]
fn with_a_read_only_bpf_file_system_all_stays_enforced_and_new_workloads_are_named() {
    mounts::keep_to_ourselves();
    let mut town = Town::governed("read-only");
    mounts::forbid_writing(&town.daemon.bpffs());
    town.daemon.restart();
    assert_governed(&town, "with nothing to write");
    let late = town.host.workload("late").at("10.1.0.77/24").routed();
    wait::until("the one that cannot be attached to is named", PATIENCE, || {
        let warnings = town.daemon.json(&["status"])["warnings"].to_string();
        warnings.contains("veth-late could not be attached to: the gate stops what it sends").then_some(())
    });
    assert!(town.daemon.log().contains("Read-only file system"), "{}", town.daemon.log());
    mounts::allow_writing(&town.daemon.bpffs());
    wait::until("nothing is to be warned of any more", PATIENCE, || {
        (town.daemon.json(&["status"])["warnings"] == serde_json::json!([])).then_some(())
    });
    town.daemon.wait_ready(&[late.interface()]);
    assert!(udp(&late, town.api.ipv4(), ECHO_PORT), "a member of blue like web");
    assert!(!udp_soon(&late, town.db.ipv4(), ECHO_PORT));
}

#[test]
fn a_new_host_with_a_read_only_bpf_file_system_says_so() {
    mounts::keep_to_ourselves();
    let mut town = Town::build("new-read-only");
    town.daemon.stop();
    assert!(town.daemon.cli(&["clean"]).status.success());
    mounts::forbid_writing(&town.daemon.bpffs());
    let run = town.daemon.cli(&["run"]);
    let text = errors(&run);
    assert_eq!(run.status.code(), Some(1), "{text}");
    assert!(text.contains("Read-only file system") && text.contains("create"), "{text}");
    mounts::allow_writing(&town.daemon.bpffs());
    let pins = Pins::new(town.daemon.bpffs()).ours();
    assert!(pins.is_empty(), "something is half done: {pins:?}");
}

#[test]
fn a_damaged_policy_file_is_named_with_its_remedy_and_the_kernel_keeps_its_policy() {
    let mut town = Town::governed("damaged");
    for (number, damage) in ["", "{\"policy\": {", "not JSON at all", "{}"].into_iter().enumerate() {
        town.daemon.stop();
        let file = state(&town).join("policy.json");
        fs::write(&file, damage).unwrap();
        town.daemon.start_again();
        let log = town.daemon.log();
        let told = format!("{} is damaged; move it away", file.display());
        assert!(log.matches(&told).count() > number, "after {damage:?}: {log}");
        assert!(log.contains("the kernel goes on with the generation it has"), "{log}");
        assert_eq!(generation(&town), 1, "after {damage:?}");
        assert_governed(&town, "with a damaged file");
    }
    town.daemon.apply(OPEN);
    town.daemon.restart();
    assert_eq!(generation(&town), 2, "the new policy was saved over the damage");
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT));
}
