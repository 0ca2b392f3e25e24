//! A policy whose members are told by their containers, followed by who they are: the same generation,
//! built again whenever that changes.
//!
//! The number and the digest stay, bank and slot are others, and so is the word: flows are judged anew. A
//! policy on trial stays on trial, and what it would fall back to is built again first.

use std::sync::Arc;

use anyhow::bail;
use enforcer_common::control::{ControlWord, Generation};
use tracing::debug;

use super::{Policies, PolicyTables, Prepared};
use crate::{
    daemon::{disk::Disk, store::Saved},
    policy::{self, Capacity, Labels, Policy},
};

impl<D: Disk> Policies<D> {
    /// What is known of containers, as it was told last: what the policy means is its resolution by these.
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What the kernel's tables were resolved with, at most; `None` if an earlier daemon built them.
    pub const fn resolved(&self) -> Option<&Labels> {
        self.resolved.as_ref()
    }

    /// Whether what the kernel decides by, or may come to, depends on what is known of containers. Of what is
    /// not saved only its record may say that it does not.
    pub fn depends_on_labels(&self) -> bool {
        let published = self.generations.published();
        let fallback = self.fallback().map(|word| (word, self.saved_as(self.generations.record(word))));
        let mut decisive = std::iter::once((published, self.saved.clone())).chain(fallback);
        published.generation() != 0
            && decisive.any(|(word, saved)| !matches!(self.labelled(word, saved), Ok(None)))
    }

    /// What a generation is built again from when members change; `None` if it has none by what is known of containers.
    fn labelled(&self, word: ControlWord, saved: Option<Arc<Saved>>) -> anyhow::Result<Option<Arc<Saved>>> {
        match saved {
            Some(saved) => Ok(Some(saved).filter(|saved| saved.policy.has_members())),
            None if self.generations.record(word).has_no_labels() => Ok(None),
            None => bail!(
                "generation {} is not saved, so nobody knows who is a member of its networks: `enforcer apply` the \
                 policy again",
                word.generation()
            ),
        }
    }

    /// What a policy on trial would fall back to.
    fn fallback(&self) -> Option<ControlWord> {
        let fallback = self.generations.unconfirmed()?.fallback;
        (fallback.generation() != 0).then_some(fallback)
    }

    /// The policy with the tables that it has on this host, now.
    pub(in crate::daemon) fn resolve(&self, prepared: Prepared) -> anyhow::Result<Prepared> {
        if !prepared.policy.has_members() {
            return Ok(prepared);
        }
        let resolved = prepared.policy.resolve(&self.labels);
        let tables = policy::compile(&resolved, &prepared.ids, Capacity::default())?;
        Ok(Prepared { tables, ..prepared })
    }

    /// A new generation was built with what is known now. Its fallback was built earlier.
    pub(super) fn built(&mut self, on_trial: bool) {
        let has_fallback = on_trial && self.generations.confirmed().generation() != 0;
        if !has_fallback {
            (self.resolved, self.halfway) = (Some(self.labels.clone()), false);
        } else if self.resolved.as_ref() != Some(&self.labels) {
            self.resolved = self.resolved.take().map(|earlier| earlier.or(&self.labels));
            self.halfway = true;
        }
    }

    /// Leaves the kernel with tables that `labels` resolve; whether it had others. An error if it may still
    /// say something else, also because what it decides by is not saved.
    pub fn follow(&mut self, kernel: &mut impl PolicyTables, labels: &Labels) -> anyhow::Result<bool> {
        if self.labels != *labels {
            self.labels.clone_from(labels);
        }
        if self.resolved.as_ref() == Some(labels) && !self.halfway {
            return Ok(false);
        }
        self.expire(kernel)?;
        if self.generations.published().generation() == 0 {
            self.resolved = Some(labels.clone());
            return Ok(false);
        }
        let decisive = self.labelled(self.generations.published(), self.saved.clone())?;
        let beneath = match self.fallback() {
            Some(word) => self.labelled(word, self.saved_as(self.generations.record(word)))?,
            None => None,
        };
        let decisive = decisive.filter(|saved| self.moves(&saved.policy, labels));
        let beneath = beneath.filter(|saved| self.moves(&saved.policy, labels));
        let changes = decisive.is_some() || beneath.is_some();
        if changes {
            // As long as this may fail: the kernel says what either says.
            self.resolved = self.resolved.take().map(|earlier| earlier.or(labels));
            self.halfway = true;
        }
        if let (Some(word), Some(saved)) = (self.fallback(), beneath) {
            self.rebuild_fallback(kernel, word, &saved)?;
        }
        if let Some(saved) = decisive {
            self.rebuild_published(kernel, &saved)?;
        }
        (self.resolved, self.halfway) = (Some(labels.clone()), false);
        Ok(changes)
    }

    /// Whether a policy means other addresses than the kernel was told.
    fn moves(&self, policy: &Policy, labels: &Labels) -> bool {
        let known = self.resolved.as_ref().filter(|_| !self.halfway);
        policy.has_members()
            && known.is_none_or(|resolved| policy.additions(resolved) != policy.additions(labels))
    }

    /// What a policy on trial falls back to is built again. The record that says so is the trial's, which
    /// goes to another slot; its tables stay where they are.
    fn rebuild_fallback(
        &mut self,
        kernel: &mut impl PolicyTables,
        word: ControlWord,
        saved: &Saved,
    ) -> anyhow::Result<()> {
        let published = self.generations.published();
        let trial = *self.generations.record(published);
        let fallback = self.build_again(kernel, word, saved)?;
        let word = self.generations.moved(fallback);
        let record = Generation { fallback, ..trial };
        kernel.write_generation(word.slot(), record)?;
        self.generations.recorded(word.slot(), record);
        self.show(kernel, word.unconfirmed())?;
        Ok(())
    }

    fn rebuild_published(&mut self, kernel: &mut impl PolicyTables, saved: &Saved) -> anyhow::Result<()> {
        let published = self.generations.published();
        let word = self.build_again(kernel, published, saved)?;
        let word = if published.is_unconfirmed() { word.unconfirmed() } else { word };
        self.show(kernel, word)?;
        debug!(generation = word.generation(), "members changed");
        Ok(())
    }

    /// A generation in another bank and another slot; published by nobody yet.
    fn build_again(
        &mut self,
        kernel: &mut impl PolicyTables,
        word: ControlWord,
        saved: &Saved,
    ) -> anyhow::Result<ControlWord> {
        let old = *self.generations.record(word);
        let tables = policy::compile(&saved.policy.resolve(&self.labels), &saved.ids, Capacity::default())?;
        let place = self.generations.again(word.generation());
        kernel.build_bank(place.bank, &tables)?;
        let record = Generation {
            number: old.number,
            applied_at: old.applied_at,
            bank: place.bank,
            fallback: old.fallback,
            deadline: old.deadline,
            maps: kernel.bank_maps(place.bank)?,
            ..tables.generation(old.digest)
        };
        kernel.write_generation(place.word.slot(), record)?;
        self.generations.recorded(place.word.slot(), record);
        Ok(place.word)
    }
}
