//! What is seen of newcomers ahead of the next complete look: a part of the pure step.
//!
//! A complete look takes the longer the more there is on the host, and meanwhile a newcomer has no address. Looking at it
//! alone takes no longer on a large host. It is given its first addresses by that, unless anybody else could have
//! something to say; then the next look decides, which follows in any case and is what counts.

use std::collections::BTreeMap;

use super::{
    claims::{self, Claims, Contest},
    event::{Observation, Veth},
    op::{Op, Owned},
    step::{EndpointState, State},
};

impl State {
    /// Workloads that wait for their first address, by interface. There are none where the host file declares endpoints:
    /// who is declared may be there already and not have been seen, and what is his is to be nobody else's.
    pub fn waiting(&self) -> impl Iterator<Item = u32> {
        let waiting = self.endpoints.iter().filter(|(_, endpoint)| self.is_waiting(endpoint));
        waiting.map(|(ifindex, _)| *ifindex)
    }

    fn is_waiting(&self, endpoint: &EndpointState) -> bool {
        self.config.endpoints.is_empty() && endpoint.attached && endpoint.owned.is_empty()
    }

    /// Gives newcomers what nobody else has or wants.
    pub(super) fn glimpsed(&mut self, glimpse: &Observation) -> Vec<Op> {
        let newcomers = glimpse.veths.iter().filter_map(|(ifindex, veth)| {
            let endpoint = self.endpoints.get(ifindex)?;
            // Since when a workload is in a namespace is counted in looks.
            let veth = Veth { nsid: endpoint.namespace.nsid(), ..veth.clone() };
            (self.is_waiting(endpoint) && endpoint.name == veth.name).then_some((*ifindex, veth))
        });
        let newcomers: BTreeMap<u32, Veth> = newcomers.collect();
        let claims: Claims = newcomers
            .iter()
            .map(|(ifindex, veth)| {
                (*ifindex, claims::claims(&self.config, veth, self.subject(*ifindex, veth)))
            })
            .collect();
        let contest = Contest::of(&claims);
        let mut owners = BTreeMap::new();
        let mut ops = Vec::new();
        for (ifindex, veth) in &newcomers {
            let twin = newcomers.iter().any(|(other, it)| other != ifindex && it.mac == veth.mac);
            if !twin && self.is_undisputed(*ifindex, veth, &claims, glimpse) {
                ops.extend(self.settled(*ifindex, veth, &claims[ifindex], &contest, &mut owners));
            }
        }
        if ops.iter().any(Op::ends_judgements) {
            ops.push(Op::FactsChanged);
        }
        ops
    }

    /// Whether all that a newcomer claims is nobody else's, not even in part, and nobody else bears its MAC.
    fn is_undisputed(&self, ifindex: u32, veth: &Veth, claims: &Claims, glimpse: &Observation) -> bool {
        let others = || self.endpoints.iter().filter(|(other, _)| **other != ifindex);
        let is_twin = |endpoint: &EndpointState| endpoint.mac == veth.mac;
        if veth.mac.is_none() || others().any(|(_, endpoint)| is_twin(endpoint)) {
            return false;
        }
        let known = others().flat_map(|(_, endpoint)| endpoint.owned.keys().chain(&endpoint.conflicts));
        let newcomers = claims.iter().filter(|(other, _)| **other != ifindex);
        let wanted = newcomers.flat_map(|(_, claims)| claims.keys());
        let host: Vec<Owned> = glimpse.host.iter().copied().map(Owned::from).collect();
        let mut taken = known.chain(wanted).chain(&self.host).chain(&host);
        taken.all(|other| claims[&ifindex].keys().all(|claim| !claim.covers(other) && !other.covers(claim)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;
    use crate::daemon::{
        event::Event,
        step_tests::{bridged, state},
    };

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 8];

    /// `veth7`, which has 10.1.0.5, and `veth8`, which waits.
    fn with_newcomer(config: &str) -> State {
        let mut state = state(config);
        let host = BTreeSet::from(["10.1.0.1/32".parse().unwrap()]);
        let veths = BTreeMap::from([(7, bridged("veth7", &["10.1.0.5"]))]);
        state.step(Event::Observed(Observation { host, veths, ..Observation::default() }));
        state.step(Event::Appeared { ifindex: 8, name: "veth8".to_owned() });
        state
    }

    fn newcomer(inside: &[&str]) -> Veth {
        Veth { mac: Some(MAC), ..bridged("veth8", inside) }
    }

    fn glimpse(veths: &[(u32, Veth)]) -> Observation {
        Observation { veths: veths.iter().cloned().collect(), ..Observation::default() }
    }

    fn given(ops: &[Op]) -> Vec<(u32, String)> {
        let given = ops.iter().filter_map(|op| match op {
            Op::WriteAddress { network, owner } => Some((owner.ifindex, network.text())),
            _ => None,
        });
        given.collect()
    }

    #[test]
    fn a_newcomer_does_not_wait_for_the_next_look() {
        let mut state = with_newcomer("");
        assert_eq!(state.waiting().collect::<Vec<_>>(), [8]);
        let seen = glimpse(&[(8, newcomer(&["10.1.0.6"]))]);
        let ops = state.step(Event::Glimpsed(seen.clone()));
        assert_eq!(given(&ops), [(8, "10.1.0.6".to_owned())]);
        assert_eq!(ops.last(), Some(&Op::FactsChanged));
        assert_eq!(state.endpoints[&8].record.mac, MAC);
        assert_eq!(state.waiting().next(), None);
        assert_eq!(state.endpoints[&7].owned.len(), 1, "nobody else is touched");
        assert_eq!(state.step(Event::Glimpsed(seen)), [], "who waits no longer is not given more");
        let look = glimpse(&[(7, bridged("veth7", &["10.1.0.5"])), (8, newcomer(&["10.1.0.6"]))]);
        let host = BTreeSet::from(["10.1.0.1/32".parse().unwrap()]);
        assert_eq!(state.step(Event::Observed(Observation { host, ..look })), [], "the look sees the same");
    }

    #[rstest]
    #[case::anothers(newcomer(&["10.1.0.5"]))]
    #[case::anothers_beside_its_own(newcomer(&["10.1.0.6", "10.1.0.5"]))]
    #[case::the_hosts(newcomer(&["10.1.0.1"]))]
    #[case::the_hosts_since_just_now(newcomer(&["10.1.0.9"]))]
    #[case::with_anothers_mac(bridged("veth8", &["10.1.0.6"]))]
    #[case::without_a_mac(Veth { mac: None, ..newcomer(&["10.1.0.6"]) })]
    #[case::by_another_name(Veth { name: "veth9".to_owned(), ..newcomer(&["10.1.0.6"]) })]
    fn what_anybody_could_dispute_is_left_to_the_look(#[case] seen: Veth) {
        let mut state = with_newcomer("");
        let host = BTreeSet::from(["10.1.0.9/32".parse().unwrap()]);
        let seen = Observation { host, ..glimpse(&[(8, seen)]) };
        assert_eq!(given(&state.step(Event::Glimpsed(seen))), []);
        assert_eq!(state.waiting().collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn where_endpoints_are_declared_looks_alone_decide() {
        let mut state = with_newcomer("[[endpoint]]\nmatch = \"veth9\"\naddresses = [\"10.1.0.128/25\"]");
        state.step(Event::Appeared { ifindex: 9, name: "veth9".to_owned() });
        assert_eq!(state.waiting().next(), None);
        assert_eq!(state.step(Event::Glimpsed(glimpse(&[(8, newcomer(&["10.1.0.130"]))]))), []);
    }

    #[test]
    fn of_two_newcomers_that_want_the_same_neither_gets_it() {
        let mut state = with_newcomer("");
        state.step(Event::Appeared { ifindex: 9, name: "veth9".to_owned() });
        let other = Veth { mac: Some([2, 0, 0, 0, 0, 9]), ..bridged("veth9", &["10.1.0.6"]) };
        let seen = glimpse(&[(8, newcomer(&["10.1.0.6"])), (9, other)]);
        assert_eq!(given(&state.step(Event::Glimpsed(seen))), []);
    }

    #[test]
    fn who_is_unknown_or_not_attached_to_is_not_glimpsed_at() {
        let mut state = with_newcomer("");
        state.step(Event::AttachFailed { ifindex: 8 });
        let unknown = Veth { mac: Some([2, 0, 0, 0, 0, 9]), ..bridged("veth9", &["10.1.0.7"]) };
        let seen = glimpse(&[(8, newcomer(&["10.1.0.6"])), (9, unknown)]);
        assert_eq!(state.step(Event::Glimpsed(seen)), []);
    }

    #[test]
    fn a_look_that_began_before_takes_nothing_back() {
        let mut state = with_newcomer("");
        let routed = BTreeSet::from(["10.1.0.6".parse().unwrap()]);
        state.step(Event::Glimpsed(glimpse(&[(8, Veth { routed, ..newcomer(&[]) })])));
        let mut look = glimpse(&[(7, bridged("veth7", &["10.1.0.5"])), (8, newcomer(&[]))]);
        look.host.insert("10.1.0.1/32".parse().unwrap());
        let before = Observation { overtaken: BTreeSet::from([8]), ..look.clone() };
        assert_eq!(state.step(Event::Observed(before)), []);
        let after = state.step(Event::Observed(look));
        assert!(after.iter().any(|op| matches!(op, Op::RemoveAddress(_))), "{after:?}");
    }

    #[test]
    fn a_look_says_nothing_of_who_came_while_it_was_taken() {
        let mut state = with_newcomer("");
        state.step(Event::Glimpsed(glimpse(&[(8, newcomer(&["10.1.0.6"]))])));
        let mut look = glimpse(&[(7, bridged("veth7", &["10.1.0.5"])), (8, newcomer(&["10.1.0.7"]))]);
        look.host.insert("10.1.0.1/32".parse().unwrap());
        look.doubt(8);
        assert_eq!(state.step(Event::Observed(look)), [], "it stays as it is");
    }
}
