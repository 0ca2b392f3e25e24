//! What the kernel is told of the host as a whole, and of how seriously verdicts are taken: a part of the
//! pure step.

use enforcer_common::{
    host::HostEnd,
    mode::{Mode, ModeRecord},
};

use super::{event::Facts, op::Op, repairs::Broken, step::State};
use crate::config::Config;

/// What the kernel was told last.
#[derive(Clone, Debug)]
pub struct Told {
    /// The mode of the host file.
    mode: Mode,
    /// The host as an end.
    end: HostEnd,
}

impl Told {
    /// What a host file says.
    pub fn of(config: &Config) -> Self {
        Self { mode: config.mode, end: *config.host.end() }
    }
}

impl State {
    /// What another host file says differently.
    pub(super) fn follow_config(&mut self) -> Vec<Op> {
        let now = Told::of(&self.config);
        let mut ops = Vec::new();
        if now.mode != self.told.mode {
            ops.push(configure_host(now.mode));
        }
        if now.end != self.told.end {
            ops.push(Op::WriteHostEnd(Box::new(now.end)));
        }
        self.told = now;
        ops
    }

    /// What the kernel holds otherwise: all of it when nothing was ever told.
    pub(super) fn broken_host(&self, facts: &Facts) -> Vec<(Broken, Vec<Op>)> {
        let mut broken = Vec::new();
        let Told { mode, end } = &self.told;
        if configured(facts, ModeRecord::HOST) != Some(*mode) {
            broken.push((Broken::Mode(ModeRecord::HOST), vec![configure_host(*mode)]));
        }
        if facts.host_end != *end {
            broken.push((Broken::Host, vec![Op::WriteHostEnd(Box::new(*end))]));
        }
        for endpoint in self.endpoints.values() {
            let (slot, mode) = (endpoint.id.0, endpoint.mode);
            if configured(facts, slot) != mode {
                broken.push((Broken::Mode(slot), vec![Op::ConfigureMode { slot, mode }]));
            }
        }
        broken
    }

    /// Whom stamps stand for, where the kernel holds otherwise.
    pub(super) fn broken_senders(&self, facts: &Facts) -> Vec<(Broken, Vec<Op>)> {
        let all =
            self.senders.keys().chain(facts.senders.keys().filter(|stamp| !self.senders.contains_key(stamp)));
        let wrong = all.filter(|stamp| self.senders.get(stamp) != facts.senders.get(stamp));
        let mend = wrong.map(|stamp| {
            let op = self.senders.get(stamp).map_or(Op::RemoveSender { stamp: *stamp }, |sender| {
                Op::WriteSender { stamp: *stamp, sender: *sender }
            });
            (Broken::Sender(*stamp), vec![op])
        });
        mend.collect()
    }
}

const fn configure_host(mode: Mode) -> Op {
    Op::ConfigureMode { slot: ModeRecord::HOST, mode: Some(mode) }
}

/// What the kernel holds as the host file's mode.
pub(super) fn configured(facts: &Facts, slot: u32) -> Option<Mode> {
    facts.modes.get(&slot).and_then(|record| Mode::from_number(record.configured))
}
