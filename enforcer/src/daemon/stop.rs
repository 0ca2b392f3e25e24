//! Signals that end the daemon, whatever it is waiting for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears that the daemon is told to stop.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// What comes of `work`; `None` if the daemon is told to stop before it is done.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = work => Some(outcome),
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[tokio::test]
    async fn what_does_not_come_to_an_end_is_not_waited_for() {
        let mut stop = Stop::listen().unwrap();
        assert_eq!(stop.or(ready(7)).await, Some(7));
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            raise(signal).unwrap();
            assert_eq!(stop.or(pending::<()>()).await, None);
        }
    }
}
