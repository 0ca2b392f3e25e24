//! Looks around as long as the daemon runs: every look lets shortcuts be taken for another while, and without one the
//! lease ends by itself.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};
use tracing::warn;

use super::{core::Core, event::Event};
use crate::{
    config::Fastpath,
    shortcut::{Changes, Surroundings, Watch},
};

/// How often what stands in the way of shortcuts is looked for: of much of it nothing tells.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// Changes come in bursts; one look serves all that arrive within this time.
const SETTLE: Duration = Duration::from_millis(5);

/// However much changes, it is looked again for that after so many times as long as the look before took. The look that is
/// due anyway does not wait: it renews a lease that is short.
const REST: u32 = 4;

/// Looks for what stands in the way of shortcuts, and so lets them be taken for another while.
pub async fn look_around(core: Arc<Mutex<Core>>) {
    let mut watch = Watch::default();
    let mut changes = Changes::listen();
    loop {
        let (config, wayside) = {
            let core = core.lock().await;
            (core.state.config.clone(), core.state.wayside())
        };
        // On a thread of its own: the kernel may be busy with its interfaces for long.
        let look = move || {
            let began = Instant::now();
            let surroundings = match config.datapath.fastpath {
                Fastpath::Auto => watch.look(&wayside, config.datapath.attach),
                Fastpath::Off => Surroundings::default(),
            };
            (watch, surroundings, began.elapsed())
        };
        let Ok((returned, surroundings, took)) = tokio::task::spawn_blocking(look).await else {
            warn!("nobody looks around any more: until the next start all packets go by the host's stack");
            return;
        };
        watch = returned;
        core.lock().await.handle(Event::LookedAround(surroundings));
        let rested = Instant::now() + REST * took;
        let news = async {
            changes.next().await;
            sleep_until(rested.max(Instant::now() + SETTLE)).await;
        };
        // Not to have heard of a change is no harm: it is time to look soon.
        timeout(LOOK_AROUND, news).await.unwrap_or_default();
        changes.forget();
    }
}
