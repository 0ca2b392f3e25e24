//! How seriously a drop is taken: modes, and what is being audited.

use enforcer_common::{mode::Mode, verdict::DropReason};

use super::{super::rule::Action, Answer, By, Why, World, datagram::Datagram, flow::Flow, memory::Memory};

impl Answer {
    /// What becomes of it in a mode.
    pub(super) fn in_mode(self, mode: Mode) -> Self {
        match self {
            Self::Drop { why, by } if mode == Mode::Observe || (mode == Mode::Audit && is_policy(why)) => {
                Self::WouldDrop { why, by }
            }
            other => other,
        }
    }

    /// Whether the policy should have stopped the frame, which goes on as `relaxed` and is of whom it says. Not where
    /// it is only one rule that is being audited: then something else admits it.
    pub(super) fn is_let_go_as(&self, relaxed: &Self) -> bool {
        let audited = matches!(self, Self::WouldDrop { why: Why::Exactly(DropReason::DeniedByRule), .. });
        matches!(relaxed, Self::WouldDrop { .. }) && relaxed.is_honest_pass() && !audited
    }

    /// Whether the frame goes on and comes from whom it says: not if that is why it should not.
    pub(super) const fn is_honest_pass(&self) -> bool {
        match self {
            Self::Pass { .. } => true,
            Self::WouldDrop { why, .. } => is_policy(*why),
            Self::Drop { .. } => false,
        }
    }
}

/// Whether the policy alone says no, to somebody who is known.
const fn is_policy(why: Why) -> bool {
    use DropReason::{DefaultDeny, DeniedByRule, Fragment, Multicast, NoPolicy};
    matches!(why, Why::Exactly(DefaultDeny | DeniedByRule | Fragment | Multicast | NoPolicy))
}

impl World {
    /// Nothing admits it. Members of audited networks, who are in none that enforces, are let go on.
    pub(super) fn not_admitted(&self, flow: Flow) -> Answer {
        let no = super::drop(DropReason::DefaultDeny);
        if self.audits(flow) { no.in_mode(Mode::Audit) } else { no }
    }

    fn audits(&self, flow: Flow) -> bool {
        let Some(policy) = &self.policy else { return false };
        let networks = policy.networks.values();
        let of_either = networks
            .filter(|network| [flow.src, flow.dst].iter().any(|&end| self.is_member_of(network, end)));
        let modes: Vec<bool> = of_either.map(|network| network.mode() == super::super::Mode::Audit).collect();
        !modes.is_empty() && modes.iter().all(|audits| *audits)
    }

    /// The packet passes like this, unless a rule denies it that is being audited: then it goes on, and that is
    /// told. No rule stops an answer; `answerable` says that the other direction may be opened.
    pub(super) fn unless_audited(
        &self,
        memory: &mut Memory,
        packet: &Datagram,
        answerable: bool,
        passes: Answer,
    ) -> Answer {
        let Some(rule) = self.surely(packet.flow, Action::Deny, super::super::Mode::Audit) else {
            return passes;
        };
        if answerable && packet.flow.ports.is_some() && memory.is_answer(packet) {
            memory.answer(packet);
            return passes;
        }
        Answer::WouldDrop { why: Why::Exactly(DropReason::DeniedByRule), by: By::Rule(rule.clone()) }
    }

    /// The same for what the host says.
    pub(super) fn host_unless_audited(
        &self,
        memory: &mut Memory,
        packet: &Datagram,
        passes: Answer,
    ) -> Answer {
        match self.surely(packet.flow, Action::Deny, super::super::Mode::Audit) {
            Some(rule) if !self.host_answers(memory, packet) => {
                Answer::WouldDrop { why: Why::Exactly(DropReason::DeniedByRule), by: By::Rule(rule.clone()) }
            }
            _ => passes,
        }
    }
}
