//! Whose programs hold which interface: what an earlier daemon left, or somebody took away.

use super::{
    attach::{AT_UPLINK, AT_VETH, AttachError, Mechanism, TcHook},
    bpf, filters,
    load::Datapath,
    pins::Pins,
};

/// Whose programs hold an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// None of ours, or links not at both hooks.
    None,
    /// Those of an earlier daemon.
    Earlier,
    /// The programs of this process.
    Ours,
}

impl Datapath {
    /// Whose programs hold each of the interfaces, as a veth.
    pub fn holds(
        &mut self,
        interfaces: &[u32],
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<Vec<Hold>, AttachError> {
        self.holds_at(&AT_VETH, interfaces, mechanism, pins)
    }

    /// Whose program holds each of the interfaces, as an uplink.
    pub fn holds_uplinks(
        &mut self,
        interfaces: &[u32],
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<Vec<Hold>, AttachError> {
        self.holds_at(&AT_UPLINK, interfaces, mechanism, pins)
    }

    fn holds_at(
        &mut self,
        hooks: &[TcHook],
        interfaces: &[u32],
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<Vec<Hold>, AttachError> {
        let ours = hooks.iter().map(|hook| self.id_of(hook.program)).collect::<Result<Vec<_>, _>>()?;
        let links = interfaces.iter().map(|ifindex| by_links(hooks, *ifindex, &ours, pins));
        if mechanism == Mechanism::Tcx {
            return Ok(links.collect());
        }
        let filters = filters::with_minor(hooks[0].minor, interfaces).map_err(AttachError::Filters)?;
        let holds = filters.into_iter().zip(links).map(|(filters, links)| {
            // Ingress comes first in both.
            let found = filters.iter().take(hooks.len());
            let programs: Vec<_> = found.map(|filter| filter.as_ref().map(|f| f.program_id)).collect();
            if programs.iter().all(Option::is_none) && links == Hold::None {
                Hold::None
            } else if programs.iter().all(Option::is_some) && programs == ours {
                Hold::Ours
            } else {
                // Half of them, another version's, or links of a daemon that attached in the other way.
                Hold::Earlier
            }
        });
        Ok(holds.collect())
    }

    /// The id of a program; none while it is not loaded, and so not attached.
    fn id_of(&mut self, program: &'static str) -> Result<Option<u32>, AttachError> {
        let Ok(loaded) = self.program(program) else { return Ok(None) };
        if loaded.fd().is_err() {
            return Ok(None);
        }
        let info = loaded.info().map_err(|source| AttachError::Program { program, source })?;
        Ok(Some(info.id()))
    }
}

fn by_links(hooks: &[TcHook], ifindex: u32, ours: &[Option<u32>], pins: &Pins) -> Hold {
    let mut hold = Hold::Ours;
    for (hook, ours) in hooks.iter().zip(ours) {
        match bpf::open_pin(&pins.link(ifindex, hook.program)).and_then(bpf::link_target) {
            Ok(target) if target.ifindex != ifindex => return Hold::None,
            Ok(target) if Some(target.program_id) == *ours => {}
            Ok(_) => hold = Hold::Earlier,
            Err(_) => return Hold::None,
        }
    }
    hold
}
