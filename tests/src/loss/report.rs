//! What a trial cost: a table of figures, and who lost what when.

use std::fmt;

use super::disturbance::Diary;
use super::outcome::{Leg, Outcome};
use super::owners::{BACKLOG, DENIALS, Owners, SOCKETS};
use super::route::Fate;

/// Places of one leg where packets are lost that are told one by one.
const TOLD: usize = 5;

/// One flow of a trial, over.
#[derive(Debug)]
pub struct Flow {
    /// Pair, protocol and family.
    pub name: String,
    /// What had to become of it.
    pub fate: Fate,
    /// What did.
    pub outcome: Outcome,
}

/// All flows, and who else counted.
#[derive(Debug)]
pub struct Report {
    /// The flows.
    pub flows: Vec<Flow>,
    /// What was done meanwhile.
    pub diary: Diary,
    /// What the counters added.
    pub owners: Owners,
}

impl Report {
    /// Everything that should not have been, one line each; empty when all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.flows.iter().flat_map(|flow| flow.faults(&self.diary)).collect();
        let (drops, sent) = (self.owners.of(DENIALS), self.denied());
        if drops != sent {
            faults.push(format!("the enforcer counted {drops} denials of {sent} packets that were denied"));
        }
        faults
    }

    /// Packets that were sent where nothing is allowed: an attempt at a TCP connection is one.
    fn denied(&self) -> u64 {
        self.flows.iter().filter(|flow| flow.fate == Fate::Denied).map(|flow| flow.outcome.sent.count).sum()
    }

    /// Whether all that was lost may have been lost by the machine, which had no room for as much. That shows nothing of the
    /// enforcer, neither good nor bad: the trial is to be repeated.
    pub fn is_machines(&self) -> bool {
        let allowed = || self.flows.iter().filter(|flow| flow.fate == Fate::Allowed);
        let legs = allowed().flat_map(|flow| &flow.outcome.legs);
        let lost: u64 = legs.map(|leg| leg.lost.len() as u64 + leg.segments_lost).sum();
        let in_order =
            allowed().flat_map(|flow| &flow.outcome.legs).all(|leg| leg.is_in_order(self.diary.lapses()));
        let none_leaked = self.flows.iter().filter(|flow| flow.fate == Fate::Denied).all(Flow::is_silent);
        let room = self.owners.of(BACKLOG) + self.owners.of(SOCKETS);
        let counted = self.owners.of(DENIALS) <= self.denied();
        counted && none_leaked && in_order && room > 0 && lost <= room
    }

    /// Panics with everything that is known unless nothing was lost, doubled, reordered or let through.
    #[track_caller]
    pub fn verify(&self) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{}\n{self}", faults.join("\n"));
    }
}

impl Flow {
    fn faults(&self, diary: &Diary) -> Vec<String> {
        let outcome = &self.outcome;
        match self.fate {
            Fate::Denied if outcome.sent.count == 0 => {
                vec![format!("{}: denied, and nothing was sent", self.name)]
            }
            Fate::Denied if self.is_silent() => Vec::new(),
            Fate::Denied => {
                vec![format!("{}: denied, and {} arrived", self.name, outcome.legs[0].arrivals.arrived)]
            }
            Fate::Allowed => outcome.legs.iter().flat_map(|leg| self.faults_of(leg, diary)).collect(),
        }
    }

    fn faults_of(&self, leg: &Leg, diary: &Diary) -> Vec<String> {
        let (name, way) = (&self.name, leg.way);
        let mut faults = Vec::new();
        if leg.arrivals.arrived == 0 {
            faults.push(format!("{name}, {way}: nothing arrived at all"));
        }
        if !leg.is_in_order(diary.lapses()) {
            let (reordered, doubled) = (leg.arrivals.reordered, leg.arrivals.duplicated);
            faults.push(format!("{name}, {way}: {reordered} reordered, {doubled} doubled"));
        }
        if leg.segments_lost > 0 {
            faults.push(format!("{name}, {way}: {} TCP segments lost", leg.segments_lost));
        }
        let runs = runs(&leg.lost);
        for (first, last) in runs.iter().take(TOLD) {
            let when = self.outcome.sent.at(*first).map_or_else(String::new, |time| diary.at(time));
            faults.push(format!("{name}, {way}: lost {first} to {last}, sent {when}"));
        }
        if runs.len() > TOLD {
            faults.push(format!("{name}, {way}: {} lost in {} places in all", leg.lost.len(), runs.len()));
        }
        faults
    }

    fn is_silent(&self) -> bool {
        self.outcome.legs.iter().all(|leg| leg.arrivals.arrived == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32} {:<7} {:>9} {:>9} {:>6} {:>9} {:>7} {:>9} {:>9}",
            "flow", "way", "sent", "arrived", "lost", "reordered", "doubled", "per s", "silence"
        )?;
        for flow in &self.flows {
            let seconds = flow.outcome.sent.duration().as_secs_f64().max(1e-3);
            for leg in &flow.outcome.legs {
                let arrivals = &leg.arrivals;
                let lost =
                    if flow.fate == Fate::Denied { "denied".to_owned() } else { leg.lost.len().to_string() };
                writeln!(
                    f,
                    "{:<32} {:<7} {:>9} {:>9} {lost:>6} {:>9} {:>7} {:>9.0} {:>6} ms",
                    flow.name,
                    leg.way,
                    leg.sent,
                    arrivals.arrived,
                    arrivals.reordered,
                    arrivals.duplicated,
                    leg.sent as f64 / seconds,
                    arrivals.longest_silence.as_millis(),
                )?;
            }
        }
        write!(f, "{}", self.diary)?;
        self.owners.counted().try_for_each(|(name, count)| writeln!(f, "{name:<32} {count:>17} packets"))
    }
}

/// Ascending numbers as runs without a gap, each by its first and last.
fn runs(numbers: &[u64]) -> Vec<(u64, u64)> {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    runs.filter_map(|run| Some((*run.first()?, *run.last()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_place() {
        assert_eq!(runs(&[3, 4, 5, 9, 11, 12]), [(3, 5), (9, 9), (11, 12)]);
        assert_eq!(runs(&[]), []);
    }
}
