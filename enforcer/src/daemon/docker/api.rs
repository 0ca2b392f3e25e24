//! The few questions that Docker's API is asked, on its unix socket. Paths have no version: every engine
//! answers these in the version that it speaks, and little is read of each answer.

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::UnixStream;

/// An engine with a thousand containers answers in a fraction of this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Much more than a list of thousands of containers has.
const LONGEST_ANSWER: usize = 64 << 20;

/// Much more than is told of one event.
const LONGEST_EVENT: usize = 1 << 20;

/// What changes who a container is, or where.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%2C%22event%22%3A%5B\
                      %22start%22%2C%22die%22%2C%22stop%22%2C%22destroy%22%2C%22rename%22%2C%22connect%22%2C\
                      %22disconnect%22%5D%7D";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Nobody listens.
    #[error("failed to connect to {socket}")]
    Connect {
        /// Where.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("no answer to {path} for {} s", PATIENCE.as_secs())]
    Timeout {
        /// What was asked.
        path: String,
    },
    /// It refused.
    #[error("{path} was answered with {status}")]
    Refused {
        /// What was asked.
        path: String,
        /// The answer.
        status: StatusCode,
    },
    /// The conversation broke off.
    #[error("the conversation broke off")]
    Http(#[from] hyper::Error),
    /// The answer is too long, or broke off.
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// No HTTP request could be made of the question.
    #[error("failed to write the request")]
    Request(#[from] hyper::http::Error),
    /// It is not what was asked for.
    #[error("the answer is not understood")]
    Json(#[from] serde_json::Error),
    /// Nothing more is told.
    #[error("no more events are told")]
    Ended,
}

impl DockerError {
    /// Whether it is only about this one thing, which may be gone by now.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. })
    }

    /// Whether the engine did answer, and no more than this answer is wrong.
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Json(_))
    }
}

/// A running container in the list.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its id.
    pub id: String,
}

/// A container by itself.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    /// Its name, behind a slash.
    pub name: String,
    /// How it runs.
    pub state: Running,
    /// How it was made.
    pub config: Made,
    /// How it was to run.
    #[serde(default)]
    pub host_config: HostConfig,
    /// Where it is.
    #[serde(default)]
    pub network_settings: NetworkSettings,
}

/// How a container runs.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Running {
    /// Its first process; 0 when it does not run.
    pub pid: u32,
    /// When it began.
    #[serde(default)]
    pub started_at: String,
}

/// How a container was made.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Made {
    /// Its labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// How a container was to run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// `host`, `none`, `container:ID` or a network.
    #[serde(default)]
    pub network_mode: String,
}

/// Where a container is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Its networks, by name.
    #[serde(default)]
    pub networks: Option<BTreeMap<String, serde_json::Value>>,
}

/// A network of the engine.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// What makes it.
    pub driver: String,
}

/// An engine, by its socket.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// The engine that listens on `socket`; nothing is connected yet.
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// What runs.
    pub async fn containers(&self) -> Result<Vec<Listed>, DockerError> {
        self.get("/containers/json").await
    }

    /// One container.
    pub async fn container(&self, id: &str) -> Result<Inspected, DockerError> {
        self.get(&format!("/containers/{id}/json")).await
    }

    /// The networks.
    pub async fn networks(&self) -> Result<Vec<Network>, DockerError> {
        self.get("/networks").await
    }

    /// What happens from now on.
    pub async fn events(&self) -> Result<Events, DockerError> {
        Ok(Events { body: self.ask(EVENTS).await?, rest: Vec::new() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, DockerError> {
        let read = async {
            let body = Limited::new(self.ask(path).await?, LONGEST_ANSWER);
            let answer = body.collect().await.map_err(DockerError::Body)?.to_bytes();
            Ok(serde_json::from_slice(&answer)?)
        };
        let late = |_| DockerError::Timeout { path: path.to_owned() };
        tokio::time::timeout(PATIENCE, read).await.map_err(late)?
    }

    async fn ask(&self, path: &str) -> Result<Incoming, DockerError> {
        let failed = |source| DockerError::Connect { socket: self.socket.clone(), source };
        let ask = async {
            let stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let request = Request::get(path).header(header::HOST, "docker").body(Empty::<Bytes>::new())?;
            let answer = sender.send_request(request).await?;
            match answer.status() {
                StatusCode::OK => Ok(answer.into_body()),
                status => Err(DockerError::Refused { path: path.to_owned(), status }),
            }
        };
        let late = |_| DockerError::Timeout { path: path.to_owned() };
        tokio::time::timeout(PATIENCE, ask).await.map_err(late)?
    }
}

/// What happens to containers.
pub struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    #[serde(default)]
    actor: Actor,
}

#[derive(Default, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    /// Of an event of a network: whom it is about.
    #[serde(default)]
    container: Option<String>,
}

impl Events {
    /// The ids of those to whom something happened; nothing is lost when the waiting is given up.
    pub async fn next(&mut self) -> Result<Vec<String>, DockerError> {
        loop {
            let (told, rest) = whole(&self.rest)?;
            if !told.is_empty() {
                self.rest = self.rest.split_off(rest);
                return Ok(told);
            }
            if self.rest.len() > LONGEST_EVENT {
                return Err(DockerError::Body("an event has no end".into()));
            }
            match self.body.frame().await {
                Some(frame) => self.rest.extend(frame?.into_data().unwrap_or_default()),
                None => return Err(DockerError::Ended),
            }
        }
    }
}

/// Of whom the whole events in front tell, and where the rest begins.
fn whole(text: &[u8]) -> Result<(Vec<String>, usize), DockerError> {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<Told>();
    let (mut told, mut rest) = (Vec::new(), 0);
    while let Some(event) = stream.next() {
        match event {
            Ok(Told { actor }) => told.push(actor.attributes.container.unwrap_or(actor.id)),
            Err(error) if error.is_eof() => break,
            Err(error) => return Err(error.into()),
        }
        rest = stream.byte_offset();
    }
    Ok((told, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_come() {
        let text = br#"{"Type":"container","Action":"start","Actor":{"ID":"a"}}
{"Type":"network","Action":"connect","Actor":{"ID":"net","Attributes":{"container":"b"}}}
{"Type":"container","Act"#;
        let (told, rest) = whole(text).unwrap();
        assert_eq!(told, ["a", "b"]);
        assert_eq!(&text[rest..], b"\n{\"Type\":\"container\",\"Act");
        assert!(whole(b"").unwrap().0.is_empty());
        assert!(whole(b"nonsense").is_err());
    }

    #[test]
    fn what_is_read_of_a_container_is_little() {
        let text = r#"{"Id":"a","Name":"/web","State":{"Pid":7,"Running":true,"StartedAt":"2026-01-01T00:00:00Z"},
                       "Config":{"Labels":{"net":"blue"},"Cmd":["x"]},"HostConfig":{"NetworkMode":"bridge"},
                       "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}"#;
        let container: Inspected = serde_json::from_str(text).unwrap();
        assert_eq!((&*container.name, container.state.pid), ("/web", 7));
        let few = r#"{"Name":"/web","State":{"Pid":0},"Config":{"Labels":null}}"#;
        assert_eq!(serde_json::from_str::<Inspected>(few).unwrap().config.labels, None);
    }
}
