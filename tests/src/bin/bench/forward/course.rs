//! From where to where packets go.

use super::stage::{TOWARDS_A, TOWARDS_B};
use crate::ladder::{Doors, LADDER, Rung};

/// Who sends, and who receives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// One workload to another.
    Within,
    /// A workload to a machine beyond an uplink.
    Out,
    /// Such a machine to a workload.
    In,
}

impl Course {
    /// The part of the benchmark.
    pub const fn part(self) -> &'static str {
        match self {
            Self::Within => "forward",
            Self::Out | Self::In => "outside",
        }
    }

    /// What tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Within => "",
            Self::Out => "out, ",
            Self::In => "in, ",
        }
    }

    /// What the host's interfaces lead to.
    pub const fn doors(self) -> Doors<'static> {
        match self {
            Self::Within => Doors { endpoints: &[TOWARDS_A, TOWARDS_B], uplinks: &[] },
            Self::Out => Doors { endpoints: &[TOWARDS_A], uplinks: &[TOWARDS_B] },
            Self::In => Doors { endpoints: &[TOWARDS_B], uplinks: &[TOWARDS_A] },
        }
    }

    /// What it is measured with.
    pub fn rungs(self) -> impl Iterator<Item = Rung> {
        LADDER.into_iter().filter(move |rung| self == Self::Within || rung.is_for_uplinks())
    }
}
