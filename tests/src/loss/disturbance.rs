//! What happens to the enforcer while packets are under way, and the diary of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use super::scene::policy;
use crate::command::transcript;
use crate::daemon::Daemon;
use crate::earlier;

/// Something that must cost no packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// The daemon is killed where it stands, and started again.
    Kill,
    /// The daemon is stopped and another program takes over.
    Upgrade(PathBuf),
    /// Tables and programs become those of the earlier layout, and then these again.
    Relayout,
    /// Another policy, by its number, that says the same about everybody who is watched.
    Apply(usize),
    /// The policy of this number on trial, and back again.
    Rollback(usize),
}

impl Disturbance {
    /// Which it is, without its details.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Upgrade(_) => "upgrade",
            Self::Relayout => "downgrade and upgrade of tables",
            Self::Apply(_) => "apply",
            Self::Rollback(_) => "trial and rollback",
        }
    }

    /// Disturbs, and returns when the daemon answers again.
    #[track_caller]
    pub fn strike(&self, daemon: &mut Daemon) {
        match self {
            Self::Kill => {
                daemon.kill();
                daemon.start_again();
            }
            Self::Upgrade(program) => {
                daemon.stop();
                daemon.use_binary(program);
                daemon.start_again();
            }
            Self::Relayout => {
                daemon.stop();
                succeed(&daemon.cli(&["upgrade", "--to", &earlier::VERSION.to_string()]));
                earlier::take_over(&daemon.bpffs());
                daemon.start_again();
            }
            Self::Apply(number) => daemon.apply(&policy(*number)),
            Self::Rollback(number) => {
                let on_trial = ["apply", "-", "--confirm", "10m"];
                succeed(&daemon.cli_with_input(&on_trial, &policy(*number)));
                succeed(&daemon.cli(&["rollback"]));
            }
        }
    }
}

#[track_caller]
fn succeed(output: &Output) {
    assert!(output.status.success(), "{}", transcript(output));
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Upgrade(program) => write!(f, "upgrade to {}", program.display()),
            Self::Relayout => f.write_str("downgrade and upgrade of the tables"),
            Self::Apply(number) => write!(f, "apply of policy {number}"),
            Self::Rollback(number) => write!(f, "trial of policy {number} and rollback"),
        }
    }
}

/// How many of each, in turns.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Times that the daemon is killed.
    pub kills: usize,
    /// Times that another program takes over.
    pub upgrades: usize,
    /// Times that the tables become those of the earlier layout and back.
    pub relayouts: usize,
    /// Policies that are applied.
    pub applies: usize,
    /// Policies that are tried and rolled back.
    pub rollbacks: usize,
}

impl Plan {
    /// All of them, evenly mixed. The programs take turns as the next version.
    pub fn disturbances(self, programs: &[PathBuf]) -> Vec<Disturbance> {
        let kills = (0..self.kills).map(|number| (place(number, self.kills), Disturbance::Kill));
        let upgrades = programs.iter().cycle().take(self.upgrades).enumerate();
        let upgrades = upgrades
            .map(|(number, program)| (place(number, self.upgrades), Disturbance::Upgrade(program.clone())));
        let applies =
            (1..=self.applies).map(|number| (place(number, self.applies), Disturbance::Apply(number)));
        let relayouts =
            (0..self.relayouts).map(|number| (place(number, self.relayouts), Disturbance::Relayout));
        let rollbacks =
            (1..=self.rollbacks).map(|number| (place(number, self.rollbacks), Disturbance::Rollback(number)));
        let mut all: Vec<_> =
            kills.chain(upgrades).chain(relayouts).chain(applies).chain(rollbacks).collect();
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, disturbance)| disturbance).collect()
    }
}

/// Where the one with this number stands among all, in parts of a million.
fn place(number: usize, of: usize) -> usize {
    number * 1_000_000 / of
}

/// How long packets go straight to their receivers while no daemon watches.
const LEASE: Duration = Duration::from_secs(2);

/// What was done when.
#[derive(Debug, Default)]
pub struct Diary {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    kind: &'static str,
    what: String,
    from: Instant,
    to: Instant,
}

impl Diary {
    /// Does something and notes it.
    pub fn note(&mut self, what: &Disturbance, work: impl FnOnce()) {
        let from = Instant::now();
        work();
        self.entries.push(Entry { kind: what.kind(), what: what.to_string(), from, to: Instant::now() });
    }

    /// How often nobody watched the host for so long that packets went by its stack. The stack may keep one, until it knows a
    /// neighbour, when a daemon is back and the next goes straight.
    pub fn lapses(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.to - entry.from > LEASE).count() as u64
    }

    /// What was going on at a time.
    pub fn at(&self, time: Instant) -> String {
        let since =
            |from| format!("{:.1} ms after", time.saturating_duration_since(from).as_secs_f64() * 1e3);
        match self.entries.iter().rfind(|entry| entry.from <= time) {
            None => "before everything".to_owned(),
            Some(entry) if time <= entry.to => {
                let whole: Duration = entry.to - entry.from;
                format!(
                    "{} the start of {}, which took {} ms",
                    since(entry.from),
                    entry.what,
                    whole.as_millis()
                )
            }
            Some(entry) => format!("{} the end of {}", since(entry.to), entry.what),
        }
    }
}

/// A line for each kind of what was done: how often, and the longest it took.
impl fmt::Display for Diary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
        for entry in &self.entries {
            let (times, longest) = kinds.entry(entry.kind).or_default();
            *times += 1;
            *longest = (*longest).max(entry.to - entry.from);
        }
        kinds.iter().try_for_each(|(kind, (times, longest))| {
            writeln!(f, "{kind:<32} {times:>9} times, at most {} ms", longest.as_millis())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_mixes_all_it_has() {
        let plan = Plan { kills: 1, upgrades: 2, relayouts: 1, applies: 4, rollbacks: 1 };
        let all = plan.disturbances(&["a".into(), "b".into()]);
        let named: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(named[..3], ["kill", "upgrade to a", "downgrade and upgrade of the tables"]);
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn the_diary_knows_what_was_going_on() {
        let mut diary = Diary::default();
        let before = Instant::now();
        diary.note(&Disturbance::Kill, || {});
        let entry = &diary.entries[0];
        assert!(diary.at(entry.from).contains("the start of kill"));
        assert!(diary.at(entry.to + Duration::from_millis(5)).starts_with("5.0 ms after the end of kill"));
        assert_eq!(diary.at(before.checked_sub(Duration::from_secs(1)).unwrap()), "before everything");
    }
}
