//! The control socket: HTTP and JSON over a unix socket, so that `curl --unix-socket` works too.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::core::{Core, prepare};
use crate::report::{ApplyReport, ApplyRequest, Refusal};

/// A policy of a hundred thousand prefixes is a few megabytes of text.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

type Shared = Arc<Mutex<Core>>;

/// Everything the socket answers to.
pub fn router(core: Shared) -> Router {
    Router::new()
        .route("/v1/status", get(async |core| answer(core, Core::status).await))
        .route("/v1/networks", get(async |core| answer(core, |core: &Core| core.view().networks()).await))
        .route("/v1/endpoints", get(async |core| answer(core, Core::endpoints).await))
        .route("/v1/flows", get(async |core| answer(core, |core: &Core| core.view().flows()).await))
        .route("/v1/drops", get(async |core| answer(core, Core::drops).await))
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

async fn answer<T: Serialize>(
    State(core): State<Shared>,
    question: impl FnOnce(&Core) -> anyhow::Result<T>,
) -> Result<Json<T>, Refused> {
    let core = core.lock().await;
    question(&core).map(Json).map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error))
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
    let core = core.lock().await;
    let report = core.view().explain(&question.src, &question.dst, question.service.as_deref());
    report.map(Json).map_err(|error| Refused(StatusCode::BAD_REQUEST, error))
}

/// Parsing and compiling happen beside the core; it is only held while the kernel is written.
async fn apply(
    State(core): State<Shared>,
    Json(request): Json<ApplyRequest>,
) -> Result<Json<ApplyReport>, Refused> {
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
            return core.apply(prepared).map(Json).map_err(broken);
        }
    }
}
