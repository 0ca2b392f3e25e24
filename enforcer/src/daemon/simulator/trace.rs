//! A life, step by step, as data: what a seed gives, and what is left of it when a failure is made small.

use fastrand::Rng;

use super::{
    faults::Fault,
    host::{LABELS, NAMES},
    pool::{POOL, WORKLOADS},
};

/// Something that happens. Interfaces are meant by index, messages by their place among those under way.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The next step meets this.
    Fault(Fault),
    /// An interface is made.
    Add { ifindex: u32, name: usize, mask: u8, routed: bool },
    /// It is deleted.
    Remove { ifindex: u32 },
    /// It gets another name.
    Rename { ifindex: u32, name: usize },
    /// It gets other addresses.
    Readdress { ifindex: u32, mask: u8, routed: bool },
    /// The host gets or loses an address.
    HostAddress { address: usize },
    /// A message arrives: the first, or one that overtook it.
    Deliver { place: usize },
    /// A message is lost.
    Lose { place: usize },
    /// A message will come twice.
    Duplicate { place: usize },
    /// All messages are lost, and the daemon is told so.
    Overrun,
    /// The daemon looks at the host, and acts at once.
    Look,
    /// The daemon looks at the host, and acts later.
    LookAhead,
    /// The daemon looks at one interface.
    Glimpse { ifindex: u32 },
    /// Something else is known of a container.
    Relabel { ifindex: u32, label: usize },
    /// The daemon asks what containers run, and hears it later.
    AskContainers,
    /// The daemon asks what containers run, hears it at once, and looks until it believes it.
    Containers,
    /// Somebody takes away what the daemon wrote of an interface.
    Damage { ifindex: u32, what: Damage },
    /// The daemon compares what the kernel holds.
    Inspect,
    /// The daemon looks at its deadline.
    Tick,
    /// Time passes, in seconds.
    Wait { seconds: u64 },
    /// Somebody applies a policy, perhaps to be confirmed within so many seconds.
    Apply { policy: usize, confirm: Option<u64> },
    /// Somebody confirms, perhaps while no daemon runs.
    Confirm { is_alone: bool },
    /// Somebody goes back; to the oldest generation that is kept or to none that he names.
    Rollback { named: bool, is_alone: bool },
    /// When the daemon ends next, it is so long until another begins, in seconds.
    Absence { seconds: u64 },
    /// The daemon ends, and another begins.
    Restart,
    /// The power fails, and the host boots.
    Reboot { is_undone: bool },
}

/// What somebody else breaks.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// Programs are detached.
    Programs,
    /// A record is removed.
    Record,
    /// The addresses of an interface are removed.
    Addresses,
    /// A guard is detached.
    Guard,
    /// Somebody gives an interface's addresses to nobody.
    Owner,
    /// The program of an uplink is detached.
    Uplink,
    /// What the host file says of modes and of the host is lost.
    Modes,
    /// Stamps stand for nobody any more.
    Senders,
}

/// The steps of a life.
pub fn steps(seed: u64) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let count = rng.usize(8..40);
    (0..count).map(|_| step(&mut rng)).collect()
}

const ERRNOS: [i32; 5] = [libc::ENOMEM, libc::E2BIG, libc::ENOSPC, libc::EPERM, libc::ENODEV];

fn step(rng: &mut Rng) -> Step {
    let ifindex = rng.u32(1..=5);
    let (name, mask, routed) = (rng.usize(..NAMES.len()), mask(rng), rng.bool());
    let place = if rng.u8(..4) == 0 { rng.usize(..4) } else { 0 };
    match rng.u8(..100) {
        0..12 => Step::Fault(fault(rng)),
        12..25 => Step::Add { ifindex, name, mask, routed },
        25..31 => Step::Remove { ifindex },
        31..34 => Step::Rename { ifindex, name },
        34..39 => Step::Readdress { ifindex, mask, routed },
        39..41 => Step::HostAddress { address: rng.usize(..WORKLOADS.len()) },
        41..47 => Step::Deliver { place },
        47..49 => Step::Lose { place },
        49..50 => Step::Duplicate { place },
        50..52 => Step::Overrun,
        52..54 => Step::Look,
        54..56 => Step::LookAhead,
        56..57 => Step::Glimpse { ifindex },
        57..58 => Step::Relabel { ifindex, label: rng.usize(..LABELS.len()) },
        58..59 => Step::AskContainers,
        59..62 => Step::Containers,
        62..65 => Step::Damage { ifindex, what: damage(rng) },
        65..68 => Step::Inspect,
        68..70 => Step::Tick,
        70..71 => Step::Absence { seconds: rng.u64(1..60) },
        71..75 => Step::Wait { seconds: rng.u64(1..40) },
        75..87 => {
            let by_label = POOL.len() - 2;
            let first = if rng.bool() { by_label } else { 0 };
            Step::Apply { policy: rng.usize(first..POOL.len()), confirm: rng.bool().then(|| rng.u64(5..60)) }
        }
        87..91 => Step::Confirm { is_alone: rng.bool() },
        91..94 => Step::Rollback { named: rng.bool(), is_alone: rng.bool() },
        94..98 => Step::Restart,
        _ => Step::Reboot { is_undone: rng.bool() },
    }
}

/// Mostly one address or two.
fn mask(rng: &mut Rng) -> u8 {
    let bit = |rng: &mut Rng| 1 << rng.usize(..WORKLOADS.len());
    if rng.u8(..8) == 0 { 0 } else { bit(rng) | bit(rng) }
}

fn fault(rng: &mut Rng) -> Fault {
    let at = rng.u8(..9);
    match rng.u8(..4) {
        0 => Fault::DieBefore(at),
        1 => Fault::DieAfter(at),
        _ => Fault::Refuse { from: at, count: rng.u8(1..4), errno: ERRNOS[rng.usize(..ERRNOS.len())] },
    }
}

fn damage(rng: &mut Rng) -> Damage {
    match rng.u8(..8) {
        0 => Damage::Programs,
        1 => Damage::Record,
        2 => Damage::Addresses,
        3 => Damage::Guard,
        4 => Damage::Uplink,
        5 => Damage::Modes,
        6 => Damage::Senders,
        _ => Damage::Owner,
    }
}
