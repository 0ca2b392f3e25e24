//! What systemd is told, where it asked to be: that the daemon is ready, reloads, stops, and is alive.

use std::{
    sync::{
        Arc, LazyLock,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::warn;

use super::core::Core;

/// Programs are attached, and a policy decides if there is one.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The host file is read again; `ready` says that it is done.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot tell systemd of a reload"),
    }
}

/// The daemon is about to end; who does not listen is not waited for.
pub fn stopping() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (told, wait) = mpsc::channel();
    send(Message { state: vec![NotifyState::Stopping], _told: Some(told) });
    let _ = wait.recv_timeout(PATIENCE);
}

/// Keeps the watchdog quiet, twice as often as it wants, while the core answers.
pub async fn watch(core: Arc<Mutex<Core>>) {
    // Zero would mean never, too.
    if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit > Duration::ZERO) {
        keep_alive(&core, limit / 2, || tell(&[NotifyState::Watchdog])).await;
    }
}

async fn keep_alive<T>(core: &Mutex<T>, period: Duration, tell: impl Fn()) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if timeout(period, core.lock()).await.is_ok() {
            tell();
        } else {
            warn!("the core does not answer: systemd's watchdog is not told that all is well");
        }
    }
}

fn tell(state: &[NotifyState<'static>]) {
    send(Message { state: state.to_vec(), _told: None });
}

struct Message {
    state: Vec<NotifyState<'static>>,
    /// Dropped when it was told.
    _told: Option<Sender<()>>,
}

/// Telling waits while nobody reads what was told before. Only this thread does, and nothing of the daemon.
fn send(message: Message) {
    static SENDER: LazyLock<Sender<Message>> = LazyLock::new(|| {
        let (sender, messages) = mpsc::channel::<Message>();
        thread::spawn(move || {
            for message in messages {
                if let Err(error) = sd_notify::notify(&message.state) {
                    warn!(%error, "cannot tell systemd");
                }
            }
        });
        sender
    });
    drop(SENDER.send(message));
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn nobody_says_that_a_core_is_alive_that_does_not_answer() {
        let (core, told) = (Mutex::new(()), Cell::new(0));
        let minutes = async {
            sleep(PERIOD * 4 + PERIOD / 2).await;
            assert_eq!(told.get(), 5, "at once, and once a period");
            let busy = core.lock().await;
            sleep(PERIOD * 8).await;
            assert_eq!(told.get(), 5, "while the core is held");
            drop(busy);
            sleep(PERIOD * 2).await;
            assert!(told.get() > 5, "when it is free again");
        };
        tokio::select! {
            () = minutes => {}
            () = keep_alive(&core, PERIOD, || told.set(told.get() + 1)) => {}
        }
    }
}
