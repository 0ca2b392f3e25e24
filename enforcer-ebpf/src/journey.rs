//! What is known of the packet that this CPU judges; every station reads it and adds to it.
//!
//! It lies in a per-CPU table and not on the stack for two reasons. The verifier forgets what was stored
//! in a table, so that all paths through a station meet again behind it. And a station that is a *global*
//! function (verified once, by itself) may be given nothing but the context and numbers on kernels before
//! 5.12.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use enforcer_common::{
    control::{Control, ControlWord},
    counter::Weight,
    endpoint::EndpointId,
    flow::{FlowEntry, FlowKey},
    flow_table::Room,
    policy::{Party, Point, Rules, Search},
    prefix_trie::Walk,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    endpoint::{SEATS, Seat},
    flow::{ALLOWANCES, Allowance},
    flow_table::Place,
    maps, packet,
    parse::Packet,
};

/// The journey of one packet. What every packet needs lies in front: memory that is close together is fast memory, and what
/// is less than 128 bytes from the beginning takes shorter instructions.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Journey {
    /// What decides; read once.
    pub control: Control,
    /// When it began, [`packet::now`].
    pub now: u64,
    /// The endpoint behind the hook's interface; [`EndpointId::REMOTE`] while it is not known.
    pub endpoint: EndpointId,
    /// Its stamp.
    pub stamp: u32,
    /// What was decided so far.
    pub judgement: Judgement,
    /// The guard only looks: it opens nothing and spends nothing. An answer keeps its conversation open all the same.
    pub looks_only: bool,
    /// What the parser understood.
    pub packet: Packet,
    /// What the frame counts for, once it was counted.
    pub weight: Weight,
    /// Where its flow is kept.
    pub place: Place,
    /// How much of `FLOWS4`, of `FLOWS6` and of `DENIED_SETS` this CPU uses.
    pub rooms: [Room; 3],
    /// What it understood of the packet that an ICMP error quotes; of no meaning for others.
    pub quote: Packet,
    /// Who is asked about: the source and the destination of a question to the policy.
    pub parties: [Party; 2],
    /// The search among prefixes.
    pub walk: Walk,
    /// What is asked about, there and back.
    pub points: [Point; 2],
    /// The key of its record where it is denied; here for want of room on the stack.
    pub denied_key: FlowKey,
    /// Room for the policy to work in.
    pub rules: Rules,
    /// And for its search.
    pub search: Search,
    /// [`enforcer_common::state::digest`] of the key that was last looked for.
    pub digest: u64,
    /// Who was found behind interfaces by earlier packets, [`crate::endpoint::seated`].
    pub seats: [Seat; SEATS],
    /// How many denied flows were recorded lately, by the endpoint at the hook.
    pub allowances: [Allowance; ALLOWANCES],
}

/// A verdict and what it rests on.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Judgement {
    /// The network that admits; 0 for none.
    pub network: u32,
    /// The rule that decides; 0 for none.
    pub rule: u32,
    pub src: EndpointId,
    pub dst: EndpointId,
    /// What the sender's hook stamps on the packet; 0 where it has none.
    pub stamp: u32,
    /// [`Verdict::code`]. Zero is no verdict, and so not a pass.
    pub verdict: u8,
    /// [`FlowEntry::CACHED`] where the verdict depends on generation, facts and key alone, and what later packets have to
    /// do with the state table.
    pub flags: u8,
    pub reserved: [u8; 2],
}

/// Whose key a question is about, and in which direction; numbers, because that is all a station of its
/// own is given.
pub mod question {
    /// The packet as it goes.
    pub const PACKET: u32 = 0;
    /// What it would answer.
    pub const ANSWERED: u32 = 1;
    /// The quoted packet.
    pub const QUOTE: u32 = 2;
    /// What the quoted packet would answer.
    pub const ANSWERED_BY_QUOTE: u32 = 3;
}

impl Journey {
    /// This CPU's journey. No second packet starts on a CPU before the first has ended: tc and XDP programs
    /// run with bottom halves disabled. `PREEMPT_RT` may interrupt them all the same (Linux 6.18, `softirq: Allow to drop the
    /// softirq-BKL lock on PREEMPT_RT`), and nothing is loaded there.
    #[inline(always)]
    pub fn current<'a>() -> Option<&'a mut Self> {
        // SAFETY: this CPU's own slot, see above.
        maps::JOURNEY.get_ptr_mut(0).map(|journey| unsafe { &mut *journey })
    }

    /// Starts under the generation and the facts of this moment. What only some packets have is reset by who fills it.
    #[inline(always)]
    pub fn begin(&mut self, looks_only: bool) {
        self.control = match maps::CONTROL.get_ptr(0) {
            // SAFETY: an array entry lives as long as the program; the daemon stores whole words. The facts first: they move
            // behind a word that stays the same number, and what is remembered under the new ones must not be by the old word.
            Some(control) => unsafe {
                let facts = core::ptr::read_volatile(&raw const (*control).facts);
                Control { active: core::ptr::read_volatile(&raw const (*control).active), facts }
            },
            None => Control::default(),
        };
        if self.control.active.is_unconfirmed() {
            self.control.active = in_force(self.control.active);
        }
        self.now = packet::now();
        self.endpoint = EndpointId::REMOTE;
        self.stamp = 0;
        self.judgement = Judgement::default();
        self.looks_only = looks_only;
    }

    /// The key that a [`question`] is about.
    #[inline(always)]
    pub fn key(&self, question: u32) -> FlowKey {
        let packet = if question & question::QUOTE == 0 { &self.packet } else { &self.quote };
        if question & question::ANSWERED == 0 { packet.key } else { packet.key.reversed() }
    }
}

/// What decides now where the published generation awaits confirmation. The deadline is kept here and
/// nowhere else, so it holds whether or not a daemon runs.
#[inline(always)]
fn in_force(word: ControlWord) -> ControlWord {
    match maps::GENERATIONS.get(word.slot()) {
        // SAFETY: the helper takes nothing and touches nothing.
        Some(record) => record.in_force(word, unsafe { bpf_ktime_get_boot_ns() }),
        None => ControlWord::default(),
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
            rule: 0,
            src: EndpointId::REMOTE,
            dst: EndpointId::REMOTE,
            stamp: 0,
            verdict: verdict.code(),
            flags: 0,
            reserved: [0; 2],
        }
    }

    /// A verdict that depends on generation, facts and key alone.
    #[inline(always)]
    pub const fn cacheable(verdict: Verdict) -> Self {
        Self { flags: FlowEntry::CACHED, ..Self::only_now(verdict) }
    }

    /// Whether nothing is against the packet.
    #[inline(always)]
    pub const fn is_admitted(&self) -> bool {
        Verdict::is_admitted_code(self.verdict)
    }

    /// Whether the packet goes on.
    #[inline(always)]
    pub const fn is_pass(&self) -> bool {
        Verdict::is_pass_code(self.verdict)
    }

    /// Whether it does although it should not.
    #[inline(always)]
    pub const fn would_drop(&self) -> bool {
        Verdict::is_would_drop_code(self.verdict)
    }

    /// Whether it goes on, and its sender is known to be who it says.
    #[inline(always)]
    pub const fn is_of_proven_source(&self) -> bool {
        if self.would_drop() {
            Verdict::is_of_proven_source(Verdict::strict_code(self.verdict))
        } else {
            self.is_pass()
        }
    }
}
