//! What somebody orders of the daemon, or in its place, and is told of it.

use std::time::Duration;

use super::{SECOND, World};
use crate::daemon::{
    policies::{Outcome, Policies, Unkept, compile},
    simulator::{
        disk::FakeDisk,
        kernel::FakeKernel,
        ledger::FOR_GOOD,
        pool::{POOL, by_digest},
        trace::Step,
    },
    store::Store,
};

impl World {
    pub(super) fn somebody_orders(&mut self, step: Step) {
        match step {
            Step::Apply { policy, confirm } => self.apply(policy, confirm),
            Step::Confirm { is_alone } => self.confirm(is_alone),
            Step::Rollback { named, is_alone } => self.rollback(named, is_alone),
            _ => {}
        }
    }

    fn apply(&mut self, policy: usize, confirm: Option<u64>) {
        let ids = self.core().policies().ids().clone();
        let prepared = compile(POOL[policy].policy.clone(), &ids).unwrap();
        {
            let mut machine = self.machine.borrow_mut();
            let until = confirm.map_or(FOR_GOOD, |seconds| machine.now + seconds * SECOND);
            machine.ledger.ask(policy, until);
        }
        let outcome = self.core().apply(prepared, confirm.map(Duration::from_secs));
        if let Ok(outcome) = &outcome
            && outcome.deciding.digest != POOL[policy].digest
        {
            self.fail(format!("policy {policy} was applied, and {:?} decides", outcome.deciding));
        }
        self.effects.applies += u32::from(outcome.is_ok());
        self.acknowledge(&outcome);
    }

    fn confirm(&mut self, is_alone: bool) {
        let before = self.machine.borrow().ledger.clone();
        {
            let mut machine = self.machine.borrow_mut();
            let now = machine.now;
            machine.ledger.ask_to_confirm(now);
        }
        let outcome = if is_alone { self.alone(Policies::confirm) } else { self.core().confirm() };
        let is_refused = outcome.as_ref().err().is_some_and(|error| !error.is::<Unkept>());
        if is_refused && !self.faults.is_dead() {
            // Whoever was refused counts on the deadline.
            self.machine.borrow_mut().ledger = before;
        }
        self.effects.confirms += u32::from(outcome.is_ok());
        self.acknowledge(&outcome);
    }

    fn rollback(&mut self, named: bool, is_alone: bool) {
        let store = Store::on(self.disk.spared());
        let kept = store.generations().unwrap();
        {
            let mut machine = self.machine.borrow_mut();
            let policies = kept.iter().filter_map(|number| store.generation(*number).ok()?);
            for saved in policies {
                let policy = by_digest(&saved.policy.digest()).expect("all policies are of the pool");
                machine.ledger.ask(policy, FOR_GOOD);
            }
        }
        let to = kept.last().copied().filter(|_| named);
        let outcome = if is_alone {
            self.alone(|policies, kernel| policies.rollback(kernel, to))
        } else {
            self.core().rollback(to)
        };
        self.acknowledge(&outcome);
    }

    /// Carries out an order while no daemon runs; the next one finds what it left.
    fn alone(
        &mut self,
        order: impl FnOnce(&mut Policies<FakeDisk>, &mut FakeKernel) -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<Outcome> {
        self.replace_process();
        let mut kernel = self.kernel();
        let mut policies = Policies::stand_in(&kernel, Store::on(self.disk.clone()))?;
        order(&mut policies, &mut kernel)
    }

    /// What somebody was told holds from now on; nothing does that the dead said.
    fn acknowledge(&mut self, outcome: &anyhow::Result<Outcome>) {
        let Ok(outcome) = outcome else { return };
        let mut machine = self.machine.borrow_mut();
        let decides = machine.deciding().copied().unwrap_or_default();
        if decides != outcome.deciding {
            drop(machine);
            return self.fail(format!("{:?} was acknowledged, {decides:?} decides", outcome.deciding));
        }
        if outcome.seconds_left.is_none() && !machine.word.is_unconfirmed() {
            let policy = by_digest(&decides.digest);
            machine.ledger.acknowledge(policy);
        }
    }
}
