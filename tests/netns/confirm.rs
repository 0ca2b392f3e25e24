//! A policy on trial: kept when it is confirmed, and gone by itself when it is not, whoever runs or does not.

use std::process::Output;
use std::time::{Duration, Instant};

use enforcer::datapath::pins::Pins;
use enforcer::datapath::tables::{Tables, boottime};
use enforcer_tests::traffic::{Conversation, ECHO_PORT, tcp, tcp_soon};
use enforcer_tests::{Numbered, wait};
use serde_json::{Value, json};

use crate::policy_swap::OTHER;
use crate::town::{POLICY, Town};

/// How late the old policy may come back.
const LATENESS: Duration = Duration::from_secs(1);
/// How long a trial takes here.
const TRIAL: &str = "3s";
/// Beyond any deadline here.
const PATIENCE: Duration = Duration::from_secs(10);

impl Town {
    /// Runs `enforcer` with a policy on its standard input, and expects it to be done.
    #[track_caller]
    fn done(&self, args: &[&str], policy: &str) -> String {
        let output = self.daemon.cli_with_input(args, policy);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Expects `enforcer` to refuse, with a text that has this in it.
    #[track_caller]
    fn refused(&self, args: &[&str], policy: &str, part: &str) {
        let output: Output = self.daemon.cli_with_input(args, policy);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(text.contains("error: ") && text.contains(part), "{args:?}: no {part:?} in: {text}");
    }

    fn status(&self, key: &str) -> Value {
        self.daemon.json(&["status"])[key].clone()
    }

    /// Whether the policy in force is [`OTHER`] rather than [`POLICY`].
    #[track_caller]
    fn is_other(&self) -> bool {
        let (db, tool) =
            (tcp_soon(&self.web, self.db.ipv4(), ECHO_PORT), tcp_soon(&self.tool, self.db.ipv4(), ECHO_PORT));
        assert_ne!(db, tool, "web reaches db: {db}, tool reaches db: {tool}: a mixture of two policies");
        db
    }

    /// The deadline that the kernel keeps.
    fn deadline(&self) -> Deadline {
        let tables = Tables::open_pinned(&Pins::new(self.daemon.bpffs())).unwrap();
        let deadline = tables.generation().unwrap().unwrap().deadline;
        // In this order: what happens between the two makes the moment come too early, for which there is patience.
        let now = Instant::now();
        Deadline { boottime: deadline, moment: now + Duration::from_nanos(deadline - boottime()) }
    }
}

/// One moment on two clocks.
struct Deadline {
    boottime: u64,
    moment: Instant,
}

/// A trial that nobody confirms, watched by packets that pass under it, under the old policy, and under both.
fn ends_by_itself(town: &mut Town, before_it_ends: impl FnOnce(&mut Town)) {
    town.done(&["apply", "-", "--confirm", TRIAL], OTHER);
    let deadline = town.deadline();
    let on_trial = Numbered::new(&town.web, &town.db, town.db.ipv4()).rate(2000).start();
    let old = Numbered::new(&town.tool, &town.db, town.db.ipv6()).rate(2000).start();
    let always = Numbered::new(&town.web, &town.api, town.api.ipv4()).rate(1000).start();
    before_it_ends(town);
    let over = deadline.boottime + LATENESS.as_nanos() as u64;
    wait::until("the trial is over", PATIENCE, || (boottime() > over).then_some(()));
    let (on_trial, old, always) = (on_trial.finish(), old.finish(), always.finish());
    let last = on_trial.last.expect("nothing passed that the policy on trial allows");
    let first = old.first.expect("nothing passes that the old policy allows");
    println!(
        "last packet of the trial {:?} after its deadline, first one under the old policy {:?} after it",
        last.saturating_duration_since(deadline.moment),
        first.saturating_duration_since(deadline.moment)
    );
    assert!(last < deadline.moment + LATENESS, "the trial went on for {:?}", last - deadline.moment);
    assert!(first < deadline.moment + LATENESS, "the old policy came {:?} late", first - deadline.moment);
    // The two clocks were read one after the other.
    assert!(first + Duration::from_millis(5) > deadline.moment, "the trial ended before its time");
    assert_eq!(always.lost().len(), 0, "lost {:?} of {}", always.lost(), always.sent);
    assert_eq!((town.status("generation"), town.status("seconds_left")), (json!(1), Value::Null));
}

#[test]
fn a_trial_ends_by_itself() {
    let mut town = Town::governed("trial");
    ends_by_itself(&mut town, |_| {});
    wait::until("the daemon made it final", LATENESS, || {
        town.daemon.log().contains("was not confirmed in time").then_some(())
    });
    town.refused(&["confirm"], "", "nothing awaits confirmation: generation 1 is confirmed");
    assert!(!town.is_other());
}

#[test]
fn a_trial_ends_by_itself_with_the_daemon_dead() {
    let mut town = Town::governed("orphan");
    ends_by_itself(&mut town, |town| town.daemon.kill());
    town.refused(&["confirm"], "", "generation 2 was not confirmed in time: generation 1 decides again");
    town.daemon.start_again();
    assert_eq!(town.status("generation"), 1);
    assert!(!town.is_other());
}

#[test]
fn a_restart_keeps_the_deadline_and_what_was_confirmed_stays() {
    let mut town = Town::governed("patience");
    town.done(&["apply", "-", "--confirm", "60s"], OTHER);
    let deadline = town.deadline().boottime;
    town.daemon.kill();
    assert!(town.status("seconds_left").as_u64().is_some_and(|left| (1..=60).contains(&left)));
    town.daemon.start_again();
    assert_eq!(town.deadline().boottime, deadline);
    let left = town.status("seconds_left").as_u64();
    assert!(left.is_some_and(|left| (1..=60).contains(&left)), "{left:?} seconds left");
    assert!(town.done(&["status"], "").contains("unless `enforcer confirm` comes first"));
    town.done(&["confirm"], "");
    assert_eq!((town.status("generation"), town.status("seconds_left")), (json!(2), Value::Null));
    town.daemon.restart();
    assert_eq!((town.status("generation"), town.status("seconds_left")), (json!(2), Value::Null));
    assert!(town.is_other());
}

#[test]
fn what_was_confirmed_outlives_its_deadline() {
    let town = Town::governed("confirmed");
    town.done(&["apply", "-", "--confirm", TRIAL], OTHER);
    let deadline = town.deadline().boottime;
    // The same policy once more is a confirmation.
    town.done(&["apply", "-"], OTHER);
    let over = deadline + LATENESS.as_nanos() as u64;
    wait::until("the deadline has passed", PATIENCE, || (boottime() > over).then_some(()));
    assert_eq!((town.status("generation"), town.status("seconds_left")), (json!(2), Value::Null));
    assert!(town.is_other());
    assert!(town.done(&["apply", "-"], OTHER).starts_with("unchanged: generation 2"));
    town.refused(&["confirm"], "", "generation 2 is confirmed");
}

#[test]
fn what_replaces_a_trial_falls_back_to_what_was_confirmed_last() {
    let town = Town::governed("second");
    town.done(&["apply", "-", "--confirm", "60s"], OTHER);
    let third = "version = 1\n";
    town.done(&["apply", "-", "--confirm", "60s", "--force"], third);
    assert_eq!(town.status("generation"), 3);
    assert!(!tcp_soon(&town.web, town.api.ipv4(), ECHO_PORT), "nobody shares a network");
    town.done(&["rollback"], "");
    assert_eq!((town.status("generation"), town.status("seconds_left")), (json!(1), Value::Null));
    assert!(!town.is_other());
    let kept = town.daemon.json(&["generations"]);
    assert_eq!(kept.as_array().map(Vec::len), Some(1), "what was never confirmed is no history: {kept}");
}

#[test]
fn rollback_goes_to_the_policy_before_or_to_a_certain_one() {
    let town = Town::governed("back");
    town.refused(&["rollback"], "", "there is no earlier policy to go back to");
    town.daemon.apply(OTHER);
    town.done(&["rollback"], "");
    assert_eq!(town.status("generation"), 3);
    assert!(!town.is_other());
    town.done(&["rollback", "2"], "");
    assert_eq!(town.status("generation"), 4);
    assert!(town.is_other());
    town.refused(&["rollback", "77"], "", "generation 77 is not kept; `enforcer generations` lists");
    assert_eq!(town.status("generation"), 4);
}

#[test]
fn confirm_and_rollback_need_no_daemon() {
    let mut town = Town::governed("offline");
    town.done(&["apply", "-", "--confirm", "60s"], OTHER);
    let listed = |town: &Town| {
        let mut generations = town.daemon.json(&["generations"]);
        for generation in generations.as_array_mut().unwrap() {
            generation.as_object_mut().unwrap().remove("seconds_left");
        }
        generations
    };
    let alive = listed(&town);
    assert_eq!((&alive[0]["state"], &alive[1]["state"]), (&json!("unconfirmed"), &json!("fallback")));
    town.daemon.kill();
    assert_eq!(listed(&town), alive, "the same without a daemon");
    let table = town.done(&["generations"], "");
    assert!(table.starts_with("GENERATION") && table.contains("unconfirmed,"), "{table}");
    town.done(&["confirm"], "");
    assert!(town.is_other());
    assert_eq!(listed(&town)[0]["state"], "active");
    town.done(&["rollback"], "");
    assert!(!town.is_other(), "the earlier policy, as a new generation");
    assert_eq!(town.status("generation"), 3);
    town.daemon.start_again();
    assert_eq!(town.status("generation"), 3);
    assert!(!town.is_other());
    assert_eq!(town.status("repairs"), 0, "what was done without a daemon is nobody's damage");
}

#[test]
fn a_reboot_brings_back_the_last_good_policy_and_not_the_one_on_trial() {
    let mut town = Town::governed("reboot");
    let digest = town.status("digest");
    town.done(&["apply", "-", "--confirm", "10m"], OTHER);
    town.daemon.stop();
    town.daemon.lose_pins();
    town.daemon.start_again();
    town.daemon.wait_ready(&town.interfaces());
    assert_eq!((town.status("digest"), town.status("seconds_left")), (digest, Value::Null));
    assert!(!town.is_other());
}

#[test]
fn history_is_bounded() {
    let town = Town::build("history");
    for _ in 0..10 {
        town.daemon.apply(POLICY);
        town.daemon.apply(OTHER);
    }
    let generations = town.daemon.json(&["generations"]);
    let numbers: Vec<_> = generations.as_array().unwrap().iter().map(|kept| &kept["generation"]).collect();
    assert_eq!(numbers, (5..=20).rev().map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    let files = std::fs::read_dir(town.daemon.state_dir().join("generations")).unwrap().count();
    assert_eq!(files, 16);
    town.refused(&["rollback", "4"], "", "generation 4 is not kept");
}

#[test]
fn ids_and_counters_keep_their_meaning_after_a_trial_with_new_networks() {
    let town = Town::governed("ids");
    let network = |name: &str| town.daemon.json(&["networks", name]);
    let of =
        |found: &Value, key: &str| found.get(key).or_else(|| found[0].get(key)).unwrap().as_u64().unwrap();
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT));
    let blue = network("blue");
    let trial = "[network.a-trial]\nprefixes = [\"10.1.0.0/24\", \"10.3.0.0/24\"]\n";
    town.done(&["apply", "-", "--confirm", "60s"], &format!("{POLICY}{trial}"));
    assert!(tcp(&town.web, town.db.ipv4(), ECHO_PORT));
    let tried = network("a-trial");
    assert!(of(&tried, "packets") > 0);
    town.done(&["rollback"], "");
    town.daemon.apply(&format!("{POLICY}[network.a-later-one]\nprefixes = [\"10.9.0.0/24\"]\n"));
    let later = network("a-later-one");
    assert_ne!(of(&later, "id"), of(&tried, "id"), "an id that has counted for somebody else");
    assert_eq!(of(&later, "packets"), 0);
    let after = network("blue");
    assert_eq!(of(&after, "id"), of(&blue, "id"));
    assert!(of(&after, "packets") >= of(&blue, "packets"), "{after} after {blue}");
}

#[test]
fn a_policy_that_would_cut_too_much_is_refused() {
    let town = Town::governed("cut");
    let mut conversation = Conversation::open(&town.web, town.api.ipv4(), ECHO_PORT).unwrap();
    assert!(conversation.goes_on());
    let without_api = POLICY.replace("\"10.2.0.0/24\", ", "");
    let plan: Value = serde_json::from_str(&town.done(&["plan", "-", "-o", "json"], &without_api)).unwrap();
    let cut = plan["impact"]["cut"].as_array().unwrap();
    let is_ours = |flow: &Value| flow["src"] == "10.1.0.5" && flow["dst"] == "10.2.0.5";
    assert!(cut.iter().any(is_ours), "plan lists {cut:?}");
    town.refused(&["apply", "-", "--max-cut", "0"], &without_api, "tcp from 10.1.0.5 to 10.2.0.5 port 5432");
    assert!(conversation.goes_on());
    let harmless = format!("{POLICY}[network.more]\nprefixes = [\"10.9.0.0/24\"]\n");
    town.done(&["apply", "-", "--max-cut", "0"], &harmless);
    assert!(conversation.goes_on());
    town.done(&["apply", "-", "--max-cut", "9"], &without_api);
    assert!(conversation.is_over());
}

#[test]
fn flows_name_the_policy_that_judged_them() {
    let town = Town::governed("digest");
    let newest = || {
        assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT));
        let flows = town.daemon.json(&["flows", "--src", "10.1.0.5", "--dst", "10.2.0.5"]);
        let newest =
            flows.as_array().unwrap().iter().max_by_key(|flow| flow["last_seen"].to_string()).cloned();
        newest.map(|flow| (flow["generation"].clone(), flow["digest"].clone()))
    };
    for generation in 1..=2 {
        assert_eq!(newest(), Some((json!(generation), town.status("digest"))));
        town.daemon.apply(OTHER);
    }
}
