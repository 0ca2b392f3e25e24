//! The policy follows what is known of containers: before and after the kernel's facts change.
//!
//! An address must never be a member by what was known of somebody who had it before. So first the policy
//! forgets what holds no longer, then addresses change hands, then it learns what is new.

use enforcer_common::endpoint::EndpointId;
use tracing::warn;

use super::{
    core::Core,
    disk::Disk,
    event::Facts,
    kernel::Kernel,
    op::{Op, Owned},
};
use crate::policy::{Labels, Prefix};

/// What it means that the policy cannot follow.
pub(super) const UNFOLLOWED: &str = "members of networks are not what they should be, and addresses that may be \
                                     theirs are not given to others until they are";

impl<K: Kernel, D: Disk> Core<K, D> {
    /// What holds no longer is forgotten before `ops` give addresses to others. Where the kernel refuses
    /// that, they are not given; the next look tries again.
    pub(super) fn forget_members(&mut self, ops: &mut Vec<Op>) {
        let Some(target) = self.lasting(ops) else { return };
        let outcome = self.policies.follow(self.kernel.policy(), &target);
        // Less may work where that does not.
        let outcome = outcome
            .or_else(|error| self.policies.follow(self.kernel.policy(), &Labels::none()).or(Err(error)));
        match outcome {
            // At once: flows may remember what the same word meant a while ago.
            Ok(true) => self.perform(&[Op::FactsChanged]),
            Ok(false) => {}
            Err(error) => {
                self.tell_unfollowed(&error);
                let before = ops.len();
                ops.retain(|op| !self.moves_labelled(op, &target));
                self.diverged |= ops.len() < before;
            }
        }
    }

    /// What is said of addresses now, and still is after `ops`; `None` if nothing has to be forgotten.
    fn lasting(&self, ops: &[Op]) -> Option<Labels> {
        let is_sure = |prefix: &Prefix| !self.doubtful.contains(&owned(prefix));
        let touched = |prefix: &Prefix| ops.iter().filter_map(Op::owned).any(|op| op.covers(&owned(prefix)));
        let wanted = self.state.labels();
        match (self.policies.resolved(), wanted) {
            (Some(now), wanted) => {
                let lasting = now.common(&wanted.unwrap_or_default()).only(is_sure);
                (lasting != *now).then_some(lasting)
            }
            // What an earlier daemon built may say anything.
            (None, Some(wanted)) => Some(wanted.only(|prefix| is_sure(prefix) && !touched(prefix))),
            // As long as nothing changes hands it says what was known when the last daemon ran.
            (None, None) => {
                if ops.is_empty() {
                    return None;
                }
                let owners = self.state.owned_by();
                let mut inherited = self.inherited.iter().filter(|(_, id)| **id != EndpointId::HOST);
                inherited.any(|(network, id)| !owners.is_wholly(network, *id)).then(Labels::none)
            }
        }
    }

    /// Whether `op` takes or gives an address of which the kernel says more than `target` does. Whoever has it
    /// keeps it then: so the next daemon, too, finds what must not be handed on.
    fn moves_labelled(&self, op: &Op, target: &Labels) -> bool {
        let Some(network) = op.owned() else { return false };
        match self.policies.resolved() {
            Some(now) => now.beyond(target).iter().any(|prefix| {
                let labelled = owned(prefix);
                labelled.covers(&network) || network.covers(&labelled)
            }),
            None => self.policies.depends_on_labels(),
        }
    }

    /// What is new is learned once the kernel knows whose the addresses are.
    pub(super) fn learn_members(&mut self) {
        let Some(wanted) = self.state.labels() else {
            if self.policies.resolved() == Some(&Labels::none()) {
                self.unfollowed = None;
            }
            return;
        };
        let sure = wanted.only(|prefix| !self.doubtful.contains(&owned(prefix)));
        match self.policies.follow(self.kernel.policy(), &sure) {
            Ok(changed) => {
                self.unfollowed = None;
                if changed {
                    self.perform(&[Op::FactsChanged]);
                }
            }
            Err(error) => self.tell_unfollowed(&error),
        }
    }

    /// Once for each reason: it is tried again with all that happens on the host.
    fn tell_unfollowed(&mut self, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if self.unfollowed.as_ref() != Some(&reason) {
            warn!("{UNFOLLOWED}: {reason}");
        }
        self.unfollowed = Some(reason);
    }

    /// What is read back is beyond doubt where it is as it should be.
    pub(super) fn doubt_less(&mut self, facts: &Facts) {
        if !self.doubtful.is_empty() {
            let owners = self.state.owned_by();
            let seen = |network: &Owned| facts.addresses.get(network).map(|owner| owner.endpoint);
            self.doubtful.retain(|network| seen(network) != owners.owner(network));
        }
    }

    /// Whose addresses the kernel sees otherwise than the state does.
    pub(super) fn doubt(&mut self, ops: &[Op], refused: &std::collections::BTreeSet<Owned>) {
        for address in ops.iter().filter_map(Op::owned) {
            if refused.contains(&address) {
                self.doubtful.insert(address);
            } else {
                self.doubtful.remove(&address);
            }
        }
    }
}

fn owned(prefix: &Prefix) -> Owned {
    Owned { address: prefix.address(), bits: prefix.bits() }
}
