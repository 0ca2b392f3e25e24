//! The whole journey of a packet, on one screen.

use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use enforcer_common::{
    address::Scope,
    control::Control,
    endpoint::{Endpoint, EndpointId},
    event::Hook,
    flow::FlowEntry,
    verdict::{DropReason, Verdict},
};

use crate::{
    account::{Judged, account},
    endpoint,
    flow::{self, Asking},
    maps, neighbor,
    packet::Skb,
    parse::{self, Kind, Packet},
    policy::{self, Judgement},
};

/// Judges the packet, counts it and says what happens to it.
#[inline(always)]
pub fn enforce(ctx: &TcContext, hook: Hook) -> Verdict {
    let skb = Skb::new(ctx);
    let control = read_control();
    let mut packet = Packet::default();
    let mut journey =
        Journey { endpoint: EndpointId::REMOTE, stamp: 0, entry: None, counted: false, has_flow: false };
    let judgement = journey.judge(skb, hook, &control, &mut packet).unwrap_or_else(Judgement::dropped);
    let Journey { endpoint, stamp, entry, counted, has_flow } = journey;
    account(&Judged {
        skb,
        hook,
        control: &control,
        endpoint,
        packet: &packet,
        judgement,
        entry,
        counted,
        has_flow,
    });
    trace(ctx, hook, &packet, &judgement);
    if judgement.verdict.is_pass() && matches!(hook, Hook::FromEndpoint) {
        skb.set_stamp(stamp);
    }
    judgement.verdict
}

/// What is known of a packet so far, whatever becomes of it.
struct Journey {
    endpoint: EndpointId,
    stamp: u32,
    entry: Option<*mut FlowEntry>,
    counted: bool,
    has_flow: bool,
}

impl Journey {
    #[inline(always)]
    fn judge(
        &mut self,
        skb: Skb,
        hook: Hook,
        control: &Control,
        packet: &mut Packet,
    ) -> Result<Judgement, DropReason> {
        let endpoint = endpoint::behind(skb.ifindex())?;
        (self.endpoint, self.stamp) = (endpoint.id, endpoint.stamp);
        parse::read(skb, packet)?;
        if matches!(packet.kind, Kind::Neighbor | Kind::Router) {
            let reason = neighbor::judge(skb, hook, endpoint, packet)?;
            return Ok(Judgement::passed(reason));
        }
        self.has_flow = true;
        match hook {
            Hook::FromEndpoint => Ok(self.from_endpoint(skb, control, endpoint, packet)),
            Hook::ToEndpoint => self.to_endpoint(skb, control, endpoint, packet),
        }
    }

    #[inline(always)]
    fn from_endpoint(
        &mut self,
        skb: Skb,
        control: &Control,
        endpoint: &Endpoint,
        packet: &Packet,
    ) -> Judgement {
        let asking = Asking::Sender(endpoint.id);
        if let Some((judgement, entry)) = flow::recall(control, &packet.key, asking, skb.ifindex()) {
            self.entry = Some(entry);
            return judgement;
        }
        policy::from_endpoint(control.active, endpoint, packet)
    }

    #[inline(always)]
    fn to_endpoint(
        &mut self,
        skb: Skb,
        control: &Control,
        endpoint: &Endpoint,
        packet: &Packet,
    ) -> Result<Judgement, DropReason> {
        // A stamped packet was counted where it entered; here only a drop is news.
        self.counted = skb.stamp() != 0;
        if self.counted && packet.key.dst.scope() == Scope::Broadcast {
            // A client's cry for an address, flooded by a bridge: it is for the host only.
            return Err(DropReason::Multicast);
        }
        let asking = Asking::Receiver { dst: endpoint.id, stamp: skb.stamp() };
        if let Some((judgement, entry)) = flow::recall(control, &packet.key, asking, skb.ifindex()) {
            self.entry = Some(entry);
            return Ok(judgement);
        }
        let sender = endpoint::sender(skb, packet.key.src)?;
        Ok(policy::to_endpoint(control.active, endpoint, packet, sender))
    }
}

/// Both words, once: the packet lives under what it reads here.
#[inline(always)]
fn read_control() -> Control {
    match maps::CONTROL.get_ptr(0) {
        // SAFETY: an array entry lives as long as the program; the daemon stores whole words.
        Some(control) => unsafe { core::ptr::read_volatile(control) },
        None => Control::default(),
    }
}

/// For debugging the datapath itself. The loader freezes the log level at *off* unless asked, and then
/// the verifier removes all of this.
#[inline(always)]
fn trace(ctx: &TcContext, hook: Hook, packet: &Packet, judgement: &Judgement) {
    debug!(
        ctx,
        "hook {} verdict {} protocol {} source port {} destination port {}",
        hook as u8,
        judgement.verdict.code(),
        packet.key.protocol,
        u16::from_be(packet.key.src_port),
        u16::from_be(packet.key.dst_port)
    );
}
