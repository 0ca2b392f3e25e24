//! What somebody else broke and was mended, and when to stop fighting: a part of the pure step.

use std::collections::BTreeMap;

use enforcer_common::mode::ModeRecord;

use super::{op::Owned, policies::Damage, step::State};

/// Who mends the same thing in every inspection may be fighting somebody: from this often on it waits longer
/// each time.
const PATIENCE: u32 = 3;

/// The longest wait, in inspections, as a power of two.
const LONGEST_WAIT: u32 = 6;

/// What was mended, and how often.
#[derive(Clone, Debug, Default)]
pub struct Repairs {
    /// Inspections so far.
    inspections: u64,
    /// Repairs so far.
    count: u64,
    /// What was mended of late.
    mended: BTreeMap<Broken, Mended>,
    /// What was mended last.
    last: Option<Broken>,
}

/// Something that was not as it should be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Broken {
    /// The programs of an interface are gone, or are not ours.
    Programs(u32),
    /// The guard of an interface is gone.
    Guard(u32),
    /// The program of an uplink is gone, or its record is another.
    Uplink(u32),
    /// What the host file says of the host as an end.
    Host,
    /// The mode that the host file gives to whoever has this slot.
    Mode(u32),
    /// Whom a stamp stands for behind NAT.
    Sender(u32),
    /// An endpoint's record.
    Endpoint(u32),
    /// The owner of a prefix.
    Address(Owned),
    /// The owners of more prefixes than anybody wants to hear of.
    Addresses,
    /// A part of the policy.
    Policy(Damage),
    /// The gate before new workloads.
    Gate,
}

/// How often something was mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mended {
    /// In a row: it was broken again each time it was looked at.
    pub in_a_row: u32,
    /// The inspection that mended it last.
    last: u64,
    /// The inspection before which it is left as it is.
    not_before: u64,
}

impl Repairs {
    /// None.
    pub const fn new() -> Self {
        Self { inspections: 0, count: 0, mended: BTreeMap::new(), last: None }
    }

    /// The next inspection begins.
    pub(super) fn begin(&mut self) {
        self.inspections += 1;
        // Whole again at the inspection after its wait: nobody is fighting.
        self.mended.retain(|_, mended| self.inspections <= mended.not_before);
    }

    /// Whether to mend it in this inspection; counts it if so.
    pub(super) fn mends(&mut self, broken: &Broken) -> bool {
        let now = self.inspections;
        let known = self.mended.get(broken).copied();
        if known.is_some_and(|mended| now < mended.not_before) {
            return false;
        }
        let in_a_row = known.map_or(1, |mended| mended.in_a_row + 1);
        let wait = 1 << in_a_row.saturating_sub(PATIENCE).min(LONGEST_WAIT);
        self.mended.insert(broken.clone(), Mended { in_a_row, last: now, not_before: now + wait });
        self.count += 1;
        self.last = Some(broken.clone());
        true
    }

    /// What was mended in the last inspection.
    pub fn latest(&self) -> impl Iterator<Item = &Broken> {
        let latest = self.mended.iter().filter(|(_, mended)| mended.last == self.inspections);
        latest.map(|(broken, _)| broken)
    }

    /// What somebody breaks again and again.
    pub fn contested(&self) -> impl Iterator<Item = (&Broken, u32)> {
        let contested = self.mended.iter().filter(|(_, mended)| mended.in_a_row > PATIENCE);
        contested.map(|(broken, mended)| (broken, mended.in_a_row))
    }

    /// Repairs so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// What was mended last.
    pub const fn last(&self) -> Option<&Broken> {
        self.last.as_ref()
    }
}

impl State {
    /// What was broken, for people.
    pub fn describe(&self, broken: &Broken) -> String {
        match broken {
            Broken::Programs(ifindex) => format!("the programs of {}", self.interface(*ifindex)),
            Broken::Guard(ifindex) => format!("the guard of {}", self.interface(*ifindex)),
            Broken::Uplink(ifindex) => format!("the program of the uplink {}", self.interface(*ifindex)),
            Broken::Host => "what the host file says of the host".to_owned(),
            Broken::Mode(ModeRecord::HOST) => "the mode of the host".to_owned(),
            Broken::Mode(slot) => format!("the mode of {}", self.endpoint(*slot)),
            Broken::Sender(stamp) => format!("whom the mark {stamp:#010x} stands for"),
            Broken::Endpoint(ifindex) => format!("the record of {}", self.interface(*ifindex)),
            Broken::Addresses => "the owners of many addresses".to_owned(),
            Broken::Address(network) => format!("the owner of {}", network.text()),
            Broken::Policy(damage) => damage.to_string(),
            Broken::Gate => "the gate".to_owned(),
        }
    }

    fn interface(&self, ifindex: u32) -> String {
        let endpoint = self.endpoints.get(&ifindex).map(|endpoint| endpoint.name.as_str());
        let name = endpoint.or_else(|| self.guards.name(ifindex)).or_else(|| self.uplinks.name(ifindex));
        name.map_or_else(|| format!("interface {ifindex}"), str::to_owned)
    }

    fn endpoint(&self, id: u32) -> String {
        let known = self.endpoints.values().find(|endpoint| endpoint.id.0 == id);
        known.map_or_else(|| format!("endpoint {id}"), |endpoint| endpoint.name.clone())
    }
}
