//! Asks the daemon: HTTP with JSON over its control socket.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::report::Refusal;

/// A policy of the largest size compiles and is published in a fraction of this.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why the daemon did not answer a question.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers at {socket}: is `enforcer run` running?")]
    Unreachable {
        /// Where nobody listens.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket is not for everybody.
    #[error("failed to connect to {socket}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon answered no, in its own words.
    #[error("{0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("the daemon has not answered for {} s", PATIENCE.as_secs())]
    Timeout,
    /// The conversation broke off.
    #[error("the conversation with the daemon broke off")]
    Http(#[from] hyper::Error),
    /// No HTTP request could be made of the question.
    #[error("failed to write the request")]
    Request(#[from] hyper::http::Error),
    /// The daemon speaks another version.
    #[error("the daemon's answer cannot be read; is it another version?")]
    Json(#[from] serde_json::Error),
    /// No runtime to wait with.
    #[error("failed to start waiting for the daemon")]
    Runtime(#[source] io::Error),
}

impl ClientError {
    /// Whether there is no daemon at all, so that somebody else may answer.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// One daemon, by its socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon that listens on `socket`; nothing is connected yet.
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The answer to a question.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Method::GET, path, Bytes::new())
    }

    /// The answer to an order.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.exchange(Method::POST, path, serde_json::to_vec(body)?.into())
    }

    fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "enforcer")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        let exchange = runtime.block_on(async { tokio::time::timeout(PATIENCE, self.send(request)).await });
        // The runtime only says that time is up.
        let (status, answer) = exchange.unwrap_or(Err(ClientError::Timeout))?;
        if status.is_success() { Ok(serde_json::from_slice(&answer)?) } else { Err(refusal(status, &answer)) }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.connect_error(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let talk = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::pin!(talk);
        tokio::select! {
            answer = &mut talk => answer,
            // The connection may end before its last answer is read; its own error comes with the answer's.
            _ = connection => talk.await,
        }
    }

    fn connect_error(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::Unreachable { socket, source }
            }
            _ => ClientError::Connect { socket, source },
        }
    }
}

fn refusal(status: StatusCode, answer: &[u8]) -> ClientError {
    match serde_json::from_slice(answer) {
        Ok(Refusal { error }) => ClientError::Refused(error),
        Err(_) => ClientError::Refused(format!("{status}: {}", String::from_utf8_lossy(answer).trim())),
    }
}

/// Writes `path?key=value&…`, whatever the values contain; absent values are left out.
pub fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    for (key, value) in parameters {
        let Some(value) = value else { continue };
        text.push(if text.contains('?') { '&' } else { '?' });
        text += key;
        text.push('=');
        text.extend(value.bytes().map(escape));
    }
    text
}

/// A byte as a query may carry it: RFC 3986, section 2.3.
fn escape(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::{cli::fake_daemon::FakeDaemon, report::ApplyReport};

    fn ask(daemon: &FakeDaemon) -> Result<ApplyReport, ClientError> {
        Client::new(daemon.socket()).get("/v1/anything")
    }

    #[test]
    fn an_answer_is_read() {
        let daemon = FakeDaemon::answering(
            "200 OK",
            r#"{"unchanged":true,"generation":4,"digest":"1a","networks":3,"prefixes":9}"#,
        );
        assert_eq!(ask(&daemon).unwrap().generation, 4);
        assert_eq!(daemon.asked(), "GET /v1/anything HTTP/1.1");
    }

    #[test]
    fn a_refusal_comes_in_the_daemons_words() {
        let daemon = FakeDaemon::answering("400 Bad Request", r#"{"error":"no such endpoint"}"#);
        assert!(matches!(ask(&daemon), Err(ClientError::Refused(text)) if text == "no such endpoint"));
    }

    #[test]
    fn an_error_without_words_is_shown_as_it_came() {
        let daemon = FakeDaemon::answering("413 Payload Too Large", "length limit exceeded\n");
        let Err(ClientError::Refused(text)) = ask(&daemon) else { panic!("not refused") };
        assert_eq!(text, "413 Payload Too Large: length limit exceeded");
    }

    #[test]
    fn an_answer_of_another_version_says_so() {
        let daemon = FakeDaemon::answering("200 OK", r#"{"something":"else"}"#);
        assert!(matches!(ask(&daemon), Err(ClientError::Json(_))));
    }

    #[test]
    fn a_missing_and_a_dead_socket_are_unreachable() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("enforcer.sock");
        let ask = || Client::new(socket.clone()).get::<ApplyReport>("/").unwrap_err();
        assert!(ask().is_unreachable());
        drop(UnixListener::bind(&socket).unwrap());
        assert!(ask().is_unreachable());
    }

    #[test]
    fn queries_carry_everything() {
        let parameters = [("src", Some("2001:db8::1")), ("dst", Some("web & db")), ("service", None)];
        let path = with_query("/v1/explain", &parameters);
        assert_eq!(path, "/v1/explain?src=2001%3Adb8%3A%3A1&dst=web%20%26%20db");
    }
}
