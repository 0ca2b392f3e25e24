//! A daemon that dies in the middle of an apply: the kernel has the old policy or the new one, and the next daemon
//! goes on with that.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use enforcer::daemon::store::Store;
use enforcer::policy::{Policy, Source};
use enforcer::report::digest_text;
use enforcer_tests::traffic::{ECHO_PORT, Probe, Protocol};
use enforcer_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use serde_json::Value;

use crate::town::Town;

/// How often the daemon is killed, in each of four tests.
const ROUNDS: usize = 50;
/// How long an answer may take that has to come.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer is waited for that must not come; it would take a fraction of a millisecond.
const DENIAL: Duration = Duration::from_millis(25);
/// Prefixes that make an apply long enough to be met in the middle.
const BALLAST: u32 = 1000;

/// Whom web shares its network with: one of two, never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Friend {
    Api,
    Db,
}

impl Friend {
    const BOTH: [Self; 2] = [Self::Api, Self::Db];

    fn other(self) -> Self {
        if self == Self::Api { Self::Db } else { Self::Api }
    }

    fn policy(self) -> String {
        let subnet = if self == Self::Api { 2 } else { 3 };
        let ballast: Vec<_> =
            (0..BALLAST).map(|n| format!("10.{}.{}.0/24", 100 + (n >> 8), n & 255)).collect();
        format!(
            "version = 1\n[network.friends]\nprefixes = [\"10.1.0.0/24\", \"2001:db8:1::/64\", \
             \"10.{subnet}.0.0/24\", \"2001:db8:{subnet}::/64\"]\n[network.ballast]\nprefixes = {ballast:?}\n"
        )
    }

    fn digest(self) -> String {
        let source = Source { name: "friend.toml".to_owned(), text: self.policy() };
        digest_text(&Policy::parse(&[source]).unwrap().digest())
    }

    fn addresses(self, town: &Town) -> [IpAddr; 2] {
        let workload = if self == Self::Api { &town.api } else { &town.db };
        [workload.ipv4(), workload.ipv6()]
    }
}

/// Whose policy has this digest.
fn friend_of(digest: &str) -> Friend {
    static DIGESTS: LazyLock<[String; 2]> = LazyLock::new(|| Friend::BOTH.map(Friend::digest));
    let known = Friend::BOTH.into_iter().zip(&*DIGESTS).find(|(_, known)| *known == digest);
    let known = known.map(|(friend, _)| friend);
    known.unwrap_or_else(|| panic!("{digest} is neither the old policy's digest nor the new one's"))
}

/// The friend that the kernel's policy says, with the daemon or without.
fn in_kernel(town: &Town) -> Friend {
    friend_of(town.daemon.json(&["status"])["digest"].as_str().unwrap())
}

/// Asks both, over both families; panics unless exactly the friend answers.
fn assert_only(friend: Friend, town: &Town, when: &str) {
    let ask = |to, patience| {
        let protocol = Protocol::Udp(ECHO_PORT);
        Probe { from: town.web.netns(), to, protocol }.is_answered(patience)
    };
    let denied = town.daemon.dropped("default-deny");
    thread::scope(|scope| {
        let questions = [(friend, PATIENCE, true), (friend.other(), DENIAL, false)];
        let asked: Vec<_> = questions
            .into_iter()
            .flat_map(|(whom, patience, expected)| {
                whom.addresses(town).map(|to| (to, expected, scope.spawn(move || ask(to, patience))))
            })
            .collect();
        for (to, expected, answered) in asked {
            let answered = answered.join().unwrap();
            assert_eq!(answered, expected, "{when}: web asks {to} under the policy of {friend:?}");
        }
    });
    // Not only late, but denied.
    wait::until("the other's questions are dropped", PATIENCE, || {
        (town.daemon.dropped("default-deny") >= denied + 2).then_some(())
    });
}

#[rstest]
fn a_daemon_killed_during_an_apply_leaves_the_old_policy_or_the_new_one(
    #[values("first", "second", "third", "fourth")] quarter: &str,
) {
    let mut town = Town::build(quarter);
    town.daemon.apply(&Friend::Api.policy());
    let started = Instant::now();
    town.daemon.apply(&Friend::Db.policy());
    // How long after the start of the command the daemon is killed at most. It follows what the rounds meet: a daemon
    // just started takes longer over an apply than one at rest, and no machine is as fast all the time.
    let mut reach = started.elapsed() * 5 / 4;
    let store = Store::new(PathBuf::from(&town.daemon.environment()[2].1));
    let (mut kept, mut replaced, mut promoted) = (0, 0, 0);
    let mut old = Friend::Db;
    // Fewer where each takes seconds, and still enough to meet both ends.
    let rounds = if wait::slowness() == 1 { ROUNDS } else { ROUNDS / 3 };
    for round in 0..rounds {
        let delay = reach.mul_f64(RandomState::new().hash_one(round) as f64 / u64::MAX as f64);
        let when = format!("round {round}, killed {delay:?} after the apply");
        kill_during_apply(&mut town, &old.other().policy(), delay);
        let left = in_kernel(&town);
        assert_only(left, &town, &when);
        assert_explained(left, &town);
        let last_good = || friend_of(&digest_text(&store.last_good().unwrap().unwrap().policy.digest()));
        promoted += usize::from(last_good() != left);
        town.daemon.start_again();
        assert_eq!(in_kernel(&town), left, "{when}: not the policy that decided");
        assert_eq!(last_good(), left, "{when}: not what a reboot would bring back");
        assert_only(left, &town, &format!("{when}, and started again"));
        assert_explained(left, &town);
        kept += usize::from(left == old);
        replaced += usize::from(left != old);
        reach = if left == old { reach * 6 / 5 } else { reach * 5 / 6 };
        old = left;
    }
    println!(
        "{kept} kept the old policy, {replaced} had the new one; {promoted} of these were saved by the next daemon"
    );
    assert!(
        kept > 0 && replaced > 0,
        "never met in the middle: {kept} old, {replaced} new, at last up to {reach:?}"
    );
}

#[test]
fn a_daemon_that_died_before_its_disk_was_told_leaves_what_decides() {
    let mut town = Town::build("untold");
    for friend in Friend::BOTH {
        town.daemon.apply(&friend.policy());
    }
    town.daemon.kill();
    let state = PathBuf::from(&town.daemon.environment()[2].1);
    let store = Store::new(state.clone());
    let newest_two = store.generations().unwrap();
    let [deciding, before] = newest_two[..2] else { unreachable!("two were asked for") };
    let is_behind = || {
        let deciding = format!("{deciding}.json");
        fs::rename(state.join("generations").join(&deciding), state.join("pending").join(&deciding)).unwrap();
        fs::remove_file(state.join("policy.json")).unwrap();
        fs::hard_link(state.join(format!("generations/{before}.json")), state.join("policy.json")).unwrap();
    };
    let last_good = || store.last_good().unwrap().unwrap().number;
    is_behind();
    assert_explained(Friend::Db, &town);
    let listed = town.daemon.json(&["generations"]);
    let newest = listed.as_array().unwrap().iter().map(|it| (&it["generation"], &it["state"])).next();
    assert_eq!(newest, Some((&deciding.into(), &"active".into())), "{listed}");
    let output = town.daemon.cli(&["rollback", &deciding.to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(last_good(), deciding, "what is answered outlasts a power failure, also without a daemon");
    is_behind();
    town.daemon.start_again();
    assert_eq!(in_kernel(&town), Friend::Db, "the next daemon goes on with what decided");
    assert_eq!(last_good(), deciding);
    assert_explained(Friend::Db, &town);
}

fn kill_during_apply(town: &mut Town, policy: &str, delay: Duration) {
    let pid = Pid::from_raw(town.daemon.pid().unwrap() as i32);
    let daemon = &town.daemon;
    thread::scope(|scope| {
        // Whether it succeeds is what the round is about.
        scope.spawn(|| drop(daemon.cli_with_input(&["apply", "-"], policy)));
        thread::sleep(delay);
        kill(pid, Signal::SIGKILL).unwrap();
    });
    town.daemon.kill();
}

/// What people are told is what packets meet.
fn assert_explained(friend: Friend, town: &Town) {
    for (whom, verdict) in [(friend, "pass"), (friend.other(), "drop")] {
        let to = whom.addresses(town)[0].to_string();
        // A denial is an exit code of its own, too.
        let output = town.daemon.cli(&["explain", "10.1.0.5", &to, "-o", "json"]);
        let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(explained["forward"]["verdict"], verdict, "{whom:?}: {explained}");
    }
}
