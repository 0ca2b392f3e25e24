//! What was asked of the daemon, and what it promised: which policies may decide.

use super::pool::{POOL, Passes};

/// Of a policy that needs no confirmation.
pub const FOR_GOOD: u64 = u64::MAX;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The last policy that was acknowledged for good.
    pub acknowledged: Option<usize>,
    /// Asked for since: policy and when it ends.
    asked: Vec<(usize, u64)>,
}

impl Ledger {
    /// Somebody asks for a policy.
    pub fn ask(&mut self, policy: usize, until: u64) {
        self.asked.push((policy, until));
    }

    /// Somebody wants to keep what has not ended yet.
    pub fn ask_to_confirm(&mut self, now: u64) {
        for (_, until) in self.asked.iter_mut().filter(|(_, until)| *until > now) {
            *until = FOR_GOOD;
        }
    }

    /// It was promised that this decides from now on.
    pub fn acknowledge(&mut self, policy: Option<usize>) {
        *self = Self { acknowledged: policy, asked: Vec::new() };
    }

    /// What was not confirmed is never heard of again.
    pub fn reboot(&mut self) {
        self.asked.retain(|(_, until)| *until == FOR_GOOD);
    }

    /// Whether the policy may decide.
    pub fn allows(&self, policy: usize, now: u64) -> bool {
        self.policies(now).any(|allowed| allowed == policy)
    }

    /// What may pass at most.
    pub fn passes(&self, now: u64) -> Passes {
        self.policies(now).fold(Passes::default(), |all, policy| all.or(POOL[policy].passes))
    }

    fn policies(&self, now: u64) -> impl Iterator<Item = usize> {
        let asked = self.asked.iter().filter(move |(_, until)| *until > now);
        self.acknowledged.into_iter().chain(asked.map(|(policy, _)| *policy))
    }
}
