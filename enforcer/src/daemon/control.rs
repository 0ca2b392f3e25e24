//! The control socket: HTTP and JSON over a unix socket, so that `curl --unix-socket` works too.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::JsonRejection},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, Semaphore, watch};
use tracing::info;

use super::{
    access::{Access, Peer},
    core::Core,
    links::interface_towards,
    memory,
    policies::{Outcome, Prepared, prepare},
    snapshot::Snapshot,
};
use crate::{
    report::{
        ApplyReport, ApplyRequest, ForgetReport, ForgetRequest, ModeRequest, ModesReport, Refusal,
        RollbackRequest, digest_text,
    },
    view::impact,
};

/// A policy of a hundred thousand prefixes is a few megabytes of text.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// An answer of so many bytes took several times as many.
const LONG_ANSWER: usize = 256 * 1024;

/// Long answers at a time: each takes memory.
static TURNS: Semaphore = Semaphore::const_new(2);

type Shared = Arc<Mutex<Core>>;

/// Everything the socket answers to, and to whom. Every request carries its [`Peer`] as an extension.
pub fn router(core: Shared, access: watch::Receiver<Access>, look: Arc<Notify>) -> Router {
    Router::new()
        .route("/v1/status", get(async |core| answer(core, Snapshot::status).await))
        .route("/v1/networks", get(async |core| answer(core, |now: &Snapshot| now.view().networks()).await))
        .route("/v1/rules", get(async |core| answer(core, |now: &Snapshot| now.view().rules()).await))
        .route("/v1/endpoints", get(async |core| answer(core, Snapshot::endpoints).await))
        .route("/v1/flows", get(async |core| answer(core, |now: &Snapshot| now.view().flows()).await))
        .route("/v1/drops", get(async |core| answer(core, Snapshot::drops).await))
        .route("/v1/policy", get(async |core| answer(core, |now: &Snapshot| now.view().policy()).await))
        .route("/v1/explain", get(explain))
        .route("/v1/generations", get(async |core| answer(core, Snapshot::generations).await))
        .route("/v1/apply", post(apply))
        .route("/v1/confirm", post(confirm))
        .route("/v1/rollback", post(rollback))
        .route(
            "/v1/mode",
            get(async |core| answer(core, |now: &Snapshot| now.view().modes()).await).post(mode),
        )
        .route("/v1/forget", post(forget))
        .fallback(async || Refused(StatusCode::NOT_FOUND, anyhow!("there is nothing of this name")))
        .method_not_allowed_fallback(async || {
            Refused(
                StatusCode::METHOD_NOT_ALLOWED,
                anyhow!("questions are asked with GET, orders given with POST"),
            )
        })
        .layer(Extension(look))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .layer(from_fn_with_state(access, admit))
        .with_state(core)
}

/// Asks who it is before anything of a request's body is kept, and tells the log of every order.
async fn admit(
    State(access): State<watch::Receiver<Access>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let access = *access.borrow();
    let (uid, pid) = (peer.uid, peer.pid);
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        if access.may_read(&peer) {
            return next.run(request).await;
        }
        let refused = anyhow!("user {uid} may not ask: only root, and the groups that [control] names");
        return Refused(StatusCode::FORBIDDEN, refused).into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = if access.may_change(&peer) {
        next.run(request).await
    } else {
        drain(request.into_body()).await;
        let refused =
            anyhow!("user {uid} may not change anything: only root, and the admin_group of [control]");
        Refused(StatusCode::FORBIDDEN, refused).into_response()
    };
    info!(uid, pid, %method, path, status = response.status().as_u16(), "order");
    response
}

/// Throws away what is still to come of a request: who cannot send it to its end does not see the answer.
async fn drain(body: Body) {
    let mut body = Limited::new(body, MAX_REQUEST_BYTES);
    while let Some(Ok(_)) = body.frame().await {}
}

/// Why a request is not answered; the text is for people.
pub struct Refused(StatusCode, anyhow::Error);

impl From<Refused> for anyhow::Error {
    fn from(Refused(_, error): Refused) -> Self {
        error
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Refusal { error: format!("{:#}", self.1) })).into_response()
    }
}

/// Answers beside the core, which is held only for a moment: a long list of flows keeps no workload waiting.
async fn answer<T: Serialize>(
    State(core): State<Shared>,
    question: impl FnOnce(&Snapshot) -> anyhow::Result<T> + Send + 'static,
) -> Result<impl IntoResponse, Refused> {
    // Held until the work is done, also when nobody waits for it any more.
    let turn = TURNS.acquire().await.map_err(|error| broken(error.into()))?;
    let snapshot = core.lock().await.snapshot();
    let json = move || -> anyhow::Result<Vec<u8>> {
        let _turn = turn;
        let json = serde_json::to_vec(&question(&snapshot)?)?;
        if json.len() > LONG_ANSWER {
            memory::give_back();
        }
        Ok(json)
    };
    let json = tokio::task::spawn_blocking(json).await.map_err(|error| broken(error.into()))?;
    Ok(([(CONTENT_TYPE, "application/json")], json.map_err(broken)?))
}

#[derive(Deserialize)]
struct Question {
    src: String,
    dst: String,
    service: Option<String>,
}

async fn explain(
    State(core): State<Shared>,
    Query(question): Query<Question>,
) -> Result<impl IntoResponse, Refused> {
    let turn = TURNS.acquire().await.map_err(|error| broken(error.into()))?;
    let snapshot = core.lock().await.snapshot();
    let asked = move || {
        let _turn = turn;
        let Question { src, dst, service } = question;
        snapshot.view().explain(&src, &dst, service.as_deref())
    };
    let report = tokio::task::spawn_blocking(asked).await.map_err(|error| broken(error.into()))?;
    report.map(Json).map_err(|error| Refused(StatusCode::BAD_REQUEST, error))
}

async fn apply(
    State(core): State<Shared>,
    request: Result<Json<ApplyRequest>, JsonRejection>,
) -> Result<Json<ApplyReport>, Refused> {
    let Json(request) = request.map_err(|rejection| unreadable(&rejection))?;
    let report = change_policy(&core, &request).await;
    drop(request);
    // Text, model and tables of a large policy are many times what stays of it.
    memory::give_back();
    report.map(Json)
}

fn unreadable(rejection: &JsonRejection) -> Refused {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let limit = MAX_REQUEST_BYTES / 1024 / 1024;
            Refused(StatusCode::PAYLOAD_TOO_LARGE, anyhow!("a request has at most {limit} MiB"))
        }
        status => Refused(status, anyhow!(rejection.body_text())),
    }
}

/// Makes a policy of texts decide, whole or not at all. Parsing, compiling and judging flows happen beside the core; it
/// is only held while the kernel is written. Unless it is forced, no address moves into the world that a rule
/// names, and no policy becomes one that says nothing.
pub async fn change_policy(core: &Mutex<Core>, request: &ApplyRequest) -> Result<ApplyReport, Refused> {
    let unprocessable = |error| Refused(StatusCode::UNPROCESSABLE_ENTITY, error);
    let confirm = request.confirm_seconds.map(Duration::from_secs);
    // What ends by itself, or is insisted on, may cut whoever applies it.
    let session = request.session.filter(|_| confirm.is_none() && !request.force);
    let interface = match &session {
        Some(session) => interface_towards(session.client).await,
        None => None,
    };
    loop {
        let ids = core.lock().await.policies().ids().clone();
        let (sources, base) = (request.sources.clone(), ids.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare(&sources, &base)).await;
        let mut prepared = prepared.map_err(|error| broken(error.into()))?.map_err(unprocessable)?;
        if let Some(limit) = request.max_cut {
            prepared = checked_cut(core, prepared, limit).await?;
        }
        let mut held = core.lock().await;
        // Somebody else applied meanwhile: their ids count, so compile again.
        if *held.policies().ids() == ids {
            let prepared = held.policies().resolve(prepared).map_err(unprocessable)?;
            if !request.force {
                held.check_world(&prepared).map_err(|error| conflict(error.into()))?;
                held.policies().check_emptied(&prepared).map_err(|error| conflict(error.into()))?;
            }
            if let Some(session) = &session {
                held.check_session(&prepared.policy, session, interface)
                    .map_err(|error| conflict(error.into()))?;
            }
            return held.apply(prepared, confirm).map(report).map_err(broken);
        }
    }
}

/// The same policy, unless it would cut more than it may by what is known of its members now.
async fn checked_cut(core: &Mutex<Core>, prepared: Prepared, limit: usize) -> Result<Prepared, Refused> {
    let held = core.lock().await;
    let prepared = held.policies().resolve(prepared);
    let prepared = prepared.map_err(|error| Refused(StatusCode::UNPROCESSABLE_ENTITY, error))?;
    let now = held.snapshot();
    drop(held);
    let checked = move || check_cut(&now, &prepared, limit).map(|()| prepared);
    tokio::task::spawn_blocking(checked).await.map_err(|error| broken(error.into()))?
}

/// Refuses a policy that would cut more conversations than it may.
fn check_cut(now: &Snapshot, prepared: &Prepared, limit: usize) -> Result<(), Refused> {
    let cut = impact(now.view().flows().map_err(broken)?, &prepared.tables).cut;
    if cut.len() <= limit {
        return Ok(());
    }
    let example = &cut[0];
    let (src, dst, proto) = (example.src, example.dst, &example.proto);
    Err(conflict(anyhow!(
        "this would cut {} conversations seen lately, more than {limit}: one is {proto} from {src} to {dst} \
         port {}; `enforcer plan` lists them",
        cut.len(),
        example.dst_port
    )))
}

async fn confirm(State(core): State<Shared>) -> Result<Json<ApplyReport>, Refused> {
    let mut core = core.lock().await;
    core.confirm().map(|outcome| on_this_host(&mut core, outcome)).map(Json).map_err(conflict)
}

async fn rollback(
    State(core): State<Shared>,
    Json(request): Json<RollbackRequest>,
) -> Result<Json<ApplyReport>, Refused> {
    let mut core = core.lock().await;
    core.rollback(request.to).map(|outcome| on_this_host(&mut core, outcome)).map(Json).map_err(conflict)
}

/// The gate follows at once; what is refused leaves the modes as they were.
async fn mode(
    State(core): State<Shared>,
    Json(request): Json<ModeRequest>,
) -> Result<Json<ModesReport>, Refused> {
    let mut core = core.lock().await;
    core.order_mode(&request).map_err(conflict)?;
    core.follow_gate();
    core.snapshot().view().modes().map(Json).map_err(broken)
}

/// What was learned of an endpoint goes at once; the look that learns it anew is the next one.
async fn forget(
    State(core): State<Shared>,
    Extension(look): Extension<Arc<Notify>>,
    Json(request): Json<ForgetRequest>,
) -> Result<Json<ForgetReport>, Refused> {
    let report = core.lock().await.relearn(&request.endpoint).map_err(conflict)?;
    look.notify_one();
    Ok(Json(report))
}

/// What came of an order, for people.
pub fn report(outcome: Outcome) -> ApplyReport {
    let Outcome { unchanged, deciding, seconds_left } = outcome;
    ApplyReport {
        unchanged,
        generation: deciding.number,
        digest: digest_text(&deciding.digest),
        networks: deciding.networks,
        prefixes: deciding.prefixes,
        seconds_left,
        mode: None,
        reload_applies: Vec::new(),
    }
}

/// The same, with what else is true of this host: its files need not say what was ordered.
fn on_this_host(core: &mut Core, outcome: Outcome) -> ApplyReport {
    let reload_applies = core.state.config.policy_files();
    ApplyReport { mode: Some(core.host_mode()), reload_applies, ..report(outcome) }
}

fn conflict(error: anyhow::Error) -> Refused {
    Refused(StatusCode::CONFLICT, error)
}

fn broken(error: anyhow::Error) -> Refused {
    Refused(StatusCode::INTERNAL_SERVER_ERROR, error)
}
