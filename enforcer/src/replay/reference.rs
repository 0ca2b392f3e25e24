//! The reference evaluator as a judge.

use enforcer_common::verdict::{DropReason, Verdict};
use ipnet::IpNet;

use super::{Cast, Judge, Opinion, Sighting};
use crate::policy::{
    Policy,
    oracle::{self, Answer, Arrival, By, Endpoint, Memory, Stamp, Why, World},
};

/// The policy, evaluated as it is worded.
pub struct Reference {
    world: World,
    memory: Memory,
}

impl Reference {
    /// A host with these endpoints under this policy.
    pub fn new(policy: Policy, cast: &Cast) -> Self {
        let endpoint = |(name, address): (&str, _)| Endpoint {
            name: name.to_owned(),
            addresses: vec![IpNet::from(address)],
            ..Endpoint::default()
        };
        let mut world = World {
            endpoints: cast.endpoints().map(endpoint).collect(),
            host: cast.host().iter().map(|&address| IpNet::from(address)).collect(),
            ..World::default()
        };
        world.apply(policy);
        Self { world, memory: Memory::default() }
    }
}

impl Judge for Reference {
    fn judge(&mut self, sighting: &Sighting) -> anyhow::Result<Option<Opinion>> {
        let Sighting { hook, endpoint, frame, stamp, locally_generated, now } = *sighting;
        let stamp = Stamp::of(stamp);
        let arrival = Arrival { hook, endpoint, frame, stamp, locally_generated, now };
        Ok(Some(opinion(oracle::judge(&self.world, &mut self.memory, &arrival))))
    }
}

fn opinion(answer: Answer) -> Opinion {
    let (verdict, why, by) = match answer {
        Answer::Pass { reason, by } => (Verdict::Pass(reason), None, by),
        Answer::Drop { why, by } => (Verdict::Drop(any_of(why)), Some(why), by),
        Answer::WouldDrop { why, by } => (Verdict::WouldDrop(any_of(why)), Some(why), by),
    };
    let mut opinion = Opinion::exactly(verdict);
    if why == Some(Why::Malformed) {
        let reasons = [DropReason::Truncated, DropReason::BadHeader, DropReason::ExtensionHeaders];
        opinion.reasons = reasons.map(|reason| reason.slug().to_owned()).into();
    }
    let by = match by {
        By::Nothing => None,
        By::Network(network) => Some(network.to_string()),
        By::Rule(rule) => Some(rule.to_string()),
    };
    Opinion { by, ..opinion }
}

/// One of the reasons that it stands for.
const fn any_of(why: Why) -> DropReason {
    match why {
        Why::Exactly(reason) => reason,
        Why::Malformed => DropReason::Truncated,
    }
}
