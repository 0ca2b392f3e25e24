//! The datapath. This file only adapts the kernel's hooks; a packet's journey starts in
//! [`datapath::enforce`] and every module it visits is one station:
//!
//! hook → [`packet`] → [`parse`] → [`endpoint`] → [`fragment`] → [`neighbor`] → [`judge`] (is it forged) → [`flow`] →
//! [`judge`] and [`policy`] (on a miss) → [`account`], or [`refusal`] and [`relax`] (of a drop) → [`shortcut`] or
//! [`outside`] (of what an endpoint sends, or an uplink brings)
#![no_std]
#![no_main]
// Inline assembly is the only way to an atomic add: the target has no compare-and-swap.
#![feature(asm_experimental_arch)]

mod account;
mod config;
mod datapath;
mod endpoint;
mod event;
mod flow;
mod flow_table;
mod fragment;
mod host;
mod icmp;
mod journey;
mod judge;
mod maps;
mod masked;
mod neighbor;
mod network;
mod outside;
mod packet;
mod parse;
mod policy;
mod quote;
mod refusal;
mod relax;
mod shortcut;
mod skb;
mod state;
mod uplink;
mod xdp;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use enforcer_common::event::Hook;

use crate::{skb::Skb, xdp::XdpFrame};

/// `TCX_NEXT` and `TC_ACT_UNSPEC`: the next program decides, others still run.
const NEXT_PROGRAM: i32 = -1;

/// tc ingress of a host-side veth: what the endpoint sends.
#[classifier]
pub fn from_endpoint(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    match datapath::enforce(&ctx, skb, Hook::FromEndpoint) {
        Some(journey) => shortcut::take(skb, journey).unwrap_or_else(|| {
            skb.set_stamp(journey.stamp);
            NEXT_PROGRAM
        }),
        None => TC_ACT_SHOT,
    }
}

/// tc egress of a host-side veth: what is delivered to the endpoint.
#[classifier]
pub fn to_endpoint(ctx: TcContext) -> i32 {
    match datapath::enforce(&ctx, Skb::new(&ctx), Hook::ToEndpoint) {
        Some(_) => NEXT_PROGRAM,
        None => TC_ACT_SHOT,
    }
}

/// tc ingress of an uplink: what comes from outside. It leaves the mark alone, but for what only a mode lets
/// go on.
#[classifier]
pub fn from_uplink(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    match datapath::receive(&ctx, skb) {
        Some((0, true)) => outside::enter(skb).unwrap_or(NEXT_PROGRAM),
        Some((0, false)) => NEXT_PROGRAM,
        Some((doubt, _)) => {
            skb.set_stamp(doubt);
            NEXT_PROGRAM
        }
        None => TC_ACT_SHOT,
    }
}

/// XDP, before the kernel has made a packet of the frame: what the endpoint behind a veth sends or, on an
/// uplink, what comes from outside.
#[xdp]
pub fn xdp_guard(ctx: XdpContext) -> u32 {
    match datapath::enforce(&ctx, XdpFrame::new(&ctx), Hook::Guard) {
        Some(_) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_DROP,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the build refuses an object with a panic symbol in it.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
