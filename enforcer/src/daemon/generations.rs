//! Which policy generation decides, what it falls back to, and where the next one goes: pure.
//!
//! What the kernel holds is the truth; this is a copy of it. A generation is built in a bank and recorded in
//! a slot that no packet can be reading: not those of what is published, of its fallback, or of what was
//! published until just now.

use enforcer_common::{
    control::{ControlWord, Generation},
    limits::{BANKS, GENERATION_SLOTS},
};

/// Generation records, by slot.
pub type Records = [Generation; GENERATION_SLOTS as usize];

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Generations {
    records: Records,
    published: ControlWord,
    /// What was published before: packets may still be on their way through it.
    replaced: ControlWord,
}

/// Where the next generation goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its word, confirmed.
    pub word: ControlWord,
    /// Its bank.
    pub bank: u32,
}

impl Generations {
    /// Takes over what the kernel holds.
    pub const fn adopt(published: ControlWord, records: Records) -> Self {
        Self { records, published, replaced: ControlWord(0) }
    }

    /// The word that decides at `now` (`CLOCK_BOOTTIME`, ns).
    pub const fn in_force(&self, now: u64) -> ControlWord {
        self.record(self.published).in_force(self.published, now)
    }

    /// The record of what decides at `now`; number 0 before the first policy.
    pub fn deciding(&self, now: u64) -> Generation {
        let word = self.in_force(now);
        if word.generation() == 0 { Generation::default() } else { *self.record(word) }
    }

    /// The published generation while it awaits confirmation, also beyond its deadline.
    pub const fn unconfirmed(&self) -> Option<&Generation> {
        if self.published.is_unconfirmed() { Some(self.record(self.published)) } else { None }
    }

    /// What is published.
    pub const fn published(&self) -> ControlWord {
        self.published
    }

    /// The last confirmed generation: what the next one falls back to.
    pub fn confirmed(&self) -> ControlWord {
        self.unconfirmed().map_or(self.published, |record| record.fallback)
    }

    /// Where the next generation goes; its number is above every one in the kernel and above `floor`.
    pub fn next(&self, floor: u64) -> Place {
        let newest = self.records.iter().map(|record| record.number).max().unwrap_or(0);
        self.again(newest.max(floor) + 1)
    }

    /// Where a generation goes that is built again.
    pub fn again(&self, number: u64) -> Place {
        let is_idle = |bank: &u32| self.in_use().all(|word| self.record(word).bank != *bank);
        let bank = (0..BANKS).find(is_idle);
        // What was published just now shares its bank with what is, or falls back to what is in use anyway.
        let bank = bank.expect("there are more banks than generations in use");
        Place { word: ControlWord::new(number, self.slot(None)), bank }
    }

    /// Where the record of what is published goes when it comes to fall back to `fallback`.
    pub fn moved(&self, fallback: ControlWord) -> ControlWord {
        ControlWord::new(self.published.generation(), self.slot(Some(fallback)))
    }

    fn slot(&self, beside: Option<ControlWord>) -> u32 {
        let is_free = |slot: &u32| self.in_use().chain(beside).all(|word| word.slot() != *slot);
        let oldest = |slot: &u32| self.records[*slot as usize].number;
        let slot = (0..GENERATION_SLOTS).filter(is_free).min_by_key(oldest);
        slot.expect("there are more slots than generations in use")
    }

    /// Records in use that are not as they were written: slot, and what was written.
    pub fn damaged(&self, found: &Records) -> impl Iterator<Item = (u32, Generation)> {
        let slots = self.in_use().map(ControlWord::slot);
        let damaged = slots.filter(|slot| found[*slot as usize] != self.records[*slot as usize]);
        damaged.map(|slot| (slot, self.records[slot as usize])).collect::<Vec<_>>().into_iter()
    }

    /// What a packet may be reading, or come to read.
    fn in_use(&self) -> impl Iterator<Item = ControlWord> {
        let fallback = |word: ControlWord| self.record(word).fallback;
        let replaced = self.replaced;
        // Whoever read it just now may find that its time is up.
        let before = if replaced.is_unconfirmed() { fallback(replaced) } else { replaced };
        let words = [self.published, fallback(self.published), replaced, before];
        words.into_iter().filter(|word| word.generation() != 0)
    }

    /// A record was written.
    pub fn recorded(&mut self, slot: u32, record: Generation) {
        self.records[slot as usize] = record;
    }

    /// A word was published.
    pub fn publish(&mut self, word: ControlWord) {
        if word.confirmed() != self.published.confirmed() {
            self.replaced = self.published;
        }
        self.published = word;
    }

    /// The record of a word.
    pub const fn record(&self, word: ControlWord) -> &Generation {
        &self.records[word.slot() as usize % GENERATION_SLOTS as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publishes a next generation, with a deadline or without.
    fn apply(generations: &mut Generations, deadline: Option<u64>) -> Place {
        let place = generations.next(0);
        let record = Generation {
            number: place.word.generation(),
            bank: place.bank,
            fallback: generations.confirmed(),
            deadline: deadline.unwrap_or(0),
            ..Generation::default()
        };
        generations.recorded(place.word.slot(), record);
        generations.publish(if deadline.is_some() { place.word.unconfirmed() } else { place.word });
        place
    }

    #[test]
    fn nothing_decides_before_the_first_generation() {
        let generations = Generations::default();
        assert_eq!(generations.deciding(5), Generation::default());
        assert_eq!(generations.next(0).word.generation(), 1);
        assert_eq!(generations.next(41).word.generation(), 42);
    }

    #[test]
    fn an_unconfirmed_first_generation_falls_back_to_nothing() {
        let mut generations = Generations::default();
        apply(&mut generations, Some(100));
        assert_eq!((generations.deciding(99).number, generations.deciding(100).number), (1, 0));
    }

    #[test]
    fn what_is_tried_after_what_was_refused_falls_back_to_the_last_confirmed() {
        let mut generations = Generations::default();
        apply(&mut generations, None);
        apply(&mut generations, Some(100));
        apply(&mut generations, Some(200));
        assert_eq!(generations.deciding(150).number, 3);
        assert_eq!(generations.deciding(200).number, 1);
    }

    #[test]
    fn no_bank_and_no_slot_in_use_is_ever_written() {
        let mut generations = Generations::default();
        for round in 0..200_u64 {
            let before = generations.clone();
            let place = apply(&mut generations, (round % 3 != 0).then_some(u64::MAX));
            for word in before.in_use() {
                assert_ne!(word.slot(), place.word.slot(), "round {round}");
                assert_ne!(before.record(word).bank, place.bank, "round {round}");
            }
            assert_eq!(place.word.generation(), round + 1, "numbers are never reused");
            match round % 5 {
                0 => generations.publish(generations.published().confirmed()),
                1 => generations.publish(generations.confirmed()),
                _ => {}
            }
        }
    }
}
