//! Serves the control socket so that nobody keeps others from it for long: bounded in connections, time and
//! size.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::access::{Access, Peer};

/// Connections served at once; whoever comes later waits in the kernel's queue.
const CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may take: the request, the work and the answer. Our own command line waits as long.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait when no connection can be accepted, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at `path`, which must be nobody's: for the daemon's user, and for the group that may read.
pub fn listen(path: &Path, access: &Access) -> anyhow::Result<UnixListener> {
    remove(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    let mode = match access.readers().map(|group| chown(path, None, Some(group.as_raw()))) {
        Some(Ok(())) => 0o660,
        Some(Err(error)) => {
            warn!(%error, "cannot give the control socket to its group: it is the daemon's user's alone");
            0o600
        }
        None => 0o600,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot restrict {}", path.display()))?;
    Ok(listener)
}

/// Removes the socket, also one that is left over.
pub fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(%error, path = %path.display(), "cannot remove the control socket");
    }
}

/// Serves whoever connects, for ever.
pub async fn serve(listener: UnixListener, router: Router) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    converse(stream, router).await;
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection; trying again");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(stream: UnixStream, router: Router) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => return debug!(%error, "cannot tell who connected"),
    };
    let (uid, pid) = (peer.uid, peer.pid);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        // Who has said all may say so.
        .half_close(true)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(uid, pid, %error, "a conversation broke off"),
        Err(_) => debug!(uid, pid, "a conversation took too long"),
    }
}
