//! What becomes of a packet whose addresses are in order: the policy's word, the host's privileges, and
//! answers.

use enforcer_common::verdict::{DropReason, PassReason};

use super::{
    Answer, By, Owner, World, allowed, datagram::Datagram, denied, drop, flow::Flow, memory::Memory, pass,
    ruling::Ruling, scope,
};

impl World {
    /// Between two of whom none is the host.
    pub(super) fn between(&self, memory: &mut Memory, packet: &Datagram) -> Answer {
        if self.policy.is_none() {
            return drop(DropReason::NoPolicy);
        }
        if self.admits_error(memory, packet) {
            return pass(PassReason::IcmpError);
        }
        let (forth, back) = (self.ruling(packet.flow), self.ruling(packet.flow.reversed()));
        match (forth, back) {
            (Ruling::Shared(network), _) => {
                let by = By::Network(network.clone());
                let shared = Answer::Pass { reason: PassReason::SharedNetwork, by };
                self.unless_audited(memory, packet, back.passes(), shared)
            }
            (Ruling::Allowed(rule), _) => {
                memory.open(packet);
                self.unless_audited(memory, packet, back.passes(), allowed(rule))
            }
            (Ruling::Unsure, _) => drop(DropReason::Fragment),
            (_, Ruling::Allowed(_) | Ruling::Unsure) if packet.flow.ports.is_none() => {
                drop(DropReason::Fragment)
            }
            _ if back.passes() && memory.is_answer(packet) => {
                memory.answer(packet);
                pass(PassReason::Reply)
            }
            (Ruling::Denied(rule), _) => denied(rule),
            (Ruling::Silent, _) => self.not_admitted(packet.flow),
        }
    }

    /// A workload speaks to its host: rules, the allow list, and answers to what the host asked.
    pub(super) fn to_host(&self, memory: &mut Memory, packet: &Datagram) -> Answer {
        if self.admits_error(memory, packet) {
            return pass(PassReason::IcmpError);
        }
        let (forth, back) = (self.ruling(packet.flow), self.ruling(packet.flow.reversed()));
        let answers = !back.denies() && memory.is_answer(packet);
        match forth {
            Ruling::Denied(rule) if !answers => denied(rule),
            Ruling::Allowed(rule) => {
                memory.open(packet);
                self.unless_audited(memory, packet, !back.denies(), allowed(rule))
            }
            _ if packet.flow.ports.is_none() => drop(DropReason::Fragment),
            _ if packet.flow.is_on_allow_list() => {
                self.unless_audited(memory, packet, !back.denies(), pass(PassReason::HostAllowed))
            }
            _ if answers => {
                memory.answer(packet);
                pass(PassReason::Reply)
            }
            _ => self.not_admitted(packet.flow),
        }
    }

    /// The host speaks to a workload: only a rule stops it, and no rule stops an answer.
    pub(super) fn by_host(&self, memory: &mut Memory, packet: &Datagram) -> Answer {
        match self.ruling(packet.flow) {
            Ruling::Denied(_) if memory.is_answer(packet) => memory.answer(packet),
            Ruling::Denied(_) if packet.flow.reversed().is_on_allow_list() => {}
            Ruling::Denied(rule) => return denied(rule),
            Ruling::Unsure => return drop(DropReason::Fragment),
            _ => {}
        }
        let answer = self.host_unless_audited(memory, packet);
        let _ = host_open(memory, packet);
        answer
    }

    /// Whether this is an ICMP error about a packet that was allowed.
    fn admits_error(&self, memory: &Memory, error: &Datagram) -> bool {
        let Some(quoted) = error.quote else { return false };
        // What is not from one to one was never asked about.
        if scope::forbidden(quoted.src, quoted.dst).is_some() {
            return false;
        }
        let answer = quoted.reversed();
        let (forth, back) = (self.ruling(quoted), self.ruling(answer));
        match (self.owner(quoted.src), self.owner(quoted.dst)) {
            (Owner::Host, Owner::Host) => false,
            // What the host sent: asking, answering what it always answers, or what a rule lets others ask.
            (Owner::Host, _) => {
                memory.holds(quoted) && !forth.denies()
                    || answer.is_on_allow_list() && !back.denies()
                    || matches!(back, Ruling::Allowed(_)) && memory.holds(answer)
            }
            // What the host would have got.
            (_, Owner::Host) => {
                matches!(forth, Ruling::Allowed(_)) && memory.holds(quoted)
                    || quoted.is_on_allow_list() && !forth.denies()
                    || memory.holds(answer) && !back.denies()
            }
            _ => {
                matches!(forth, Ruling::Shared(_))
                    || matches!(forth, Ruling::Allowed(_)) && memory.holds(quoted)
                    || back.passes() && memory.holds(answer)
            }
        }
    }
}

/// The host's own packet passes, and may be answered; what the allow list admits needs no remembering.
pub(super) fn host_open(memory: &mut Memory, packet: &Datagram) -> Answer {
    if !Flow::reversed(packet.flow).is_on_allow_list() {
        memory.open(packet);
    }
    pass(PassReason::HostOpen)
}
