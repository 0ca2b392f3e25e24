//! The session that a policy is applied from: a policy that would cut it is refused, since whoever applied it
//! could not take it back.

use std::{fmt, net::IpAddr};

use enforcer_common::{
    endpoint::Endpoint,
    flow::protocol,
    host::lists,
    mode::{Mode, ModeRecord, in_force},
    policy::Point,
    verdict::{DropReason, Verdict},
};

use super::{core::Core, disk::Disk, kernel::Kernel, modes::ModeTable, op::Owned, policies::PolicyTables};
use crate::{
    policy::{
        self, Policy,
        explain::{Owner, Party},
        service::Service,
    },
    report::Session,
};

/// Why a policy is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this would cut the session that it comes from, {session}: {why}\n  \
     help: try it with --confirm 60s, which falls back by itself, or insist with --force"
)]
pub struct CutsSession {
    session: Session,
    why: String,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, client_port, server, server_port } = self;
        write!(f, "tcp from {client} port {client_port} to {server} port {server_port}")
    }
}

/// Who has an address here: the host, or an endpoint by its id.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    Endpoint(u32),
    Host,
}

impl<K: Kernel, D: Disk> Core<K, D> {
    /// Refuses a policy that would cut the session; `interface` is where packets of its client come from.
    pub fn check_session(
        &mut self,
        new: &Policy,
        session: &Session,
        interface: Option<u32>,
    ) -> Result<(), CutsSession> {
        let labels = self.policies().labels();
        let current = self.policies().saved().map(|saved| saved.policy.resolve(labels)).unwrap_or_default();
        let (reason, why, place) = match self.denial(&new.resolve(labels), session, interface) {
            Some(denial) if self.denial(&current, session, interface).is_none() => denial,
            _ => return Ok(()),
        };
        if reason.is_relaxed_by(self.mode_at(place)) {
            return Ok(());
        }
        Err(CutsSession { session: *session, why })
    }

    /// Why a policy would drop what the client sends, and where.
    fn denial(
        &self,
        policy: &Policy,
        session: &Session,
        interface: Option<u32>,
    ) -> Option<(DropReason, String, Place)> {
        let (client, server) = (session.client.to_canonical(), session.server.to_canonical());
        let point = Point::port(protocol::TCP, session.server_port);
        let [from, to] = [client, server].map(|address| self.place(address));
        match (from, to) {
            (Place::Elsewhere, Place::Host) => {
                let external = interface.and_then(|ifindex| self.state.uplinks.record_of(ifindex));
                let external = external.is_some_and(|record| record.flags & Endpoint::EXTERNAL != 0);
                let network = policy.memberships(client).first().map(ToString::to_string)?;
                if !external || lists(&self.state.config.host.end().failsafe, point) {
                    return None;
                }
                let why = format!(
                    "{client} would be a member of {network}, and nobody beyond an uplink with trust = \
                     \"external\" is one"
                );
                Some((DropReason::SpoofedOutside, why, Place::Elsewhere))
            }
            (Place::Endpoint(_), Place::Host) if lists(&self.state.config.host.end().allow, point) => None,
            (Place::Endpoint(_), _) | (_, Place::Endpoint(_)) => {
                let party = |address, place| Party::new(policy, address, owner(place));
                let (src, dst) = (party(client, from), party(server, to));
                let port = session.server_port;
                let asked = Service::Ports { protocol: protocol::TCP, first: port, last: port };
                let explanation = policy::explain(policy, &src, &dst, asked);
                let Verdict::Drop(reason) = explanation.cause().verdict() else { return None };
                let judge = if matches!(from, Place::Endpoint(_)) { from } else { to };
                Some((reason, explanation.why(), judge))
            }
            _ => None,
        }
    }

    fn place(&self, address: IpAddr) -> Place {
        let address = Owned::from(address);
        if self.state.host.iter().any(|network| network.covers(&address)) {
            return Place::Host;
        }
        let mut endpoints = self.state.endpoints.values();
        let owner = endpoints.find(|endpoint| endpoint.owned.keys().any(|owned| owned.covers(&address)));
        owner.map_or(Place::Elsewhere, |endpoint| Place::Endpoint(endpoint.id.0))
    }

    /// The mode in which something is judged; where it cannot be read nothing is relaxed.
    fn mode_at(&mut self, place: Place) -> Mode {
        let Place::Endpoint(slot) = place else { return self.host_mode() };
        let table = self.kernel.policy();
        let read = |slot| table.mode(slot).unwrap_or_default();
        in_force(&read(ModeRecord::HOST), &read(slot), table.boottime())
    }
}

const fn owner(place: Place) -> Owner {
    match place {
        Place::Elsewhere => Owner::Nobody,
        Place::Endpoint(_) => Owner::Endpoint,
        Place::Host => Owner::Host,
    }
}
