//! What is known of the packet that this CPU judges; every station reads it and adds to it.
//!
//! It lies in a per-CPU table and not on the stack for two reasons. The verifier forgets what was stored
//! in a table, so that all paths through a station meet again behind it. And a station that is a *global*
//! function (verified once, by itself) may be given nothing but the context on kernels before 5.12.

use enforcer_common::{
    control::Control,
    endpoint::EndpointId,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{maps, parse::Packet};

/// The journey of one packet.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Journey {
    /// What decides; read once.
    pub control: Control,
    /// What the parser understood.
    pub packet: Packet,
    /// The endpoint behind the hook's interface; [`EndpointId::REMOTE`] while it is not known.
    pub endpoint: EndpointId,
    /// Its stamp.
    pub stamp: u32,
    /// What was decided so far.
    pub judgement: Judgement,
}

/// A verdict and what it rests on.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Judgement {
    /// The network that admits; 0 for none.
    pub network: u32,
    pub src: EndpointId,
    pub dst: EndpointId,
    /// What the sender's hook stamps on the packet; 0 where it has none.
    pub stamp: u32,
    /// [`Verdict::code`]. Zero is no verdict, and so not a pass.
    pub verdict: u8,
    /// [`FlowEntry::CACHED`] where the verdict depends on generation, facts and key alone.
    ///
    /// [`FlowEntry::CACHED`]: enforcer_common::flow::FlowEntry::CACHED
    pub flags: u8,
    pub reserved: u16,
}

impl Journey {
    /// This CPU's journey. No second packet starts on a CPU before the first has ended: tc programs run
    /// with bottom halves disabled.
    #[inline(always)]
    pub fn current<'a>() -> Option<&'a mut Self> {
        // SAFETY: this CPU's own slot, see above.
        maps::JOURNEY.get_ptr_mut(0).map(|journey| unsafe { &mut *journey })
    }

    /// Starts anew, under the generation and the facts of this moment.
    #[inline(always)]
    pub fn begin(&mut self) {
        let control = match maps::CONTROL.get_ptr(0) {
            // SAFETY: an array entry lives as long as the program; the daemon stores whole words.
            Some(control) => unsafe { core::ptr::read_volatile(control) },
            None => Control::default(),
        };
        *self = Self { control, ..Self::default() };
    }
}

impl Judgement {
    #[inline(always)]
    pub const fn dropped(reason: DropReason) -> Self {
        Self::only_now(Verdict::Drop(reason))
    }

    #[inline(always)]
    pub const fn passed(reason: PassReason) -> Self {
        Self::only_now(Verdict::Pass(reason))
    }

    /// A verdict that depends on more than generation, facts and key.
    #[inline(always)]
    pub const fn only_now(verdict: Verdict) -> Self {
        Self {
            network: 0,
            src: EndpointId::REMOTE,
            dst: EndpointId::REMOTE,
            stamp: 0,
            verdict: verdict.code(),
            flags: 0,
            reserved: 0,
        }
    }

    #[inline(always)]
    pub const fn is_pass(&self) -> bool {
        Verdict::is_pass_code(self.verdict)
    }
}
