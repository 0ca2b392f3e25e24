//! What became of a packet, and assertions that explain themselves.

use std::fmt;

use enforcer_common::{
    counter::Counter,
    event::Hook,
    verdict::{DropReason, PassReason, Verdict},
};

use super::Lab;
use crate::packet::Packet;

/// `TC_ACT_UNSPEC`, `TCX_NEXT`: the next program decides.
pub(super) const NEXT_PROGRAM: i32 = -1;
/// `TC_ACT_SHOT`.
const SHOT: i32 = 2;

/// What of a packet that goes on was counted at an earlier hook, or will be at a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CountedBefore {
    Nothing,
    /// A pass.
    Passes,
    /// Whatever goes on.
    All,
}

impl CountedBefore {
    /// From the stamp that the packet brings along to its receiver's hook.
    pub(super) fn by(hook: Hook, stamp: u32) -> Self {
        match (hook, stamp) {
            (Hook::Guard, _) => Self::All,
            (Hook::ToEndpoint, stamp) if [Lab::RELAXED, Lab::DOUBTFUL].contains(&stamp) => Self::All,
            (Hook::ToEndpoint, 1..) => Self::Passes,
            _ => Self::Nothing,
        }
    }

    pub(super) const fn holds(self, verdict: Verdict) -> bool {
        matches!(
            (self, verdict),
            (Self::All, Verdict::Pass(_) | Verdict::WouldDrop(_)) | (Self::Passes, Verdict::Pass(_))
        )
    }
}

/// What the counters say about one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// This reason was counted, and no other.
    As(Verdict),
    /// Nothing was counted: the packet passed, and its sender's hook had counted it.
    CountedBefore,
}

impl Judged {
    /// From the reason counters around one frame, which counts as so many packets.
    #[track_caller]
    pub(super) fn from_counters(
        packets: u64,
        before: &[(Verdict, Counter)],
        after: &[(Verdict, Counter)],
        counted_before: CountedBefore,
    ) -> Self {
        let moved = before.iter().zip(after).filter(|((_, before), (_, after))| before != after);
        let moved: Vec<(Verdict, u64)> =
            moved.map(|((verdict, before), (_, after))| (*verdict, after.packets - before.packets)).collect();
        match moved[..] {
            [(verdict, moved)] if moved == packets && !counted_before.holds(verdict) => Self::As(verdict),
            [] if counted_before != CountedBefore::Nothing => Self::CountedBefore,
            _ => panic!("one frame moved these reason counters: {moved:?}"),
        }
    }

    /// Whether the packet goes on.
    pub const fn is_pass(self) -> bool {
        match self {
            Self::As(verdict) => verdict.is_pass(),
            Self::CountedBefore => true,
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As(verdict) => write!(f, "{} ({})", verdict.name(), verdict.slug()),
            Self::CountedBefore => f.write_str("pass (counted before)"),
        }
    }
}

/// What became of a packet.
pub struct Outcome<'lab> {
    pub(super) lab: &'lab Lab,
    pub(super) hook: Hook,
    pub(super) endpoint: String,
    pub(super) packet: Packet,
    /// What the counters say.
    pub judged: Judged,
    /// The stamp that it carries behind the program.
    pub stamp: u32,
}

#[expect(clippy::return_self_not_must_use, reason = "an assertion may be the last word about a packet")]
impl Outcome<'_> {
    /// It passes for this reason.
    #[track_caller]
    pub fn passes(self, reason: PassReason) -> Self {
        self.is(Judged::As(Verdict::Pass(reason)))
    }

    /// It is dropped for this reason.
    #[track_caller]
    pub fn drops(self, reason: DropReason) -> Self {
        self.is(Judged::As(Verdict::Drop(reason)))
    }

    /// It goes on, although it should be dropped for this reason.
    #[track_caller]
    pub fn would_drop(self, reason: DropReason) -> Self {
        self.is(Judged::As(Verdict::WouldDrop(reason)))
    }

    /// It carries this stamp from here on.
    #[track_caller]
    pub fn bears(self, stamp: u32) -> Self {
        assert_eq!(self.stamp, stamp, "the stamp\n{self}");
        self
    }

    /// It passes where it was counted before.
    #[track_caller]
    pub fn passes_counted_before(self) -> Self {
        self.is(Judged::CountedBefore)
    }

    /// It carries the stamp of `endpoint` from here on.
    #[track_caller]
    pub fn is_stamped_as(self, endpoint: &str) -> Self {
        let expected = self.lab.stamp_of(endpoint);
        assert_eq!(self.stamp, expected, "the stamp of {endpoint}\n{self}");
        self
    }

    /// It carries no stamp.
    #[track_caller]
    pub fn is_not_stamped(self) -> Self {
        assert_eq!(self.stamp, 0, "no stamp\n{self}");
        self
    }

    #[track_caller]
    fn is(self, expected: Judged) -> Self {
        assert!(self.judged == expected, "expected {expected}, seen {}\n{self}", self.judged);
        self
    }

    /// The hook's answer to the kernel says the same as the counters.
    #[track_caller]
    pub(super) fn agrees_with(self, code: i32) -> Self {
        let expected = if self.judged.is_pass() { NEXT_PROGRAM } else { SHOT };
        assert_eq!(code, expected, "the program's return value\n{self}");
        self
    }
}

/// Everything that a failed assertion needs to say.
impl fmt::Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.hook {
            Hook::FromEndpoint | Hook::Guard => "sent by",
            Hook::ToEndpoint => "delivered to",
            Hook::FromUplink => "arriving at",
        };
        writeln!(f, "{} {direction} {}: {}", self.packet, self.endpoint, self.judged)?;
        writeln!(f, "{}", self.packet.hex())?;
        for address in [self.packet.src(), self.packet.dst()] {
            writeln!(f, "{address}: {}", self.lab.memberships(address))?;
        }
        for (verdict, counter) in self.lab.reasons().iter().filter(|(_, counter)| counter.packets > 0) {
            writeln!(f, "{} {}: {} packets", verdict.name(), verdict.slug(), counter.packets)?;
        }
        for flow in self.lab.flows() {
            writeln!(
                f,
                "flow {} [{}]:{} -> [{}]:{}: {} {} in {:?}, {} forward, {} back, generation {}",
                flow.proto,
                flow.src,
                flow.src_port,
                flow.dst,
                flow.dst_port,
                flow.verdict,
                flow.reason,
                flow.network,
                flow.packets_fwd,
                flow.packets_rev,
                flow.generation
            )?;
        }
        Ok(())
    }
}
