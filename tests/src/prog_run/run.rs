//! One packet on its way through one program.

use std::time::Duration;

use aya::programs::SchedClassifier;
use enforcer::{
    datapath::load::{FROM_ENDPOINT, FROM_UPLINK, TO_ENDPOINT},
    policy::oracle::{Arrival, Stamp},
};
use enforcer_common::{
    event::Hook,
    verdict::{DropReason, PassReason},
};

use super::{Judged, Lab, Outcome, UPLINK, context::SkBuff, outcome::CountedBefore};
use crate::packet::Packet;

mod straight;

/// Bits of the mark that belong to others, set on every packet: nobody may touch them.
pub(super) const FOREIGN_MARK: u32 = 0x5000_0001;

/// A packet in front of a hook; nothing happens before its outcome is asked for.
#[must_use = "the packet is not sent yet"]
pub struct Run<'lab> {
    lab: &'lab mut Lab,
    hook: Hook,
    endpoint: String,
    packet: Packet,
    stamp: u32,
    ingress_ifindex: u32,
    /// How many segments it will be cut into, and bytes of each.
    segments: (u32, u32),
}

impl Lab {
    /// `packet` leaves the endpoint.
    pub fn sent_by(&mut self, endpoint: &str, packet: impl Into<Packet>) -> Run<'_> {
        let ingress_ifindex = self.interface(endpoint);
        self.run(Hook::FromEndpoint, endpoint, packet.into(), ingress_ifindex)
    }

    /// `packet` is about to reach the endpoint; unless said otherwise it was forwarded from an uplink
    /// and carries no stamp.
    pub fn delivered_to(&mut self, endpoint: &str, packet: impl Into<Packet>) -> Run<'_> {
        let ingress_ifindex = self.interface(UPLINK);
        self.run(Hook::ToEndpoint, endpoint, packet.into(), ingress_ifindex)
    }

    /// `packet` meets the early guard in front of the endpoint, or of an uplink.
    pub fn guarded_by(&mut self, interface: &str, packet: impl Into<Packet>) -> Run<'_> {
        let ingress_ifindex = self.interface(interface);
        self.run(Hook::Guard, interface, packet.into(), ingress_ifindex)
    }

    /// `packet` arrives from outside at an uplink.
    pub fn arrives_at(&mut self, uplink: &str, packet: impl Into<Packet>) -> Run<'_> {
        let ingress_ifindex = self.interface(uplink);
        self.run(Hook::FromUplink, uplink, packet.into(), ingress_ifindex)
    }

    fn run(&mut self, hook: Hook, endpoint: &str, packet: Packet, ingress_ifindex: u32) -> Run<'_> {
        let endpoint = endpoint.to_owned();
        Run { lab: self, hook, endpoint, packet, stamp: 0, ingress_ifindex, segments: (0, 0) }
    }
}

impl<'lab> Run<'lab> {
    /// It entered through the veth of `endpoint` and carries its stamp.
    pub fn stamped_by(mut self, endpoint: &str) -> Self {
        self.ingress_ifindex = self.lab.interface(endpoint);
        Self { stamp: self.lab.stamp_of(endpoint), ..self }
    }

    /// It entered through the veth of `endpoint`, where it would have been dropped; this stamp says so.
    pub fn relaxed_by(mut self, endpoint: &str, stamp: u32) -> Self {
        self.ingress_ifindex = self.lab.interface(endpoint);
        Self { stamp, ..self }
    }

    /// The host itself sent it: it entered through no interface.
    pub fn locally_generated(self) -> Self {
        Self { ingress_ifindex: 0, ..self }
    }

    /// It is so many packets in one buffer, which a network card will cut into segments of so many bytes.
    pub fn segmented(self, segments: u32, bytes: u32) -> Self {
        Self { segments: (segments, bytes), ..self }
    }

    /// It passes for this reason.
    #[track_caller]
    pub fn passes(self, reason: PassReason) -> Outcome<'lab> {
        self.outcome().passes(reason)
    }

    /// It passes where it was counted before.
    #[track_caller]
    pub fn passes_counted_before(self) -> Outcome<'lab> {
        self.outcome().passes_counted_before()
    }

    /// It passes the guard: the hook behind it will count it.
    #[track_caller]
    pub fn passes_uncounted(self) -> Outcome<'lab> {
        self.outcome().passes_counted_before()
    }

    /// It goes on, although it should be dropped for this reason.
    #[track_caller]
    pub fn would_drop(self, reason: DropReason) -> Outcome<'lab> {
        self.outcome().would_drop(reason)
    }

    /// It is dropped for this reason.
    #[track_caller]
    pub fn drops(self, reason: DropReason) -> Outcome<'lab> {
        self.outcome().drops(reason)
    }

    /// Mean time of one run out of `repeat`, as the kernel measured it.
    #[track_caller]
    pub fn mean_duration(self, repeat: u32) -> Duration {
        self.lab.counted = None;
        let frame = self.packet.bytes();
        let run = if self.hook == Hook::Guard {
            self.lab.run_guard(&self.endpoint, &frame, repeat).map(|(run, _)| run)
        } else {
            let ifindex = self.lab.interface(&self.endpoint);
            let context = SkBuff::new(self.stamp, self.ingress_ifindex, ifindex);
            let run = context.run(self.lab.classifier(self.hook), self.hook, &frame, repeat);
            run.map(|(run, ..)| run).map_err(|error| format!("{error:?}"))
        };
        run.unwrap_or_else(|error| panic!("{}: {error}", self.packet)).duration
    }

    /// Runs it, and holds what is true of every packet: nobody changes a byte, nobody touches a
    /// foreign bit of the mark, what passes where it enters is stamped, and exactly one reason is counted.
    #[track_caller]
    pub fn outcome(mut self) -> Outcome<'lab> {
        if self.hook == Hook::Guard {
            return self.guarded();
        }
        self.lab.counted = None;
        let ifindex = self.lab.interface(&self.endpoint);
        let before = self.lab.reasons();
        let mark_in = FOREIGN_MARK | self.stamp;
        let context_in = SkBuff::new(mark_in, self.ingress_ifindex, ifindex).segmented(self.segments);
        let (code, mark, bytes) = self.execute(context_in);
        assert_eq!(bytes, self.packet.bytes(), "the datapath changed {}", self.packet);
        assert_eq!(mark & !Lab::MARK_MASK, FOREIGN_MARK, "foreign bits of the mark of {}", self.packet);
        let counted_before = CountedBefore::by(self.hook, self.stamp);
        let judged =
            Judged::from_counters(self.packets_on_the_wire(), &before, &self.lab.reasons(), counted_before);
        let Self { lab, hook, endpoint, packet, .. } = self;
        let outcome = Outcome { lab, hook, endpoint, packet, judged, stamp: mark & Lab::MARK_MASK };
        let outcome = outcome.agrees_with(code);
        // Whatever it is, ARP and DHCP included: the gate drops what bears no stamp.
        if hook == Hook::FromEndpoint && outcome.judged.is_pass() {
            let stamp = outcome.lab.stamp_of_sender(&outcome.endpoint, outcome.judged);
            let in_doubt = stamp == Lab::RELAXED && outcome.lab.may_unpack(&outcome.packet);
            let stamp = if in_doubt { Lab::DOUBTFUL } else { stamp };
            return outcome.bears(stamp);
        }
        outcome
    }

    /// What it counts for.
    fn packets_on_the_wire(&self) -> u64 {
        match self.segments {
            (0, bytes) if bytes > 0 => self.packet.payload_bytes().div_ceil(bytes.into()),
            (segments, _) => segments.max(1).into(),
        }
    }

    /// The guard sets no mark, and its own half of the harness holds what is true of every frame.
    #[track_caller]
    fn guarded(self) -> Outcome<'lab> {
        let Self { lab, hook, endpoint, packet, .. } = self;
        let frame = packet.bytes();
        let (stamp, locally_generated, now) = (Stamp::None, false, Duration::ZERO);
        let arrival = Arrival { hook, endpoint: &endpoint, frame: &frame, stamp, locally_generated, now };
        let judged = lab.judge(&arrival).unwrap_or_else(|error| panic!("{packet}: {error}"));
        Outcome { lab, hook, endpoint, packet, judged, stamp: 0 }
    }

    /// Return code, mark and packet behind the program.
    #[track_caller]
    fn execute(&mut self, context_in: SkBuff) -> (i32, u32, Vec<u8>) {
        let program = self.lab.classifier(self.hook);
        let run = context_in.run(program, self.hook, &self.packet.bytes(), 1);
        let (run, context_out, packet_out) =
            run.unwrap_or_else(|error| panic!("the kernel refuses {}: {error:?}", self.packet));
        (run.return_value as i32, context_out.mark, packet_out)
    }
}

impl Lab {
    /// The tc program of a hook.
    pub(super) fn classifier(&mut self, hook: Hook) -> &mut SchedClassifier {
        let name = match hook {
            Hook::FromUplink => FROM_UPLINK,
            Hook::FromEndpoint | Hook::Guard => FROM_ENDPOINT,
            Hook::ToEndpoint => TO_ENDPOINT,
        };
        self.datapath.classifier(name).unwrap_or_else(|error| panic!("{name} loads: {error}"))
    }
}
