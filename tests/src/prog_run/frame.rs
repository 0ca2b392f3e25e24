//! Frames as bytes, many of them: for tests that compare the programs with another judge.

use std::net::IpAddr;

use aya::{
    maps::{HashMap, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use enforcer::policy::oracle::{Arrival, Stamp};
use enforcer_common::{
    address::{Address, V4_PREFIX_OFFSET},
    counter::Counter,
    event::{ErrorBudget, Hook},
    fragment::{FragmentEntry, FragmentKey},
    verdict::Verdict,
};
use ipnet::IpNet;

use super::{Judged, Lab, Owned, UPLINK, context::SkBuff, outcome::CountedBefore, run::FOREIGN_MARK};
use crate::kernel::Feature;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

impl Owned for IpNet {
    fn prefixes(&self) -> Vec<(Address, u8)> {
        let offset = if matches!(self, Self::V4(_)) { V4_PREFIX_OFFSET } else { 0 };
        vec![(self.network().into(), offset + self.prefix_len())]
    }
}

impl Lab {
    /// What the kernel must have so that [`Lab::judge`] can say something.
    pub fn wants(arrival: &Arrival) -> Option<Feature> {
        match arrival.hook {
            Hook::Guard => Some(Feature::TestedXdp),
            // Elsewhere it matters only at which interface a packet is.
            Hook::ToEndpoint if !arrival.locally_generated => Some(Feature::TestedOrigin),
            Hook::ToEndpoint | Hook::FromEndpoint | Hook::FromUplink => None,
        }
    }

    /// What the programs make of a frame, or what about it cannot be: a changed byte, a wrong mark, a
    /// counter that contradicts the return value.
    pub fn judge(&mut self, arrival: &Arrival) -> Result<Judged, String> {
        match arrival.hook {
            Hook::Guard => self.judge_early(arrival),
            Hook::FromEndpoint | Hook::ToEndpoint | Hook::FromUplink => self.judge_buffer(arrival),
        }
    }

    fn judge_buffer(&mut self, arrival: &Arrival) -> Result<Judged, String> {
        let ingress_ifindex = match (arrival.locally_generated, arrival.stamp) {
            (true, _) => 0,
            (false, Stamp::Of(stamp)) => self.interface(stamp),
            (false, _) => self.interface(UPLINK),
        };
        let stamp = match arrival.stamp {
            Stamp::None => 0,
            Stamp::Of(name) => self.stamp_of(name),
            Stamp::Relaxed => Self::RELAXED,
            Stamp::Doubtful => Self::DOUBTFUL,
        };
        let ifindex = self.interface(arrival.endpoint);
        let context_in = SkBuff::new(FOREIGN_MARK | stamp, ingress_ifindex, ifindex);
        let before = self.counted.take().unwrap_or_else(|| self.reasons());
        let program = self.classifier(arrival.hook);
        let run = context_in.run(program, arrival.hook, arrival.frame, 1);
        let (run, context_out, frame_out) =
            run.map_err(|error| format!("the kernel refuses the frame: {error:?}"))?;
        let counted_before = CountedBefore::by(arrival.hook, stamp);
        let after = self.reasons();
        let judged = judged(&before, &after, counted_before)?;
        self.counted = Some(after);
        let leaving = match arrival.hook {
            Hook::FromEndpoint | Hook::Guard if judged.is_pass() => {
                self.stamp_of_sender(arrival.endpoint, judged)
            }
            Hook::FromUplink if matches!(judged, Judged::As(Verdict::WouldDrop(_))) => Self::DOUBTFUL,
            _ => stamp,
        };
        if frame_out[..run.data_size_out as usize] != *arrival.frame {
            return Err("the frame was changed".to_owned());
        }
        // What the host may unpack proves nothing of what is in it.
        let in_doubt = leaving == Self::RELAXED
            && context_out.mark == FOREIGN_MARK | Self::DOUBTFUL
            && destination(arrival.frame).is_some_and(|dst| self.is_hosts(dst));
        if context_out.mark != FOREIGN_MARK | leaving && !in_doubt {
            return Err(format!("{judged}, but the mark is {:#x}", context_out.mark));
        }
        let expected = if judged.is_pass() { -1 } else { 2 };
        match run.return_value as i32 {
            code if code == expected => Ok(judged),
            code => Err(format!("{judged}, but the program returned {code}")),
        }
    }

    /// The endpoint sends all of these at once, and nobody asks what became of them.
    pub fn flood_from(&mut self, endpoint: &str, frames: impl IntoIterator<Item = Vec<u8>>) {
        let ingress_ifindex = self.interface(endpoint);
        self.flood(Hook::FromEndpoint, endpoint, ingress_ifindex, frames);
    }

    /// All of these arrive from outside for the endpoint.
    pub fn flood_to(&mut self, endpoint: &str, frames: impl IntoIterator<Item = Vec<u8>>) {
        let ingress_ifindex = self.interface(UPLINK);
        self.flood(Hook::ToEndpoint, endpoint, ingress_ifindex, frames);
    }

    fn flood(
        &mut self,
        hook: Hook,
        endpoint: &str,
        ingress_ifindex: u32,
        frames: impl IntoIterator<Item = Vec<u8>>,
    ) {
        self.counted = None;
        let context = SkBuff::new(FOREIGN_MARK, ingress_ifindex, self.interface(endpoint));
        let program = self.classifier(hook);
        for frame in frames {
            let run = context.run(program, hook, &frame, 1);
            let (run, ..) = run.unwrap_or_else(|error| panic!("the kernel refuses the frame: {error:?}"));
            assert_eq!(run.return_value as i32, -1, "a frame of the flood was dropped");
        }
    }

    /// What the early guard makes of a frame: it counts only what it drops.
    fn judge_early(&mut self, arrival: &Arrival) -> Result<Judged, String> {
        let before = self.counted.take().unwrap_or_else(|| self.reasons());
        let (run, frame_out) = self.run_guard(arrival.endpoint, arrival.frame, 1)?;
        let after = self.reasons();
        let judged = judged(&before, &after, CountedBefore::All)?;
        self.counted = Some(after);
        if frame_out != *arrival.frame {
            return Err("the frame was changed".to_owned());
        }
        match (judged.is_pass(), run.return_value) {
            (true, XDP_PASS) | (false, XDP_DROP) => Ok(judged),
            (_, code) => Err(format!("{judged}, but the guard returned {code}")),
        }
    }

    /// No endpoint, address or uplink is known any more. Policy, flow records and counters stay.
    pub fn forget_everybody(&mut self) {
        for (address, bits, _) in self.datapath.tables.addresses().expect("the addresses are readable") {
            self.datapath.tables.remove_address(address, bits).expect("addresses can be removed");
        }
        for (name, endpoint) in std::mem::take(&mut self.endpoints) {
            self.datapath.tables.remove_sender(endpoint.stamp).expect("senders can be removed");
            self.forget(&name);
        }
        for name in std::mem::take(&mut self.uplinks) {
            self.forget(&name);
        }
    }

    /// Nothing that happened before is remembered: conversations are closed, flow records are stale, ids are
    /// given anew.
    pub fn forget_memory(&mut self) {
        drop(std::mem::take(&mut self.ids));
        self.forget_flows();
        self.datapath.tables.forget_conversations().expect("the seed is writable");
        let map = self.datapath.ebpf_mut().map_mut("FRAGMENTS").expect("the object has this table");
        let mut fragments: HashMap<&mut MapData, FragmentKey, FragmentEntry> =
            map.try_into().expect("it is a hash map");
        let keys: Vec<FragmentKey> =
            fragments.keys().collect::<Result<_, _>>().expect("the table is readable");
        for key in keys {
            fragments.remove(&key).expect("fragments can be removed");
        }
        self.forget_errors();
    }

    /// No endpoint was told of any error yet.
    pub fn forget_errors(&mut self) {
        let last = self.endpoints.len() as u32;
        let map = self.datapath.ebpf_mut().map_mut("ERROR_BUDGET").expect("the object has this table");
        let mut budgets: PerCpuArray<&mut MapData, ErrorBudget> = map.try_into().expect("it is per CPU");
        for id in 0..=last {
            let cpus = nr_cpus().expect("the kernel says how many");
            let unspent =
                PerCpuValues::try_from(vec![ErrorBudget::default(); cpus]).expect("one for each CPU");
            budgets.set(id, unspent, 0).expect("the table is writable");
        }
    }
}

/// Whom an IP packet is for.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => Some(<[u8; 4]>::try_from(frame.get(30..34)?).ok()?.into()),
        [0x86, 0xdd] => Some(<[u8; 16]>::try_from(frame.get(38..54)?).ok()?.into()),
        _ => None,
    }
}

/// From the reason counters around one frame.
fn judged(
    before: &[(Verdict, Counter)],
    after: &[(Verdict, Counter)],
    counted_before: CountedBefore,
) -> Result<Judged, String> {
    let moved = before.iter().zip(after).filter(|((_, before), (_, after))| before != after);
    match moved.map(|((verdict, _), _)| *verdict).collect::<Vec<_>>()[..] {
        [verdict] if !counted_before.holds(verdict) => Ok(Judged::As(verdict)),
        [] if counted_before != CountedBefore::Nothing => Ok(Judged::CountedBefore),
        ref moved => Err(format!("one frame moved these reason counters: {moved:?}")),
    }
}
