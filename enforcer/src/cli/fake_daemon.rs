//! A daemon for tests: prepared answers to whatever is asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    thread::{self, JoinHandle},
};

use clap::Parser;
use tempfile::TempDir;

use super::{Cli, Outcome};

/// Listens on a socket of its own.
pub struct FakeDaemon {
    directory: TempDir,
    server: JoinHandle<String>,
}

impl FakeDaemon {
    /// Answers one request, then leaves.
    pub fn answering(status: &'static str, body: impl Into<String>) -> Self {
        Self::answering_each(status, vec![body.into()])
    }

    /// Answers one request with each of `bodies`, then leaves.
    pub fn answering_each(status: &'static str, bodies: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("enforcer.sock")).unwrap();
        let answer = move |body: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&stream);
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
            request
        };
        let server = thread::spawn(move || bodies.into_iter().map(answer).collect::<Vec<_>>().join("\n"));
        Self { directory, server }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("enforcer.sock")
    }

    /// The first line of each request.
    pub fn asked(self) -> String {
        self.server.join().unwrap()
    }

    /// Runs a command line against it: how it ended, and what it printed.
    pub fn run(&self, line: &str) -> anyhow::Result<(Outcome, String)> {
        let socket = self.socket();
        let options = ["--socket", socket.to_str().unwrap()];
        let mut out = Vec::new();
        let cli = Cli::try_parse_from(line.split(' ').chain(options)).unwrap();
        let outcome = cli.write(&mut out)?;
        Ok((outcome, String::from_utf8(out).unwrap()))
    }
}

/// The first line; the rest is read too, since closing a socket with unread bytes breaks the answer off.
fn read_request(stream: &UnixStream) -> String {
    let mut reader = BufReader::new(stream);
    let headers: Vec<String> =
        reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    headers.into_iter().next().unwrap()
}
