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
    under_way: Option<(Instant, JoinHandle<Result<Observation, LinkError>>)>,
    /// What came or went since the one under way began.
    unsure: BTreeSet<u32>,
    last: Seen,
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
            unsure: BTreeSet::new(),
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

    /// What a look under way has seen counts for nothing.
    pub fn start_over(&mut self) {
        if self.under_way.take().is_some() {
            self.want();
        }
    }

    /// The next one, when somebody wants one and it is due; nothing is lost when the waiting is given up.
    pub async fn next(&mut self) -> Result<Observation, LinkError> {
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
        let observation = look(self.config.clone(), &self.last).await?;
        Ok(self.remember(observation))
    }

    fn begin(&mut self) {
        self.wanted = None;
        self.unsure.clear();
        let (config, last) = (self.config.clone(), self.last.clone());
        let look = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(LinkError::Socket)?.block_on(look(config, &last))
        };
        self.under_way = Some((Instant::now(), spawn_blocking(look)));
    }

    async fn end(&mut self) -> Result<Observation, LinkError> {
        let Some((began, look)) = &mut self.under_way else { return pending().await };
        let (began, outcome) = (*began, look.await);
        self.under_way = None;
        let now = Instant::now();
        // Half of the time at most.
        self.rested = now + (now - began);
        match outcome.map_err(LinkError::Abandoned).flatten() {
            Ok(observation) => Ok(self.remember(observation)),
            Err(error) => {
                self.rested = now + AGAIN;
                self.want();
                Err(error)
            }
        }
    }

    fn remember(&mut self, mut observation: Observation) -> Observation {
        for ifindex in &self.unsure {
            observation.doubt(*ifindex);
        }
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
