//! Which endpoints may be reached by a shortcut, and from whom: a part of the pure step.
//!
//! What nobody has looked at yet, or nobody looks at any more, is no shortcut: the daemon gives the datapath a lease,
//! and renews it with every look around.

use std::collections::BTreeMap;

use enforcer_common::{limits::MAX_UPLINKS, shortcut::Shortcut};

use super::{
    event::Wire,
    op::Op,
    step::{EndpointState, State},
};
use crate::{
    config::{Fastpath, Macs},
    report::{Barred, FastpathReport},
    shortcut::{Barrier, Kinds, Surroundings, open, queues::Wayside},
};

/// What is known of shortcuts, and what the kernel was told.
#[derive(Clone, Debug, Default)]
pub struct Shortcuts {
    /// As they were last looked at.
    surroundings: Option<Surroundings>,
    /// What a look at the host's interfaces has shown to be in everybody's way.
    routing: Vec<Barrier>,
    /// And to be at interfaces that lead outside.
    outside: BTreeMap<u32, Vec<Barrier>>,
    told: BTreeMap<u32, Shortcut>,
    told_outside: BTreeMap<u32, Kinds>,
    /// It may have been lost.
    doubted: bool,
    leased: Kinds,
}

impl Shortcuts {
    /// What the kernel was told may have been lost.
    pub(super) fn tell_again(&mut self) {
        self.doubted = true;
    }

    /// What a look at the host's interfaces shows, or that it showed nothing.
    pub(super) fn routed(&mut self, barriers: Vec<Barrier>, outside: BTreeMap<u32, Vec<Barrier>>) {
        self.routing = barriers;
        self.outside = outside;
    }
}

impl State {
    /// Somebody has looked around. The lease is renewed, whatever was seen.
    pub(super) fn looked_around(&mut self, surroundings: Surroundings) -> Vec<Op> {
        self.shortcuts.surroundings = Some(surroundings);
        self.shortcuts.leased = self.leasable();
        vec![Op::Lease(self.shortcuts.leased)]
    }

    /// Tells the kernel what follows for shortcuts from what the step did. What may not be taken any more goes before
    /// anything else, what may be comes when all else is in its place.
    pub(super) fn follow_shortcuts(&mut self, ops: &mut Vec<Op>) {
        let lease = self.leasable();
        let is_less = lease.and(self.shortcuts.leased) != lease;
        let wanted: BTreeMap<u32, Shortcut> = self.shortcuts_wanted().collect();
        let Shortcuts { told, doubted, .. } = &self.shortcuts;
        let is_gone = |id: &u32| told.contains_key(id) && wanted.get(id) != told.get(id);
        let gone = told.keys().filter(|id| is_gone(id));
        let gone = gone.map(|id| Op::WriteShortcut { id: *id, shortcut: Shortcut::default() });
        let [shut, opened] = self.outside_changes();
        let mut all: Vec<Op> = if is_less { vec![Op::Lease(lease)] } else { Vec::new() };
        all.extend(gone);
        all.extend(shut);
        all.append(ops);
        let new = wanted.iter().filter(|(id, shortcut)| *doubted || told.get(id) != Some(*shortcut));
        all.extend(new.map(|(id, shortcut)| Op::WriteShortcut { id: *id, shortcut: *shortcut }));
        all.extend(opened);
        if is_less {
            self.shortcuts.leased = lease;
        }
        self.shortcuts.told = wanted;
        self.shortcuts.told_outside = self.outside_wanted();
        self.shortcuts.doubted = false;
        *ops = all;
    }

    /// What to tell of interfaces that lead outside: first which are less open than they were, and then all that changed.
    fn outside_changes(&self) -> [Vec<Op>; 2] {
        let Shortcuts { told_outside: told, doubted, .. } = &self.shortcuts;
        let wanted = self.outside_wanted();
        let kinds = |of: &BTreeMap<u32, Kinds>, ifindex| of.get(&ifindex).copied().unwrap_or(Kinds::NONE);
        let op = |ifindex, kinds| Op::WriteOutside { ifindex, kinds };
        let perhaps_open =
            self.uplinks.attached().filter(|_| *doubted).map(|(ifindex, _)| (ifindex, Kinds::ALL));
        let told_or_doubted = told.iter().map(|(ifindex, told)| (*ifindex, *told)).chain(perhaps_open);
        let shut =
            told_or_doubted.filter(|(ifindex, told)| told.but(kinds(&wanted, *ifindex)) != Kinds::NONE);
        let shut = shut.map(|(ifindex, _)| op(ifindex, kinds(&wanted, ifindex)));
        let opened = wanted
            .iter()
            .filter(|(ifindex, wanted)| *doubted || wanted.but(kinds(told, **ifindex)) != Kinds::NONE);
        [shut.collect(), opened.map(|(ifindex, kinds)| op(*ifindex, *kinds)).collect()]
    }

    /// What stands in everybody's way.
    pub fn barriers(&self) -> Vec<Barrier> {
        let Shortcuts { surroundings, routing, .. } = &self.shortcuts;
        let seen = surroundings.iter().flat_map(|around| &around.host);
        let mut barriers: Vec<Barrier> = seen.chain(routing).cloned().collect();
        if self.config.datapath.fastpath == Fastpath::Off {
            barriers.push(Barrier::new(Kinds::ALL, "the host file: datapath.fastpath = \"off\""));
        }
        if surroundings.is_none() {
            barriers.push(Barrier::new(Kinds::ALL, "nobody has looked around yet"));
        }
        barriers
    }

    /// What stands in the way of one endpoint.
    pub fn barriers_at(&self, ifindex: u32, endpoint: &EndpointState) -> Vec<Barrier> {
        let mut barriers = endpoint.wire.barriers.clone();
        let around = self.shortcuts.surroundings.as_ref();
        let seen = |ifindex| around?.interfaces.get(&ifindex);
        match seen(ifindex) {
            Some(seen) => barriers.extend_from_slice(seen),
            None => barriers.push(Barrier::new(Kinds::ALL, "nobody has looked at its interface yet")),
        }
        // What is routed from or to a port comes past the bridge's own interface.
        match endpoint.wire.bridge {
            0 => {}
            bridge => match seen(bridge) {
                Some(seen) => barriers.extend(seen.iter().map(Barrier::of_bridge)),
                None => barriers.push(Barrier::new(Kinds::ROUTED, "nobody has looked at its bridge yet")),
            },
        }
        barriers.extend(around.into_iter().flat_map(|around| around.taps.at(ifindex, endpoint.wire.bridge)));
        // Nobody knows to whose a routed packet goes; and a bridge would forget where those are whom it hears the least.
        if self.config.macs_of(self.subject_of(endpoint)) == Macs::Any {
            barriers
                .push(Barrier::new(Kinds::ALL, "others are behind its interface, with MACs of their own"));
        }
        if !endpoint.attached || endpoint.owned.is_empty() {
            barriers.push(Barrier::new(Kinds::ALL, "it is not ready"));
        }
        barriers
    }

    /// What stands in the way at an interface that leads outside.
    fn barriers_outside(&self, ifindex: u32) -> Vec<Barrier> {
        let Shortcuts { surroundings, outside, .. } = &self.shortcuts;
        let seen = surroundings.as_ref().and_then(|around| around.interfaces.get(&ifindex));
        match (outside.get(&ifindex), seen) {
            (Some(barriers), Some(seen)) => barriers.iter().chain(seen).cloned().collect(),
            _ => vec![Barrier::new(Kinds::ALL, "nobody has looked at it yet")],
        }
    }

    /// Each interface that leads outside, and what stands in the way there.
    fn uplinks_barred(&self) -> impl Iterator<Item = (u32, &str, Vec<Barrier>)> {
        self.uplinks.attached().enumerate().map(|(before, (ifindex, name))| {
            let mut barriers = self.barriers_outside(ifindex);
            if before >= MAX_UPLINKS as usize {
                barriers.push(Barrier::new(Kinds::ALL, format!("there is room for {MAX_UPLINKS} uplinks")));
            }
            (ifindex, name, barriers)
        })
    }

    fn outside_wanted(&self) -> BTreeMap<u32, Kinds> {
        let open = self
            .uplinks_barred()
            .map(|(ifindex, _, barriers)| (ifindex, Kinds(open(&barriers).0 & Kinds::ROUTED.0)));
        open.filter(|(_, kinds)| *kinds != Kinds::NONE).collect()
    }

    /// For people, and for scripts.
    pub fn fastpath(&self) -> FastpathReport {
        let endpoints = self.endpoints.iter().filter(|(_, endpoint)| !endpoint.owned.is_empty());
        let barriers = endpoints.map(|(ifindex, endpoint)| Barred {
            endpoint: endpoint.name.clone(),
            barriers: self.barriers_at(*ifindex, endpoint),
        });
        let (free, barred): (Vec<_>, Vec<_>) = barriers.partition(|barred| barred.barriers.is_empty());
        let uplinks =
            self.uplinks_barred().map(|(_, name, barriers)| Barred { endpoint: name.to_owned(), barriers });
        let (clear, barred_uplinks): (Vec<_>, Vec<_>) =
            uplinks.partition(|barred| barred.barriers.is_empty());
        FastpathReport {
            kinds: self.leasable(),
            barriers: self.barriers(),
            endpoints: free.len() as u32,
            barred,
            uplinks: clear.len() as u32,
            barred_uplinks,
        }
    }

    /// Interfaces that packets on their way to or from a workload come past.
    pub fn wayside(&self) -> BTreeMap<u32, Wayside> {
        let at = |ifindex, ours, is_outside| (ifindex, Wayside { ours, is_outside });
        let bridges = self.endpoints.values().map(|endpoint| at(endpoint.wire.bridge, 0, false));
        let bridges = bridges.filter(|(bridge, _)| *bridge != 0);
        let uplinks = self.uplinks.attached().map(|(ifindex, _)| at(ifindex, 1, true));
        bridges.chain(uplinks).chain(self.endpoints.keys().map(|ifindex| at(*ifindex, 1, false))).collect()
    }

    fn leasable(&self) -> Kinds {
        open(&self.barriers())
    }

    fn shortcuts_wanted(&self) -> impl Iterator<Item = (u32, Shortcut)> {
        self.endpoints.iter().filter_map(|(ifindex, endpoint)| {
            let Wire { mtu, bridge, gateway, mac, .. } = endpoint.wire;
            let kinds = open(&self.barriers_at(*ifindex, endpoint));
            let shortcut = Shortcut {
                ifindex: *ifindex,
                flags: kinds.0,
                bridge,
                mtu,
                mac: mac?,
                gateway: gateway?,
                ..Shortcut::default()
            };
            (kinds != Kinds::NONE).then_some((endpoint.id.0, shortcut))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        daemon::{
            event::{Event, Facts, Observation, Veth},
            step_tests::{bridged, state},
        },
        shortcut::taps::Taps,
    };

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn veth() -> Veth {
        let wire = Wire {
            mtu: 1500,
            bridge: 3,
            gateway: Some([2, 0, 0, 0, 0, 3]),
            mac: Some(MAC),
            barriers: Vec::new(),
        };
        Veth { wire, ..bridged("veth7", &["10.1.0.5"]) }
    }

    fn observed(veth: Veth, barriers: Vec<Barrier>) -> Event {
        Event::Observed(Observation {
            veths: BTreeMap::from([(7, veth)]),
            barriers,
            ..Observation::default()
        })
    }

    fn around(host: Vec<Barrier>, bridge: Vec<Barrier>) -> Event {
        let interfaces = BTreeMap::from([(7, Vec::new()), (3, bridge)]);
        Event::LookedAround(Surroundings { host, interfaces, ..Surroundings::default() })
    }

    fn told(ops: &[Op]) -> Vec<Kinds> {
        let told = ops.iter().filter_map(|op| match op {
            Op::WriteShortcut { shortcut, .. } => Some(Kinds(shortcut.flags)),
            _ => None,
        });
        told.collect()
    }

    fn leased(ops: &[Op]) -> Vec<Kinds> {
        let leased = ops.iter().filter_map(|op| if let Op::Lease(kinds) = op { Some(*kinds) } else { None });
        leased.collect()
    }

    fn settled() -> State {
        let mut state = state("");
        state.step(observed(veth(), Vec::new()));
        state.step(around(Vec::new(), Vec::new()));
        state
    }

    #[test]
    fn nothing_goes_straight_before_somebody_has_looked() {
        let mut state = state("");
        assert_eq!(told(&state.step(observed(veth(), Vec::new()))), [Kinds::NONE; 0]);
        let ops = state.step(around(Vec::new(), Vec::new()));
        assert_eq!((told(&ops), leased(&ops)), (vec![Kinds::ALL], vec![Kinds::ALL]));
        let ops = state.step(around(Vec::new(), Vec::new()));
        assert_eq!((told(&ops), leased(&ops)), (Vec::new(), vec![Kinds::ALL]), "the lease is renewed");
    }

    #[test]
    fn what_is_in_everybodys_way_ends_the_lease_first() {
        let mut state = settled();
        let nat = || Barrier::new(Kinds::ROUTED_V4, "nat");
        let left = Kinds::ROUTED_V6.and(Kinds::BRIDGED);
        assert_eq!(leased(&state.step(around(vec![nat()], Vec::new()))), [left]);
        let rule = Barrier::new(Kinds::ROUTED, "rule");
        let ops = state.step(observed(veth(), vec![rule]));
        assert_eq!(ops[0], Op::Lease(Kinds::BRIDGED), "before anything else: {ops:?}");
        assert_eq!(leased(&state.step(Event::Blinded)), [Kinds::NONE], "nobody knows");
        assert_eq!(leased(&state.step(around(Vec::new(), Vec::new()))), [Kinds::NONE], "still");
        state.step(observed(veth(), Vec::new()));
        assert_eq!(leased(&state.step(around(Vec::new(), Vec::new()))), [Kinds::ALL]);
    }

    #[test]
    fn what_is_at_the_bridge_is_in_the_way_of_what_is_routed() {
        let mut state = settled();
        let queue = Barrier::new(Kinds::ALL, "queue");
        assert_eq!(told(&state.step(around(Vec::new(), vec![queue]))), [Kinds::NONE, Kinds::BRIDGED]);
    }

    #[test]
    fn where_somebody_listens_nothing_passes_him_by() {
        let tapped = |ifindex: u32| {
            let (mut state, taps) = (settled(), Taps([ifindex].into()));
            let interfaces = BTreeMap::from([(7, Vec::new()), (3, Vec::new())]);
            told(&state.step(Event::LookedAround(Surroundings { host: Vec::new(), interfaces, taps })))
        };
        assert_eq!(tapped(7), [Kinds::NONE], "at its interface");
        assert_eq!(tapped(3), [Kinds::NONE], "at its bridge, also of what is bridged");
        assert_eq!(tapped(2), [Kinds::NONE; 0], "elsewhere");
        let mut state = settled();
        assert_eq!(told(&state.step(around(Vec::new(), Vec::new()))), [Kinds::NONE; 0], "nowhere");
    }

    #[test]
    fn others_behind_an_interface_are_forgotten_by_no_bridge() {
        let mut state = state("[[endpoint]]\nmatch = \"veth7\"\nmacs = \"any\"\n");
        state.step(observed(veth(), Vec::new()));
        assert_eq!(told(&state.step(around(Vec::new(), Vec::new()))), [Kinds::NONE; 0], "not even bridged");
    }

    #[test]
    fn who_is_not_attached_to_or_gone_is_not_reached() {
        let mut state = settled();
        assert_eq!(told(&state.step(Event::AttachFailed { ifindex: 7 })), [Kinds::NONE]);
        assert_eq!(told(&state.step(observed(veth(), Vec::new()))), [Kinds::ALL], "attached again");
        assert_eq!(told(&state.step(Event::Vanished { ifindex: 7 })), [Kinds::NONE]);
    }

    fn told_outside(ops: &[Op]) -> Vec<Kinds> {
        let told = ops.iter().filter_map(|op| match op {
            Op::WriteOutside { ifindex: 2, kinds } => Some(*kinds),
            _ => None,
        });
        told.collect()
    }

    /// A workload and an interface that leads outside, at which these barriers are seen from here and from there.
    fn seen_outside(state: &mut State, seen: &[Barrier], around: &[Barrier]) -> Vec<Op> {
        let mut ops = state.step(Event::Observed(Observation {
            veths: BTreeMap::from([(7, veth())]),
            uplinks: BTreeMap::from([(2, "eth0".to_owned())]),
            outside: BTreeMap::from([(2, seen.to_vec())]),
            ..Observation::default()
        }));
        let interfaces = BTreeMap::from([(7, Vec::new()), (3, Vec::new()), (2, around.to_vec())]);
        ops.extend(state.step(Event::LookedAround(Surroundings { interfaces, ..Surroundings::default() })));
        ops
    }

    #[test]
    fn the_outside_is_open_as_far_as_nothing_is_in_the_way_there() {
        let mut state = state("[[uplink]]\nmatch = \"eth0\"\n");
        let queue = || Barrier::new(Kinds::ALL, "programs of others");
        let strict = || Barrier::new(Kinds::ROUTED_V4, "strict");
        assert_eq!(told_outside(&seen_outside(&mut state, &[], &[])), [Kinds::ROUTED], "never bridged");
        assert_eq!(told_outside(&seen_outside(&mut state, &[], &[])), [Kinds::NONE; 0], "nothing new");
        assert_eq!(told_outside(&seen_outside(&mut state, &[strict()], &[])), [Kinds::ROUTED_V6]);
        assert_eq!(told_outside(&seen_outside(&mut state, &[strict()], &[queue()])), [Kinds::NONE]);
        assert_eq!(told_outside(&seen_outside(&mut state, &[], &[])), [Kinds::ROUTED]);
        let ops = state.step(observed(veth(), Vec::new()));
        assert_eq!(told_outside(&ops), [Kinds::NONE], "it leads nowhere any more");
        let shut = ops.iter().position(|op| matches!(op, Op::WriteOutside { .. }));
        let detached = ops.iter().position(|op| matches!(op, Op::DetachUplink { .. }));
        assert!(shut < detached, "what may not be taken goes first: {ops:?}");
    }

    #[test]
    fn where_there_is_no_room_for_an_uplink_that_is_told() {
        let mut state = state("[[uplink]]\nmatch = \"eth*\"\n");
        let uplinks = 100..=100 + MAX_UPLINKS;
        state.step(Event::Observed(Observation {
            uplinks: uplinks.clone().map(|ifindex| (ifindex, format!("eth{ifindex}"))).collect(),
            outside: uplinks.clone().map(|ifindex| (ifindex, Vec::new())).collect(),
            ..Observation::default()
        }));
        let interfaces = uplinks.map(|ifindex| (ifindex, Vec::new())).collect();
        let ops = state.step(Event::LookedAround(Surroundings { interfaces, ..Surroundings::default() }));
        let opened = ops.iter().filter(|op| matches!(op, Op::WriteOutside { .. })).count();
        assert_eq!(opened, MAX_UPLINKS as usize);
        let FastpathReport { uplinks, barred_uplinks, .. } = state.fastpath();
        assert_eq!(uplinks, MAX_UPLINKS);
        let [last] = &*barred_uplinks else { panic!("{barred_uplinks:?}") };
        assert_eq!((&*last.endpoint, &*last.barriers[0].what), ("eth356", "there is room for 256 uplinks"));
    }

    #[test]
    fn what_may_be_lost_is_told_again_and_what_is_gone_is_not_forgotten() {
        let mut state = settled();
        let record = state.endpoints[&7].record;
        let facts = Facts { endpoints: BTreeMap::from([(7, record)]), dead: [7].into(), ..Facts::default() };
        let ops = state.step(Event::Inspected(facts.into()));
        assert!(told(&ops).contains(&Kinds::NONE), "another has its index, the old id is nobody's: {ops:?}");
    }
}
