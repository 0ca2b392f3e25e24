//! How seriously a verdict is taken: for a safe first day on a live host, and at 3 a.m.
//!
//! Modes are facts: they lie in the kernel, count at once, and outlive the daemon. They are asked for only
//! when a packet is about to be dropped.

use bytemuck::{Pod, Zeroable};

use crate::map_layout;

/// What becomes of a packet that is to be dropped.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "user", serde(rename_all = "kebab-case"))]
pub enum Mode {
    /// It is dropped.
    #[default]
    Enforce = 1,
    /// It is dropped when it is not what it claims to be; where the policy says no it goes on, counted.
    Audit = 2,
    /// It goes on, counted: nothing is dropped.
    Observe = 3,
}

impl Mode {
    /// From the strictest on.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Audit, Self::Observe];

    /// Its word on the command line, in files and in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Observe => "observe",
        }
    }

    /// The mode of a number; `None` for 0, which is none, and for what is no mode.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Enforce),
            2 => Some(Self::Audit),
            3 => Some(Self::Observe),
            _ => None,
        }
    }

    /// The number of a mode or of none.
    pub const fn number(mode: Option<Self>) -> u8 {
        match mode {
            Some(mode) => mode as u8,
            None => 0,
        }
    }
}

/// The mode of the host (slot [`ModeRecord::HOST`]) or of an endpoint (slot: its id); value of the `MODES`
/// table.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct ModeRecord {
    /// When the order ends, in nanoseconds of `CLOCK_BOOTTIME`; 0 for never.
    pub until: u64,
    /// What somebody ordered, as a number of [`Mode`]; 0 for nothing.
    pub ordered: u8,
    /// What the host file says, as a number of [`Mode`]; 0 for nothing.
    pub configured: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

map_layout!(ModeRecord, 16);

impl ModeRecord {
    /// The slot of the host; no endpoint has this id.
    pub const HOST: u32 = 0;

    /// Whether the order has an end, so that the clock has to be read.
    #[inline(always)]
    pub const fn is_timed(&self) -> bool {
        self.ordered != 0 && self.until != 0
    }

    /// What is ordered at `now` (`CLOCK_BOOTTIME`, ns).
    #[inline(always)]
    pub const fn order(&self, now: u64) -> Option<Mode> {
        if self.until == 0 || now < self.until { Mode::from_number(self.ordered) } else { None }
    }
}

/// The mode in force for an endpoint: orders before files, and of each what is said of the endpoint before
/// what is said of the host. An order for the whole host takes those for endpoints back, so the latest
/// order wins.
#[inline(always)]
pub const fn in_force(host: &ModeRecord, endpoint: &ModeRecord, now: u64) -> Mode {
    if let Some(mode) = endpoint.order(now) {
        return mode;
    }
    if let Some(mode) = host.order(now) {
        return mode;
    }
    if let Some(mode) = Mode::from_number(endpoint.configured) {
        return mode;
    }
    match Mode::from_number(host.configured) {
        Some(mode) => mode,
        None => Mode::Enforce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn record(ordered: Option<Mode>, until: u64, configured: Option<Mode>) -> ModeRecord {
        ModeRecord {
            until,
            ordered: Mode::number(ordered),
            configured: Mode::number(configured),
            reserved: [0; 6],
        }
    }

    #[test]
    fn orders_come_before_files_and_endpoints_before_the_host() {
        use Mode::{Audit, Enforce, Observe};
        let none = ModeRecord::default();
        assert_eq!(in_force(&none, &none, 5), Enforce, "nothing is said");
        let host = record(None, 0, Some(Observe));
        assert_eq!(in_force(&host, &none, 5), Observe);
        assert_eq!(in_force(&host, &record(None, 0, Some(Audit)), 5), Audit);
        let host = record(Some(Observe), 0, Some(Enforce));
        assert_eq!(in_force(&host, &record(None, 0, Some(Audit)), 5), Observe, "the 3 a.m. switch");
        assert_eq!(in_force(&host, &record(Some(Enforce), 0, None), 5), Enforce);
    }

    #[test]
    fn an_order_ends_by_itself() {
        let host = record(Some(Mode::Observe), 1_000, Some(Mode::Audit));
        assert_eq!(in_force(&host, &ModeRecord::default(), 999), Mode::Observe);
        assert_eq!(in_force(&host, &ModeRecord::default(), 1_000), Mode::Audit);
        assert!(host.is_timed() && !record(Some(Mode::Observe), 0, None).is_timed());
    }

    #[test]
    fn numbers_and_modes_are_the_same() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_number(Mode::number(Some(mode))), Some(mode));
        }
        assert_eq!(Mode::from_number(0), None);
        assert_eq!(Mode::from_number(4), None);
    }
}
