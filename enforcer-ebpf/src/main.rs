//! The datapath. This file only adapts the kernel's hooks; a packet's journey starts in
//! [`datapath::enforce`] and every module it visits is one station:
//!
//! hook → [`packet`] → [`parse`] → [`endpoint`] → [`flow`] → [`policy`] (on a miss) → [`account`]
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
mod journey;
mod maps;
mod neighbor;
mod packet;
mod parse;
mod policy;
mod state;

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use enforcer_common::event::Hook;

/// `TCX_NEXT` and `TC_ACT_UNSPEC`: the next program decides, others still run.
const NEXT_PROGRAM: i32 = -1;

/// tc ingress of a host-side veth: what the endpoint sends.
#[classifier]
pub fn from_endpoint(ctx: TcContext) -> i32 {
    action(datapath::enforce(&ctx, Hook::FromEndpoint))
}

/// tc egress of a host-side veth: what is delivered to the endpoint.
#[classifier]
pub fn to_endpoint(ctx: TcContext) -> i32 {
    action(datapath::enforce(&ctx, Hook::ToEndpoint))
}

#[inline(always)]
const fn action(passes: bool) -> i32 {
    if passes { NEXT_PROGRAM } else { TC_ACT_SHOT }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the build refuses an object with a panic symbol in it.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
