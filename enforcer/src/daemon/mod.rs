//! The daemon: control plane only. It watches the host, keeps the facts in the kernel true and applies
//! policies; when it stops, dies or is replaced, the kernel goes on enforcing.
//!
//! [`links`] looks at the host → [`step`] decides → [`kernel`] does; [`control`] serves the socket,
//! [`store`] keeps the last good policy. All of it meets in [`core::Core`].
//!
//! ```text
//! load, restore, look, attach ──▶ listen ──▶ give up privileges ──▶ ready ──▶ serve, reload
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use enforcer_common::ABI_VERSION;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, Notify, mpsc, watch},
};
use tracing::{error, info, warn};

use self::{
    access::Access,
    core::Core,
    event::{Event, Observation},
    kernel::LiveKernel,
    links::{Links, News, Wake},
    place::{Lock, Place, lock_directory},
    reload::{Configured, Reload},
    stop::Stop,
    store::Store,
};
use crate::{
    config::{Config, HostFile},
    datapath::{
        events::Events,
        load::{self, Datapath, Options},
        migrate,
        pins::Pins,
        tables::Tables,
    },
};

mod access;
mod claims;
mod clean;
pub mod containers;
pub mod control;
pub mod core;
pub mod disk;
mod docker;
pub mod event;
#[cfg(test)]
mod facts_tests;
mod gate;
pub mod generations;
mod glimpse;
pub mod guards;
#[cfg(test)]
mod guards_tests;
pub mod host;
mod identity;
pub mod kernel;
pub mod links;
mod look_around;
mod members;
mod memory;
pub mod modes;
pub mod offline;
pub mod op;
mod place;
pub mod policies;
pub mod privileges;
pub mod reconcile;
#[cfg(test)]
mod reconcile_tests;
mod reload;
pub mod repairs;
pub mod seed;
pub mod senders;
mod server;
mod service;
pub mod session;
pub mod shortcuts;
#[cfg(test)]
mod simulator;
pub mod snapshot;
pub mod step;
#[cfg(test)]
mod step_tests;
mod stop;
pub mod store;
pub mod uplinks;

pub use clean::{clean, clean_check};

/// How long `--once` waits for workloads to show their addresses.
const ONCE_PATIENCE: Duration = Duration::from_secs(2);

/// How late the daemon may notice that a policy was not confirmed; the kernel does at once.
const DEADLINE_TICK: Duration = Duration::from_millis(500);

/// Where everything is, and how to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The host file.
    pub config: HostFile,
    /// The control socket.
    pub socket: PathBuf,
    /// The pin directory.
    pub bpffs: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Load, attach and exit.
    pub once: bool,
    /// Tell every packet's verdict in the log.
    pub trace_datapath: bool,
}

/// Runs the daemon until it is told to stop.
pub fn run(options: &RunOptions) -> anyhow::Result<()> {
    // First: there are kernels on which not even root has the capabilities that are asked for next.
    load::check_kernel()?;
    privileges::require()?;
    let _lock = Lock::take(&options.socket)?;
    let mut file = options.config.clone();
    let config = Arc::new(file.read()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options, file, config))
}

/// Makes tables of the ABI version `to` for its own `enforcer` to take over; this one's programs run on until
/// then.
pub fn downgrade(bpffs: &Path, socket: &Path, to: u32) -> anyhow::Result<()> {
    let _place = Place::take(socket, bpffs).context("stop the daemon first")?;
    Ok(migrate::downgrade(&Pins::new(bpffs.to_owned()), &load::object()?, to)?)
}

async fn serve(options: &RunOptions, file: HostFile, config: Arc<Config>) -> anyhow::Result<()> {
    // From here on a reload that comes too early waits, and does not end the daemon.
    let hangup = signal(SignalKind::hangup())?;
    let pins = Pins::new(options.bpffs.clone());
    pins.prepare()?;
    let _pins_lock = lock_directory(pins.directory())?;
    let (mut core, events) = load(options, config.clone(), pins)?;
    let mut links = Links::open(config.clone())?;
    take_over(&mut core, &mut links, &config).await?;
    // Not earlier: it would cut the workloads that run already.
    core.close_gate(&config);
    info!(
        endpoints = core.state.endpoints.len(),
        generation = core.policies().generations().published().generation(),
        "enforcing"
    );
    let core = Arc::new(Mutex::new(core));
    if options.once {
        return settle_once(&core, &mut links).await;
    }
    let (access, who) = watch::channel(Access::new(&config.control));
    let listener = server::listen(&options.socket, &who.borrow())?;
    privileges::reduce()?;
    let (to_links, configured) = mpsc::channel(1);
    let look = Arc::new(Notify::new());
    let newcomers = Arc::new(Notify::new());
    let audience = docker::Audience { core: core.clone(), look: look.clone(), newcomers: newcomers.clone() };
    let namespaces = docker::Kernel::open().context("failed to open a netlink socket")?;
    tokio::spawn(docker::follow(config.docker.socket.clone(), namespaces, audience));
    let watching = tokio::spawn(follow_links(core.clone(), links, configured, look.clone(), newcomers));
    tokio::spawn(follow_events(core.clone(), events));
    tokio::spawn(follow_deadlines(core.clone()));
    tokio::spawn(look_around::look_around(core.clone()));
    tokio::spawn(inspect(core.clone(), config.inspection, look.clone()));
    tokio::spawn(service::watch(core.clone()));
    tokio::spawn(server::serve(listener, control::router(core.clone(), who, look)));
    let reload = Reload { file, config, core, links: to_links, access };
    service::ready();
    tokio::select! {
        outcome = until_told_to_stop(hangup, reload) => outcome?,
        // The next daemon opens new sockets; the kernel goes on enforcing until then.
        _ = watching => bail!("the kernel tells no more of the host's interfaces"),
    }
    service::stopping();
    server::remove(&options.socket);
    info!("stopped; the kernel goes on enforcing");
    Ok(())
}

/// Brings policy and interfaces in order. A policy first: what is attached without one drops everything.
/// But where programs still run that look into other tables, they go before anything changes that they cannot follow.
async fn take_over(core: &mut Core, links: &mut Links, config: &Config) -> anyhow::Result<()> {
    let observation = links.look().await?;
    if !core.replaces_others() {
        core.restore_policy(config);
    }
    core.seed_first(&observation);
    core.handle(Event::Observed(observation));
    core.forget_other_versions();
    if let Some(version) = core.migrated_from() {
        info!(from = version, to = ABI_VERSION, "took over the tables of another version");
    }
    if core.replaces_others() {
        core.restore_policy(config);
    }
    Ok(())
}

/// Loads the datapath, and takes over what an earlier daemon left.
fn load(options: &RunOptions, config: Arc<Config>, pins: Pins) -> anyhow::Result<(Core, Events)> {
    let mut datapath = Datapath::load(&Options {
        pins: Some(pins.clone()),
        mark_mask: config.datapath.mark_mask,
        trace: options.trace_datapath,
        sizes: config.datapath.sizes,
        ..Options::default()
    })?;
    let events = Events::new(datapath.take_events()?)?;
    if options.trace_datapath {
        trace(&mut datapath)?;
    }
    let reader = Arc::new(Tables::open_pinned(&pins)?);
    let kernel = LiveKernel { datapath, reader, pins, mechanism: config.datapath.attach };
    Ok((Core::new(config, kernel, Store::new(options.state_dir.clone()))?, events))
}

/// Reloads as often as it is told to. A reload may wait for a look at the host, and whoever ends the daemon does not wait
/// for that.
async fn until_told_to_stop(mut hangup: Signal, mut reload: Reload) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    while stop.or(hangup.recv()).await.is_some() {
        service::reloading();
        match stop.or(reload.run()).await {
            Some(Ok(())) => info!("reloaded"),
            Some(Err(error)) => error!("{error}"),
            None => break,
        }
        service::ready();
    }
    Ok(())
}

async fn settle_once(core: &Mutex<Core>, links: &mut Links) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + ONCE_PATIENCE;
    while !core.lock().await.is_settled() && tokio::time::Instant::now() < deadline {
        match links.next(false).await {
            News::Told(wakes) if wakes.iter().any(|wake| matches!(wake, Wake::Lost)) => {
                bail!("the kernel tells no more of interfaces")
            }
            News::Told(_) => {}
            News::Seen(observation) => core.lock().await.handle(Event::Observed(observation?)),
        }
    }
    Ok(())
}

async fn follow_links(
    core: Arc<Mutex<Core>>,
    mut links: Links,
    mut configured: mpsc::Receiver<Configured>,
    look: Arc<Notify>,
    newcomers: Arc<Notify>,
) {
    let (mut was_settled, mut waiting) = (false, None::<Configured>);
    loop {
        let settled = core.lock().await.is_settled();
        if settled && !was_settled {
            memory::give_back();
        }
        was_settled = settled;
        tokio::select! {
            news = links.next(settled) => match news {
                News::Told(wakes) => {
                    if !hear(&core, wakes).await {
                        return;
                    }
                    glimpse(&core, &mut links).await;
                }
                News::Seen(Ok(observation)) => {
                    see(&core, observation, &look, &newcomers).await;
                    if let Some(Configured { config, done }) = waiting.take() {
                        core.lock().await.close_gate(&config);
                        // Whoever waited may have given up.
                        done.send(()).unwrap_or_default();
                    }
                }
                News::Seen(Err(error)) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot look at the host; trying again");
                    core.lock().await.handle(Event::Blinded);
                }
            },
            Some(Configured { config, done }) = configured.recv() => {
                links.configure(&config);
                core.lock().await.handle(Event::Configured(config.clone()));
                waiting = Some(Configured { config, done });
            }
            () = look.notified() => links.want_look(),
        }
    }
}

/// Does what cannot wait for a look; whether there will be more to hear.
async fn hear(core: &Mutex<Core>, wakes: Vec<Wake>) -> bool {
    for wake in wakes {
        match wake {
            Wake::Appeared { ifindex, name } => core.lock().await.handle(Event::Appeared { ifindex, name }),
            Wake::Vanished { ifindex } => core.lock().await.handle(Event::Vanished { ifindex }),
            Wake::Overrun => core.lock().await.distrust(),
            Wake::Lost => return false,
        }
    }
    true
}

/// Does what follows from a complete look, and tells whom it concerns.
async fn see(core: &Mutex<Core>, observation: Observation, look: &Notify, newcomers: &Notify) {
    let mut core = core.lock().await;
    core.handle(Event::Observed(observation));
    if core.state.awaits_look() {
        look.notify_one();
    }
    if !core.state.newcomers().is_empty() {
        newcomers.notify_one();
    }
}

/// Looks at those who wait, if anybody does.
async fn glimpse(core: &Mutex<Core>, links: &mut Links) {
    let waiting: Vec<u32> = core.lock().await.state.waiting().collect();
    let glimpse = links.glimpse(&waiting).await;
    if glimpse.veths.is_empty() {
        return;
    }
    let mut core = core.lock().await;
    core.handle(Event::Glimpsed(glimpse));
    // A look that began before may not have seen what they have now, and would take it back.
    let still: Vec<u32> = core.state.waiting().collect();
    waiting.iter().filter(|ifindex| !still.contains(ifindex)).for_each(|ifindex| links.overtake(*ifindex));
}

/// Makes final what the kernel does by itself: a policy that nobody confirmed in time decides no longer, and a
/// mode that was ordered for a while is over.
async fn follow_deadlines(core: Arc<Mutex<Core>>) {
    loop {
        let left = {
            let mut core = core.lock().await;
            let left = core.time_left();
            if left == Some(Duration::ZERO) {
                core.expire();
            }
            core.expect_expiry();
            core.follow_gate();
            left
        };
        // The clock of deadlines runs on while the host sleeps, the timer's does not.
        tokio::time::sleep(left.unwrap_or(DEADLINE_TICK).clamp(Duration::from_millis(10), DEADLINE_TICK))
            .await;
    }
}

/// Looks from time to time whether the kernel still holds what it should. Who lost what was known of it should
/// not wait for the next look at the host.
async fn inspect(core: Arc<Mutex<Core>>, every: Duration, look: Arc<Notify>) {
    loop {
        tokio::time::sleep(every).await;
        let mut core = core.lock().await;
        core.inspect();
        core.inspect_gate();
        core.forget_other_versions();
        if !core.is_settled() {
            look.notify_one();
        }
    }
}

async fn follow_events(core: Arc<Mutex<Core>>, mut events: Events) {
    loop {
        match events.next_batch().await {
            Ok(batch) => core.lock().await.remember_drops(batch),
            Err(error) => {
                warn!(%error, "cannot read drop events any more; counters and flows are not affected");
                return;
            }
        }
    }
}

/// Tells what `aya-log` in the datapath says.
fn trace(datapath: &mut Datapath) -> anyhow::Result<()> {
    let logger = aya_log::EbpfLogger::init(datapath.ebpf_mut()).context("the datapath has no trace ring")?;
    // SAFETY: the logger owns its ring's descriptor and lives as long as the registration.
    let mut logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE)? };
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}
