//! Looks around as long as the daemon runs: every look lets shortcuts be taken for another while, and without one the
//! lease ends by itself.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;
use tracing::warn;

use super::{core::Core, event::Event};
use crate::{
    config::Fastpath,
    shortcut::{Surroundings, Watch, netfilter::Changes},
};

/// How often what stands in the way of shortcuts is looked for: of most of it nothing tells.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// Changes of netfilter come in bursts; one look serves all that arrive within this time.
const SETTLE: Duration = Duration::from_millis(5);

/// Looks for what stands in the way of shortcuts, and so lets them be taken for another while.
pub async fn look_around(core: Arc<Mutex<Core>>) {
    let mut watch = Watch::default();
    let mut changes = Changes::listen()
        .inspect_err(|error| warn!(%error, "changes of netfilter are noticed late, by looking"))
        .ok();
    loop {
        let (config, wayside) = {
            let core = core.lock().await;
            (core.state.config.clone(), core.state.wayside())
        };
        // On a thread of its own: the kernel may be busy with its interfaces for long.
        let look = move || {
            let surroundings = match config.datapath.fastpath {
                Fastpath::Auto => watch.look(&wayside, config.datapath.attach),
                Fastpath::Off => Surroundings::default(),
            };
            (watch, surroundings)
        };
        let Ok((returned, surroundings)) = tokio::task::spawn_blocking(look).await else {
            warn!("nobody looks around any more: until the next start all packets go by the host's stack");
            return;
        };
        watch = returned;
        core.lock().await.handle(Event::LookedAround(surroundings));
        let news = async {
            match &mut changes {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(SETTLE).await;
        };
        // Not to have heard of a change is no harm: it is time to look soon.
        tokio::time::timeout(LOOK_AROUND, news).await.unwrap_or_default();
        if let Some(changes) = &mut changes {
            changes.forget().await;
        }
    }
}
