//! Ctrl-C and SIGTERM: the demo goes on to its next step only if nobody wants it to end.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use enforcer_tests::leftovers::sweep_own;

/// The exit status that shells give a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

static IS_CALLED_OFF: AtomicBool = AtomicBool::new(false);

/// From now on a signal ends the demo at its next step; a second one ends it at once. Both clean up.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if IS_CALLED_OFF.swap(true, Ordering::AcqRel) {
            sweep_own();
            std::process::exit(INTERRUPTED);
        }
        eprintln!("demo: cleaning up");
    })
    .context("failed to listen for signals")
}

/// Whether the demo is to end.
pub fn is_called_off() -> bool {
    IS_CALLED_OFF.load(Ordering::Acquire)
}

/// An error if the demo is to end.
pub fn check() -> Result<()> {
    if is_called_off() {
        bail!("interrupted");
    }
    Ok(())
}
