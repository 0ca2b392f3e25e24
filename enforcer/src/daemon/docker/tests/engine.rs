//! An engine as the tests want it: its answers may be wrong, have no end, or never come.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::stream;
use hyper::{StatusCode, Uri};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::broadcast, task::JoinHandle};

/// What is answered in the place of the truth.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// A refusal.
    Status(u16),
    /// This text.
    Text(&'static str),
    /// This, and then more and more of the same.
    Endless(&'static str),
    /// Nothing, ever.
    Silence,
    /// The truth, and then the process is another one.
    Restarting,
}

/// What there is to tell.
#[derive(Default)]
pub struct Truth {
    /// What inspecting a container says, by its id.
    pub containers: BTreeMap<String, Value>,
    /// Networks: name and driver.
    pub networks: Vec<(&'static str, &'static str)>,
    /// What is answered wrongly, by path.
    pub broken: BTreeMap<String, Answer>,
    /// What was asked.
    pub asked: Vec<String>,
}

/// See the module.
pub struct Engine {
    /// Where it listens, or will.
    pub socket: PathBuf,
    /// What it knows.
    pub truth: Arc<Mutex<Truth>>,
    told: Option<broadcast::Sender<String>>,
    server: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Engine {
    /// One that does not run yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        Self { socket, truth: Arc::default(), told: None, server: None, _directory: directory }
    }

    /// One that runs.
    pub fn running() -> Self {
        let mut engine = Self::new();
        engine.start();
        engine
    }

    /// Begins to listen.
    pub fn start(&mut self) {
        let (told, _) = broadcast::channel(16);
        let state = (self.truth.clone(), told.downgrade());
        let app = Router::new().fallback(answer).with_state(state);
        let listener = UnixListener::bind(&self.socket).unwrap();
        self.server = Some(tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }));
        self.told = Some(told);
    }

    /// Goes away, with its socket and every conversation.
    pub fn stop(&mut self) {
        self.told = None;
        self.server.take().unwrap().abort();
        std::fs::remove_file(&self.socket).unwrap();
    }

    /// Changes what it knows.
    pub fn change(&self, change: impl FnOnce(&mut Truth)) {
        change(&mut self.truth.lock().unwrap());
    }

    /// Answers wrongly from now on.
    pub fn breaks(&self, path: &str, answer: Answer) {
        self.truth.lock().unwrap().broken.insert(path.to_owned(), answer);
    }

    /// Whoever listens is told this.
    pub fn tell(&self, text: impl Into<String>) {
        self.told.as_ref().unwrap().send(text.into()).expect("somebody listens to events");
    }

    /// Something happened to a container.
    pub fn happened(&self, action: &str, id: &str) {
        self.tell(json!({"Type": "container", "Action": action, "Actor": {"ID": id}}).to_string() + "\n");
    }

    /// Whether somebody listens to events.
    pub fn is_heard(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.receiver_count() > 0)
    }

    /// What was asked since this was asked last.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.truth.lock().unwrap().asked)
    }
}

/// A container that runs on the network `bridge`; what is different is merged into that.
pub fn container(name: &str, pid: u32, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    json!({
        "Id": name,
        "Name": format!("/{name}"),
        "State": {"Status": "running", "Running": true, "Pid": pid, "StartedAt": "2026-01-01T00:00:00.1Z"},
        "Config": {"Labels": labels, "Image": "busybox"},
        "HostConfig": {"NetworkMode": "bridge", "Privileged": false},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
    })
}

/// The same container on another network, or in another's namespace.
pub fn on(mut container: Value, mode: &str, networks: &[&str]) -> Value {
    container["HostConfig"]["NetworkMode"] = mode.into();
    let networks: serde_json::Map<_, _> =
        networks.iter().map(|name| ((*name).to_owned(), json!({"IPAddress": ""}))).collect();
    container["NetworkSettings"]["Networks"] = networks.into();
    container
}

type Shared = (Arc<Mutex<Truth>>, broadcast::WeakSender<String>);

async fn answer(State((truth, told)): State<Shared>, uri: Uri) -> Response {
    let path = uri.path();
    let answer = {
        let mut truth = truth.lock().unwrap();
        truth.asked.push(path.to_owned());
        truth.broken.get(path).copied()
    };
    match answer {
        Some(Answer::Status(status)) => refusal(StatusCode::from_u16(status).unwrap()),
        Some(Answer::Text(text)) => Response::new(text.into()),
        Some(Answer::Endless(text)) => {
            let text = Bytes::from(text.repeat(65536 / text.len()));
            let chunks = stream::repeat_with(move || Ok::<_, Infallible>(text.clone()));
            Response::new(Body::from_stream(chunks))
        }
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Restarting) => {
            let mut truth = truth.lock().unwrap();
            let id = path.split('/').nth(2).unwrap();
            let pid = &mut truth.containers.get_mut(id).unwrap()["State"]["Pid"];
            *pid = (pid.as_u64().unwrap() + 1).into();
            truthful(&truth, path)
        }
        None if path == "/events" => events(&told),
        None => truthful(&truth.lock().unwrap(), path),
    }
}

fn truthful(truth: &Truth, path: &str) -> Response {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let value = match parts[..] {
        ["containers", "json"] => {
            let runs = truth.containers.iter().filter(|(_, container)| container["State"]["Pid"] != 0);
            runs.map(|(id, container)| json!({"Id": id, "Names": [container["Name"]]})).collect()
        }
        ["containers", id, "json"] => match truth.containers.get(id) {
            Some(container) => container.clone(),
            None => return refusal(StatusCode::NOT_FOUND),
        },
        ["networks"] => {
            truth.networks.iter().map(|(name, driver)| json!({"Name": name, "Driver": driver})).collect()
        }
        _ => return refusal(StatusCode::BAD_REQUEST),
    };
    Response::new(value.to_string().into())
}

fn refusal(status: StatusCode) -> Response {
    let body = Body::from(json!({"message": "no"}).to_string());
    Response::builder().status(status).body(body).unwrap()
}

fn events(told: &broadcast::WeakSender<String>) -> Response {
    let receiver = told.upgrade().expect("the engine runs").subscribe();
    let chunks = stream::unfold(receiver, |mut receiver| async {
        let text = receiver.recv().await.ok()?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), receiver))
    });
    Response::new(Body::from_stream(chunks))
}

/// Labels, as they are told.
pub fn labels<const N: usize>(labels: [&str; N]) -> BTreeSet<String> {
    labels.map(ToOwned::to_owned).into()
}
