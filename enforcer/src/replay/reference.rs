//! The reference evaluator as a judge.

use enforcer_common::{
    event::Hook,
    verdict::{DropReason, Verdict},
};
use ipnet::IpNet;

use super::{Cast, Judge, Opinion, Sighting};
use crate::policy::{
    Policy,
    oracle::{self, Answer, Arrival, Endpoint, Why, World},
};

/// The policy, evaluated as it is worded.
pub struct Reference {
    world: World,
}

impl Reference {
    /// A host with these endpoints under this policy.
    pub fn new(policy: Policy, cast: &Cast) -> Self {
        let endpoint = |(name, address): (&str, _)| Endpoint {
            name: name.to_owned(),
            mac: None,
            addresses: vec![IpNet::from(address)],
        };
        let host = cast.host().iter().map(|&address| IpNet::from(address)).collect();
        let endpoints = cast.endpoints().map(endpoint).collect();
        Self { world: World { policy: Some(policy), endpoints, host, conversations: Vec::new() } }
    }
}

impl Judge for Reference {
    fn judge(&mut self, sighting: &Sighting) -> anyhow::Result<Option<Opinion>> {
        let Sighting { hook, endpoint, frame, stamp, locally_generated, now: _ } = *sighting;
        let answer = oracle::judge(&self.world, &Arrival { hook, endpoint, frame, stamp, locally_generated });
        if locally_generated && hook == Hook::ToEndpoint && matches!(answer, Answer::Pass(_)) {
            self.world.conversations.extend(oracle::opens(frame));
        }
        Ok(Some(opinion(answer)))
    }
}

fn opinion(answer: Answer) -> Opinion {
    match answer {
        Answer::Pass(reason) => Opinion::exactly(Verdict::Pass(reason)),
        Answer::Drop(Why::Exactly(reason)) => Opinion::exactly(Verdict::Drop(reason)),
        Answer::Drop(Why::Malformed) => {
            let reasons = [DropReason::Truncated, DropReason::BadHeader, DropReason::ExtensionHeaders];
            let reasons = reasons.map(|reason| reason.slug().to_owned()).into();
            Opinion { verdict: "drop".to_owned(), reasons, by: None }
        }
    }
}
