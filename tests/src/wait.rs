//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::env;
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// See [`slowness`]; an emulated one says so in `ENFORCER_SLOWNESS`.
static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
    env::var("ENFORCER_SLOWNESS").map_or(1, |times| times.parse().expect("ENFORCER_SLOWNESS is a number"))
});

/// How many times slower than usual this machine is.
pub fn slowness() -> u32 {
    *SLOWNESS
}

/// How long something may take on this machine that may take `limit` on a usual one.
pub fn scaled(limit: Duration) -> Duration {
    limit * slowness()
}

/// Looks again and again until `look` finds something, and returns it.
///
/// Panics when `limit` has passed, saying what was waited for.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("waited {limit:?} in vain until {what}"))
}

/// Like [`until`], but `None` when `limit` has passed.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + scaled(limit);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(PAUSE);
    }
}
