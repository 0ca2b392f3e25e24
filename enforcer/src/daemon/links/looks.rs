//! Complete looks, one at a time, and when they are taken. Each has a thread of its own: on a large host it takes long, and
//! what is new cannot wait for it.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::{
    runtime,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

use super::{LinkError, eyes::Eyes};
use crate::{config::Config, daemon::event::Observation};

/// Changes come in bursts; one look serves all that arrive within this time.
const SETTLE: Duration = Duration::from_millis(3);

/// When to try again after a look that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub struct Looks {
    pub config: Arc<Config>,
    /// When the next one is due, if one is wanted.
    wanted: Option<Instant>,
    /// Not before this: whoever does nothing but look hinders those who work.
    rested: Instant,
    under_way: Option<Look>,
    /// The latest one counted for nothing.
    in_vain: bool,
    /// What came or went since the one under way began.
    unsure: BTreeSet<u32>,
    /// Whose workloads were given something since.
    overtaken: BTreeSet<u32>,
    last: Seen,
}

/// A look that is being taken.
struct Look {
    began: Instant,
    /// By which host file.
    config: Arc<Config>,
    /// The kernel could not tell all that happened meanwhile.
    doubtful: bool,
    thread: JoinHandle<Result<Observation, LinkError>>,
}

/// What a look saw, as far as it could be missing in the next one.
#[derive(Clone, Default)]
struct Seen {
    host: BTreeSet<IpNet>,
    interfaces: BTreeSet<u32>,
}

impl Looks {
    /// None was taken yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            wanted: None,
            rested: Instant::now(),
            under_way: None,
            in_vain: false,
            unsure: BTreeSet::new(),
            overtaken: BTreeSet::new(),
            last: Seen::default(),
        }
    }

    /// Something changed.
    pub fn want(&mut self) {
        self.wanted.get_or_insert_with(|| Instant::now() + SETTLE);
    }

    /// An interface came or went; a look under way may show it or not.
    pub fn doubt(&mut self, ifindex: u32) {
        self.last.interfaces.remove(&ifindex);
        self.unsure.insert(ifindex);
    }

    /// A workload was given something that a look under way may not have seen.
    pub fn overtake(&mut self, ifindex: u32) {
        self.overtaken.insert(ifindex);
    }

    /// More came or went than is known: what a look under way has seen counts for nothing. What the one after it sees does:
    /// else none would where that happens all the time.
    pub fn distrust(&mut self) {
        if let Some(look) = &mut self.under_way {
            look.doubtful = !self.in_vain;
        }
    }

    /// Begins one if somebody wants one by now.
    pub fn begin_if_due(&mut self) {
        let due = self.wanted.map(|due| due.max(self.rested));
        if self.under_way.is_none() && due.is_some_and(|due| due <= Instant::now()) {
            self.begin();
        }
    }

    /// Whether the one under way has ended.
    pub fn is_over(&self) -> bool {
        self.under_way.as_ref().is_some_and(|look| look.thread.is_finished())
    }

    /// The next one, when somebody wants one and it is due; nothing is lost when the waiting is given up. `None` of one
    /// that counts for nothing: another is wanted.
    pub async fn next(&mut self) -> Option<Result<Observation, LinkError>> {
        if self.under_way.is_none() {
            let Some(due) = self.wanted else { return pending().await };
            sleep_until(due.max(self.rested)).await;
            self.begin();
        }
        self.end().await
    }

    /// One that begins now, in this thread: capabilities are a thread's own, and may not have been given up yet.
    pub async fn now(&mut self) -> Result<Observation, LinkError> {
        self.unsure.clear();
        self.overtaken.clear();
        let observation = look(self.config.clone(), &self.last).await?;
        Ok(self.remember(observation))
    }

    fn begin(&mut self) {
        self.wanted = None;
        self.unsure.clear();
        self.overtaken.clear();
        let (config, last) = (self.config.clone(), self.last.clone());
        let look = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(LinkError::Socket)?.block_on(look(config, &last))
        };
        let (began, config) = (Instant::now(), self.config.clone());
        self.under_way = Some(Look { began, config, doubtful: false, thread: spawn_blocking(look) });
    }

    /// Waits for the one under way; `None` where it counts for nothing.
    async fn end(&mut self) -> Option<Result<Observation, LinkError>> {
        let look = self.under_way.as_mut()?;
        let outcome = (&mut look.thread).await;
        let now = Instant::now();
        // Half of the time at most.
        self.rested = now + (now - look.began);
        self.in_vain = look.doubtful;
        let is_outdated = !Arc::ptr_eq(&look.config, &self.config);
        self.under_way = None;
        if self.in_vain || is_outdated {
            self.want();
            return None;
        }
        Some(match outcome.map_err(LinkError::Abandoned).flatten() {
            Ok(observation) => Ok(self.remember(observation)),
            Err(error) => {
                self.rested = now + AGAIN;
                self.want();
                Err(error)
            }
        })
    }

    fn remember(&mut self, mut observation: Observation) -> Observation {
        for ifindex in &self.unsure {
            observation.doubt(*ifindex);
        }
        observation.overtaken.clone_from(&self.overtaken);
        let interfaces = observation.veths.keys().chain(observation.uplinks.keys()).copied();
        self.last = Seen { host: observation.host.clone(), interfaces: interfaces.collect() };
        observation
    }
}

/// What seems gone is looked for once more: the kernel may leave things out of a list that changes while it is read, and
/// what is forgotten is not enforced.
async fn look(config: Arc<Config>, last: &Seen) -> Result<Observation, LinkError> {
    let eyes = Eyes::open(config)?;
    let mut observation = eyes.look().await?;
    let is_seen =
        |ifindex: &u32| observation.veths.contains_key(ifindex) || observation.uplinks.contains_key(ifindex);
    if !last.interfaces.iter().all(is_seen) {
        let second = eyes.look().await?;
        observation.host.extend(second.host);
        observation.veths.extend(second.veths);
        observation.uplinks.extend(second.uplinks);
    } else if !last.host.is_subset(&observation.host) {
        observation.host.extend(eyes.host().await?);
    }
    Ok(observation)
}
