//! What became of one flow.

use super::pace::Sent;
use super::sequence::Sequence;

/// One direction of a flow, or both where nobody counts in between.
#[derive(Debug, Clone)]
pub struct Leg {
    /// Which: `there`, `back`, or `echoed` for both.
    pub way: &'static str,
    /// How many set out.
    pub sent: u64,
    /// What arrived of them.
    pub arrivals: Sequence,
    /// The numbers that did not.
    pub lost: Vec<u64>,
    /// TCP segments, of data or not, that did not arrive the first time; TCP sends again what matters of them.
    pub segments_lost: u64,
}

/// A flow that is over.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was sent, and when.
    pub sent: Sent,
    /// What became of it, in the order of its way.
    pub legs: Vec<Leg>,
}

impl Outcome {
    /// Of a flow whose other end counts what it sends back.
    pub fn of_both_ends(sent: Sent, there: Sequence, back: Sequence) -> Self {
        let lost_there = there.missing(sent.count).collect();
        let lost_back = back.missing(sent.count).filter(|number| there.has(*number)).collect();
        let answers = there.arrived;
        let there =
            Leg { way: "there", sent: sent.count, arrivals: there, lost: lost_there, segments_lost: 0 };
        let back = Leg { way: "back", sent: answers, arrivals: back, lost: lost_back, segments_lost: 0 };
        Self { sent, legs: vec![there, back] }
    }

    /// The same, with what TCP hides of it: on the way there, and back.
    pub fn with_segments_lost(mut self, lost: [u64; 2]) -> Self {
        for (leg, lost) in self.legs.iter_mut().zip(lost) {
            leg.segments_lost = lost;
        }
        self
    }

    /// Of a flow that is only seen where it began.
    pub fn of_round_trips(sent: Sent, back: Sequence) -> Self {
        let lost = back.missing(sent.count).collect();
        let legs = vec![Leg { way: "echoed", sent: sent.count, arrivals: back, lost, segments_lost: 0 }];
        Self { sent, legs }
    }
}

impl Leg {
    /// Whether everything arrived once, each after the one before, but for so many that others overtook.
    pub fn is_in_order(&self, overtaken: u64) -> bool {
        self.arrivals.reordered <= overtaken && self.arrivals.duplicated == 0
    }
}
