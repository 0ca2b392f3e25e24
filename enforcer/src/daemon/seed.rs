//! Conversations that go on already, and should go on where enforcement begins or gets stricter: what the host's
//! connection tracking knows of them is made known to the datapath.

use std::{error::Error, time::Instant};

use enforcer_common::endpoint::EndpointId;
use tracing::{info, warn};

use super::{core::Core, disk::Disk, event::Event, event::Observation, kernel::Kernel, step::State};
use crate::{
    conntrack::{Entry, Owners, Ruling, conversations},
    policy::{self, Capacity},
};

impl<K: Kernel, D: Disk> Core<K, D> {
    /// Called before anything gets stricter: what is going on and may be opened by the policy is made known as
    /// opened, so that its answers pass.
    pub fn seed_conversations(&mut self) {
        self.seed(&owners(&self.state));
    }

    /// The same before anything is attached to at all, for those who will own addresses then. Where an earlier
    /// daemon has attached, the datapath knows better who opened what.
    pub fn seed_first(&mut self, observation: &Observation) {
        if self.state.endpoints.is_empty() {
            let mut soon = self.state.clone();
            soon.step(Event::Observed(observation.clone()));
            self.seed(&owners(&soon));
        }
    }

    fn seed(&mut self, owners: &Owners) {
        let started = Instant::now();
        let Some(saved) = self.policies().saved().cloned() else { return };
        let entries = self.kernel().connections();
        if !entries.iter().any(Entry::goes_on) {
            return;
        }
        let policy = self.state.labels().map(|labels| saved.policy.resolve(&labels));
        let tables =
            policy::compile(policy.as_ref().unwrap_or(&saved.policy), &saved.ids, Capacity::default());
        let tables = match tables {
            Ok(tables) => tables,
            Err(error) => {
                warn!(error = &error as &dyn Error, "nobody knows which conversations go on");
                return;
            }
        };
        let open = conversations(&entries, &Ruling::new(&tables, owners, self.state.config.host.end()));
        let mut seeded = 0;
        for conversation in &open {
            match self.kernel().open_conversation(conversation) {
                Ok(()) => seeded += 1,
                Err(error) => {
                    warn!(%error, "conversations that go on cannot be made known: who answers waits for the next question");
                    break;
                }
            }
        }
        if seeded > 0 {
            let took = started.elapsed();
            info!(seeded, of = entries.len(), ?took, "conversations that connection tracking knows go on");
        }
    }
}

fn owners(state: &State) -> Owners {
    let mut owners = Owners::default();
    for owned in &state.host {
        owners.insert(*owned, EndpointId::HOST);
    }
    for endpoint in state.endpoints.values() {
        for owned in endpoint.owned.keys() {
            owners.insert(*owned, endpoint.id);
        }
    }
    owners
}
