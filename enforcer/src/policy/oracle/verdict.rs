//! What becomes of a packet whose addresses are in order: the policy's word, the host's privileges, and
//! answers.

use enforcer_common::verdict::{DropReason, PassReason};

use super::{
    Answer, By, Owner, World, allowed, datagram::Datagram, denied, drop, memory::Memory, pass,
    ruling::Ruling, scope, veth::serves_dhcp,
};

impl World {
    /// Between two of whom none is the host.
    pub(super) fn between(&self, memory: &mut Memory, packet: &Datagram) -> Answer {
        if self.admits_error(memory, packet) {
            return pass(PassReason::IcmpError);
        }
        if self.policy.is_none() {
            return drop(DropReason::NoPolicy);
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
        let host_may_ask = match back {
            Ruling::Denied(_) => false,
            Ruling::Allowed(_) => true,
            _ => !self.host_end.asks_by_rules,
        };
        // NAT gives the host's address to those who may ask although the host may not.
        let answers = (host_may_ask && memory.is_answer(packet)) || memory.answers_masked(packet);
        match forth {
            Ruling::Denied(_) if answers => {
                memory.answer(packet);
                pass(PassReason::Reply)
            }
            Ruling::Denied(rule) => denied(rule),
            Ruling::Allowed(rule) => {
                memory.open(packet);
                self.unless_audited(memory, packet, !back.denies(), allowed(rule))
            }
            _ if packet.flow.ports.is_none() => drop(DropReason::Fragment),
            _ if self.is_on_allow_list(packet.flow) => {
                self.unless_audited(memory, packet, !back.denies(), pass(PassReason::HostAllowed))
            }
            _ if answers => {
                memory.answer(packet);
                pass(PassReason::Reply)
            }
            _ => self.not_admitted(packet.flow),
        }
    }

    /// The host speaks to a workload: only a rule stops it, or only a rule lets it, as the host file says; and no
    /// rule stops an answer.
    pub(super) fn by_host(&self, memory: &mut Memory, packet: &Datagram) -> Answer {
        let ruling = self.ruling(packet.flow);
        let by_rules = self.host_end.asks_by_rules;
        let passes = match ruling {
            Ruling::Unsure => return drop(DropReason::Fragment),
            Ruling::Allowed(rule) if by_rules => allowed(rule),
            _ => pass(PassReason::HostOpen),
        };
        let invited = if by_rules { matches!(ruling, Ruling::Allowed(_)) } else { !ruling.denies() };
        if !invited && !self.host_answers(memory, packet) {
            return match ruling {
                Ruling::Denied(rule) => denied(rule),
                _ => self.uninvited(memory, packet),
            };
        }
        let answer = self.host_unless_audited(memory, packet, passes);
        if !self.is_on_allow_list(packet.flow.reversed()) {
            memory.open_by_host(packet);
        }
        answer
    }

    /// Whether it was asked for.
    pub(super) fn host_answers(&self, memory: &mut Memory, packet: &Datagram) -> bool {
        let answers = memory.is_answer(packet);
        if answers {
            memory.answer(packet);
        }
        answers || self.is_on_allow_list(packet.flow.reversed())
    }

    /// The host, which may open only what a rule allows, gives addresses away and tells of errors.
    fn uninvited(&self, memory: &Memory, packet: &Datagram) -> Answer {
        if serves_dhcp(&packet.flow) {
            return pass(PassReason::HostOpen);
        }
        let its_own = packet.quote.is_some_and(|quote| quote.src == packet.flow.dst);
        if its_own && self.admits_error(memory, packet) {
            return pass(PassReason::IcmpError);
        }
        drop(DropReason::DefaultDeny)
    }

    /// The host speaks to many: no rule can be about that.
    pub(super) fn by_host_to_all(&self, packet: &Datagram) -> Answer {
        if self.host_end.asks_by_rules && !serves_dhcp(&packet.flow) {
            drop(DropReason::Multicast)
        } else {
            pass(PassReason::HostOpen)
        }
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
                    || self.is_on_allow_list(answer) && !back.denies()
                    || matches!(back, Ruling::Allowed(_)) && memory.holds(answer)
            }
            // What the host would have got.
            (_, Owner::Host) => {
                matches!(forth, Ruling::Allowed(_)) && memory.holds(quoted)
                    || self.is_on_allow_list(quoted) && !forth.denies()
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
