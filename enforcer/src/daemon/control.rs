//! The control socket: HTTP and JSON over a unix socket, so that `curl --unix-socket` works too.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    core::{Core, prepare},
    memory,
    snapshot::Snapshot,
};
use crate::report::{ApplyReport, ApplyRequest, Refusal};

/// A policy of a hundred thousand prefixes is a few megabytes of text.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

type Shared = Arc<Mutex<Core>>;

/// Everything the socket answers to.
pub fn router(core: Shared) -> Router {
    Router::new()
        .route("/v1/status", get(async |core| answer(core, Snapshot::status).await))
        .route("/v1/networks", get(async |core| answer(core, |now: &Snapshot| now.view().networks()).await))
        .route("/v1/rules", get(async |core| answer(core, |now: &Snapshot| now.view().rules()).await))
        .route("/v1/endpoints", get(async |core| answer(core, Snapshot::endpoints).await))
        .route("/v1/flows", get(async |core| answer(core, |now: &Snapshot| now.view().flows()).await))
        .route("/v1/drops", get(async |core| answer(core, Snapshot::drops).await))
        .route("/v1/policy", get(async |core| answer(core, |now: &Snapshot| now.view().policy()).await))
        .route("/v1/explain", get(explain))
        .route("/v1/apply", post(apply))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(core)
}

/// Why a request is not answered; the text is for people.
struct Refused(StatusCode, anyhow::Error);

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
    let snapshot = core.lock().await.snapshot();
    let broken = |error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error);
    let json = move || -> anyhow::Result<Vec<u8>> { Ok(serde_json::to_vec(&question(&snapshot)?)?) };
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
    let snapshot = core.lock().await.snapshot();
    let report = snapshot.view().explain(&question.src, &question.dst, question.service.as_deref());
    report.map(Json).map_err(|error| Refused(StatusCode::BAD_REQUEST, error))
}

async fn apply(
    State(core): State<Shared>,
    Json(request): Json<ApplyRequest>,
) -> Result<Json<ApplyReport>, Refused> {
    let report = make_policy(core, request).await;
    // Text, model and tables of a large policy are many times what stays of it.
    memory::give_back();
    report.map(Json)
}

/// Parsing and compiling happen beside the core; it is only held while the kernel is written.
async fn make_policy(core: Shared, request: ApplyRequest) -> Result<ApplyReport, Refused> {
    let unprocessable = |error| Refused(StatusCode::UNPROCESSABLE_ENTITY, error);
    let broken = |error: anyhow::Error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error);
    loop {
        let ids = core.lock().await.ids();
        let sources = request.sources.clone();
        let base = ids.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&sources, &base)).await;
        let prepared = prepared.map_err(|error| broken(error.into()))?.map_err(unprocessable)?;
        let mut core = core.lock().await;
        // Somebody else applied meanwhile: their ids count, so compile again.
        if core.ids() == ids {
            if !request.force {
                core.check_world(&prepared).map_err(|error| Refused(StatusCode::CONFLICT, error.into()))?;
            }
            return core.apply(prepared).map_err(broken);
        }
    }
}
