//! The generations of this host: what decides, and what can be gone back to.

use std::time::{Duration, UNIX_EPOCH};

use super::View;
use crate::{
    daemon::{
        disk::Disk,
        store::{Saved, Store, read},
    },
    report::{GenerationReport, digest_text},
};

impl View<'_> {
    /// Every generation that is kept, newest first; one that awaits confirmation first of all, and one that decides without
    /// the disk having been told.
    pub fn generations(&self, store: &Store<impl Disk>) -> anyhow::Result<Vec<GenerationReport>> {
        let deciding = self.tables.generation()?;
        let seconds_left = self.tables.seconds_left()?;
        let number = deciding.map_or(0, |record| record.number);
        let fallback = deciding.filter(|_| seconds_left.is_some()).map(|record| record.fallback.generation());
        let state = |saved: &Saved| match saved.number {
            of if of == number && seconds_left.is_some() => "unconfirmed",
            of if of == number => "active",
            of if Some(of) == fallback => "fallback",
            _ => "kept",
        };
        let left = |saved: &Saved| seconds_left.filter(|_| saved.number == number);
        let kept: Vec<Saved> = store.history(None)?.filter_map(|saved| read(saved.map(Some))).collect();
        let is_kept = kept.iter().any(|saved| saved.number == number);
        let pending = if is_kept { None } else { read(store.pending(number)) };
        let all = pending.iter().chain(&kept);
        Ok(all.map(|saved| report(saved, state(saved), left(saved))).collect())
    }
}

fn report(saved: &Saved, state: &str, seconds_left: Option<u64>) -> GenerationReport {
    let applied_at = UNIX_EPOCH + Duration::from_secs(saved.applied_at);
    GenerationReport {
        generation: saved.number,
        state: state.to_owned(),
        applied_at: humantime::format_rfc3339_seconds(applied_at).to_string(),
        seconds_left,
        digest: digest_text(&saved.policy.digest()),
        networks: saved.policy.networks.len(),
        groups: saved.policy.groups.len(),
        rules: saved.policy.rules.len(),
    }
}
