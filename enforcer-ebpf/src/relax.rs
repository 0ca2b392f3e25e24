//! Who may go on although it is to be dropped: by the mode in force, or because what denies it is being audited.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use enforcer_common::{
    endpoint::{EndpointId, doubtful_stamp, relaxed_stamp},
    flow::{FlowEntry, FlowKey, protocol},
    mode::{self, Mode, ModeRecord},
    verdict::{DropReason, Verdict},
};

use crate::{config, datapath::Role, endpoint, journey::Journey, maps, state};

/// Relaxes the drop that the journey holds, if it is to be; where a packet enters, its stamp says so from
/// then on.
#[inline(always)]
pub fn relax(journey: &mut Journey, role: Role) {
    let enters = role == Role::Sender;
    let code = journey.judgement.verdict;
    let audited = journey.judgement.flags & FlowEntry::AUDITED != 0;
    if !audited && !Verdict::is_relaxed_code(code, mode_in_force(journey.endpoint.0)) {
        return;
    }
    journey.judgement.verdict = Verdict::relaxed_code(code);
    let proven = Verdict::is_of_proven_source(code);
    let FlowKey { src, dst, protocol, .. } = journey.packet.key;
    let by_rule_alone = audited && code == DropReason::DeniedByRule as u8;
    // Who asked is remembered: else the answer would pass for a question, and go on when all of this is over.
    if proven && !by_rule_alone && endpoint::owner(src).endpoint != EndpointId::HOST {
        state::open(journey, !enters);
    }
    if enters {
        let mask = config::mark_mask();
        // What the host unpacks keeps the mark, and proves nothing of what was in it.
        let unpacked = protocol != protocol::TCP && endpoint::owner(dst).endpoint == EndpointId::HOST;
        journey.stamp = if proven && !unpacked { relaxed_stamp(mask) } else { doubtful_stamp(mask) };
    }
}

/// Whoever is not known has the host's mode: that of slot 0.
#[inline(always)]
fn mode_in_force(endpoint: u32) -> Mode {
    let (Some(host), Some(endpoint)) = (maps::MODES.get(ModeRecord::HOST), maps::MODES.get(endpoint)) else {
        return Mode::Enforce;
    };
    let timed = host.is_timed() || endpoint.is_timed();
    // SAFETY: the helper takes nothing and touches nothing.
    let now = if timed { unsafe { bpf_ktime_get_boot_ns() } } else { 0 };
    mode::in_force(host, endpoint, now)
}

/// Whether a stamp says that the packet was counted as one that would have been dropped.
#[inline(always)]
pub fn is_relaxed_stamp(stamp: u32) -> bool {
    let mask = config::mark_mask();
    stamp == relaxed_stamp(mask) || stamp == doubtful_stamp(mask)
}
