//! Asks Docker what runs, so that members are known by labels and names.
//!
//! Every event leads to a new list, and so does a workload that came since the last one. What is known stays
//! while the engine is away: containers do not end with it.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use netlink_packet_route::nsid::NsidAttribute;
use rtnetlink::Handle;
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{info, warn};

use self::{
    api::{Api, DockerError, Events},
    roster::{Namespaces, Roster},
};
use super::{containers::Running, core::Core, event::Event, links::nsid_of};

mod api;
mod roster;
#[cfg(test)]
mod tests;

/// How long the policy waits for the first list; then nobody is a member by label until there is one.
const FIRST: Duration = Duration::from_secs(5);

/// Events come in bursts; one list serves all that arrive within this time.
const SETTLE: Duration = Duration::from_millis(5);

/// How often to ask when nothing is told.
const PATIENT: Duration = Duration::from_mins(1);

/// How soon to try again when the engine is away, at first and at last.
const AWAY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// Who is told of containers.
pub trait Listener {
    /// Looks at the host so far.
    fn looks(&self) -> impl Future<Output = u64> + Send;
    /// Namespaces of workloads that came since the containers were asked for.
    fn newcomers(&self) -> impl Future<Output = BTreeSet<i32>> + Send;
    /// What runs.
    fn hear(&self, running: Running) -> impl Future<Output = ()> + Send;
    /// Waits for newcomers.
    fn wanted(&self) -> impl Future<Output = ()> + Send;
}

/// The core, and whoever looks at the host for it.
pub struct Audience {
    /// Takes what runs.
    pub core: Arc<Mutex<Core>>,
    /// Wakes whoever looks at the host.
    pub look: Arc<Notify>,
    /// Wakes us when there are newcomers.
    pub newcomers: Arc<Notify>,
}

impl Listener for Audience {
    async fn looks(&self) -> u64 {
        self.core.lock().await.state.containers.looks()
    }

    async fn newcomers(&self) -> BTreeSet<i32> {
        self.core.lock().await.state.newcomers()
    }

    async fn hear(&self, running: Running) {
        self.core.lock().await.handle(Event::Containers(running));
        self.look.notify_one();
    }

    async fn wanted(&self) {
        self.newcomers.notified().await;
    }
}

/// Tells of containers for as long as the daemon lives; without a socket that there are none.
pub async fn follow(socket: Option<PathBuf>, namespaces: impl Namespaces, listener: impl Listener) {
    let Some(socket) = socket else { return listener.hear(Running::nothing()).await };
    let engine = Engine { api: Api::new(socket.clone()), namespaces, listener };
    let mut roster = Roster::default();
    let mut wait = AWAY[0];
    if !socket.exists() || timeout(FIRST, engine.first(&mut roster)).await.is_err() {
        engine.tell(Vec::new(), 0).await;
    }
    // Nothing to tell of on a host that has no Docker, or not yet.
    let mut is_away = !socket.exists();
    loop {
        let error = match engine.session(&mut roster, &mut is_away).await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        if !is_away {
            warn!(error = &error as &dyn std::error::Error, "Docker does not answer; what was known stays");
        }
        wait = if is_away { (wait * 2).min(AWAY[1]) } else { AWAY[0] };
        is_away = true;
        sleep(wait).await;
    }
}

struct Engine<N, L> {
    api: Api,
    namespaces: N,
    listener: L,
}

impl<N: Namespaces, L: Listener> Engine<N, L> {
    /// The first list, as soon as there is one.
    async fn first(&self, roster: &mut Roster) {
        while self.list(roster).await.is_err() {
            sleep(AWAY[0]).await;
        }
    }

    /// Lists and listens until the engine goes away.
    async fn session(
        &self,
        roster: &mut Roster,
        is_away: &mut bool,
    ) -> Result<std::convert::Infallible, DockerError> {
        // First of all, so that nothing happens between list and events.
        let mut events = self.api.events().await?;
        // What happened before was not heard.
        *roster = Roster::default();
        loop {
            self.list(roster).await?;
            if std::mem::take(is_away) {
                info!("Docker answers");
            }
            self.wait(roster, &mut events).await?;
        }
    }

    /// Until there is a reason for another list.
    async fn wait(&self, roster: &mut Roster, events: &mut Events) -> Result<(), DockerError> {
        tokio::select! {
            told = events.next() => told?.iter().for_each(|id| roster.forget(id)),
            () = self.listener.wanted() => {}
            () = sleep(PATIENT) => return Ok(()),
        }
        let deadline = Instant::now() + SETTLE;
        while let Ok(told) = timeout_at(deadline, events.next()).await {
            told?.iter().for_each(|id| roster.forget(id));
        }
        Ok(())
    }

    async fn list(&self, roster: &mut Roster) -> Result<(), DockerError> {
        let asked_at = self.listener.looks().await;
        // For every list, whatever it was made for: after it they are newcomers no longer.
        roster.forget_in(&self.listener.newcomers().await);
        let containers = roster.ask(&self.api, &self.namespaces, asked_at).await?;
        self.tell(containers, asked_at).await;
        Ok(())
    }

    async fn tell(&self, containers: Vec<super::containers::Container>, asked_at: u64) {
        let told_at = self.listener.looks().await;
        self.listener.hear(Running { containers, asked_at, told_at }).await;
    }
}

/// The kernel's own ids.
pub struct Kernel(Handle);

impl Kernel {
    /// Opens a socket; needs a tokio runtime.
    pub fn open() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }
}

impl Namespaces for Kernel {
    async fn nsid(&self, pid: u32) -> Option<i32> {
        nsid_of(&self.0, NsidAttribute::Pid(pid)).await
    }
}
