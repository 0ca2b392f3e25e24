//! The daemon: control plane only. It watches the host, keeps the facts in the kernel true and applies
//! policies; when it stops, dies or is replaced, the kernel goes on enforcing.
//!
//! [`links`] looks at the host → [`step`] decides → [`kernel`] does; [`control`] serves the socket,
//! [`store`] keeps the last good policy. All of it meets in [`core::Core`].

use std::{
    fs,
    io::{self, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};
use tracing::{info, warn};

use self::{
    core::Core,
    event::Event,
    links::{Links, Wake},
    store::Store,
};
use crate::{
    config::Config,
    datapath::{
        events::Events,
        load::{Datapath, Options},
        pins::Pins,
    },
};

mod claims;
mod clean;
pub mod control;
pub mod core;
pub mod event;
pub mod guards;
#[cfg(test)]
mod guards_tests;
pub mod kernel;
pub mod links;
mod memory;
pub mod op;
pub mod snapshot;
pub mod step;
#[cfg(test)]
mod step_tests;
pub mod store;

pub use clean::{clean, clean_check};

/// How long `--once` waits for workloads to show their addresses.
const ONCE_PATIENCE: Duration = Duration::from_secs(2);

/// Where everything is, and how to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The host file.
    pub config: PathBuf,
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
    if !nix::unistd::geteuid().is_root() {
        bail!("`enforcer run` needs root to load programs into the kernel; try `sudo enforcer run`");
    }
    let _lock = Lock::take(&options.socket)?;
    let config = Arc::new(Config::read(&options.config)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options, config))
}

async fn serve(options: &RunOptions, config: Arc<Config>) -> anyhow::Result<()> {
    let pins = Pins::new(options.bpffs.clone());
    let load = Options {
        pins: Some(pins.clone()),
        mark_mask: config.datapath.mark_mask,
        trace: options.trace_datapath,
    };
    pins.prepare()?;
    let _pins_lock = lock_directory(pins.directory())?;
    let mut datapath = Datapath::load(&load)?;
    let events = Events::new(datapath.take_events()?)?;
    if options.trace_datapath {
        trace(&mut datapath)?;
    }
    let mut core = Core::new(config.clone(), datapath, pins, Store::new(options.state_dir.clone()))?;
    core.restore_policy(&config);
    let mut links = Links::open(config)?;
    core.handle(Event::Observed(links.look().await?));
    info!(endpoints = core.state.endpoints.len(), generation = core.state.generation.number, "enforcing");
    let core = Arc::new(Mutex::new(core));
    if options.once {
        return settle_once(&core, &mut links).await;
    }
    let listener = listen(&options.socket)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(follow_links(core.clone(), links));
    tokio::spawn(follow_events(core.clone(), events));
    let server = axum::serve(listener, control::router(core));
    tokio::select! {
        outcome = server => outcome.context("the control socket failed")?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    remove_socket(&options.socket);
    info!("stopped; the kernel goes on enforcing");
    Ok(())
}

async fn settle_once(core: &Mutex<Core>, links: &mut Links) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + ONCE_PATIENCE;
    while !core.lock().await.is_settled() && tokio::time::Instant::now() < deadline {
        links.wake(false).await;
        let observation = links.look().await?;
        core.lock().await.handle(Event::Observed(observation));
    }
    Ok(())
}

async fn follow_links(core: Arc<Mutex<Core>>, mut links: Links) {
    let mut was_settled = false;
    loop {
        let settled = core.lock().await.is_settled();
        if settled && !was_settled {
            memory::give_back();
        }
        was_settled = settled;
        match links.wake(settled).await {
            Wake::Appeared { ifindex, name } => core.lock().await.handle(Event::Appeared { ifindex, name }),
            Wake::Vanished { ifindex } => core.lock().await.handle(Event::Vanished { ifindex }),
            Wake::Overrun => core.lock().await.distrust(),
            Wake::Look => {}
        }
        match links.look().await {
            Ok(observation) => core.lock().await.handle(Event::Observed(observation)),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot look at the host; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
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

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    // The lock says that nobody else listens: what lies here is left over.
    remove_socket(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot restrict {}", path.display()))?;
    Ok(listener)
}

fn remove_socket(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(%error, path = %path.display(), "cannot remove the control socket");
    }
}

/// Two daemons with different sockets could still share the pins.
fn lock_directory(path: &Path) -> anyhow::Result<Flock<fs::File>> {
    let directory = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| anyhow!("another enforcer holds the tables at {} ({errno})", path.display()))
}

/// Held by the one daemon of a socket.
struct Lock(#[expect(dead_code, reason = "dropping it unlocks")] Flock<fs::File>);

impl Lock {
    fn path(socket: &Path) -> PathBuf {
        socket.with_extension("lock")
    }

    fn take(socket: &Path) -> anyhow::Result<Self> {
        let path = Self::path(socket);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let Ok(mut file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            bail!("another enforcer (process {}) serves {} already", pid.trim(), socket.display());
        };
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))?;
        Ok(Self(file))
    }
}
