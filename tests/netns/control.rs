//! The control socket: who may do what, and what becomes of requests that are none.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;

use enforcer_tests::command::errors;
use enforcer_tests::daemon::{DEFAULT_CONFIG, PATIENCE};
use enforcer_tests::{Daemon, Host};
use serde_json::{Value, json};

use crate::town::POLICY;

/// Nobody in particular, and two groups that need no name.
const USER: &str = "65534";
const READERS: &str = "4001";
const ADMINS: &str = "4002";

const GROUPS: &str = "[control]\ngroup = \"4001\"\nadmin_group = \"4002\"\n";

/// A daemon whose directory and binary everybody may look at, so that only the socket says who may connect.
fn open_to_all(host: &Host, config: &str) -> Daemon {
    let mut daemon = Daemon::prepare(host, &format!("{DEFAULT_CONFIG}{config}"));
    daemon.open_to_all();
    daemon.start_again();
    daemon
}

/// Runs the command line as a user in these groups.
fn cli_of(daemon: &Daemon, groups: &str, args: &[&str], input: &str) -> Output {
    let groups = if groups.is_empty() { vec!["--clear-groups"] } else { vec!["--groups", groups] };
    let setpriv = [&["setpriv", "--reuid", USER, "--regid", USER][..], &groups].concat();
    daemon.cli_through(&setpriv, args, input)
}

fn generation(daemon: &Daemon) -> Value {
    daemon.json(&["status"])["generation"].clone()
}

/// Sends bytes, says that there are no more, and reads what comes until the end.
pub fn exchange(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
    // Who does not like the beginning may not wait for the end.
    stream.write_all(bytes).ok();
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        answer.extend(&chunk[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn order(path: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: e\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn the_socket_is_for_root_and_its_group() {
    let host = Host::new("ctlgroup");
    let daemon = open_to_all(&host, GROUPS);
    let socket = fs::metadata(daemon.socket()).unwrap();
    assert_eq!(
        (socket.mode() & 0o777, socket.uid(), socket.gid().to_string()),
        (0o660, 0, READERS.to_owned())
    );
    let stranger = cli_of(&daemon, "", &["status"], "");
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
    let member = cli_of(&daemon, READERS, &["status"], "");
    assert!(member.status.success(), "{member:?}");
}

#[test]
fn a_group_that_does_not_exist_leaves_the_socket_to_root() {
    let host = Host::new("ctlnogroup");
    let daemon = open_to_all(&host, "[control]\ngroup = \"no-such-group\"\n");
    assert_eq!(fs::metadata(daemon.socket()).unwrap().mode() & 0o777, 0o600);
    assert!(daemon.cli(&["status"]).status.success());
}

#[test]
fn members_read_and_admins_change() {
    let host = Host::new("ctladmin");
    let daemon = open_to_all(&host, GROUPS);
    // Much more than fits the socket: the refusal has to arrive all the same.
    let large = format!("{POLICY}\n# {}\n", "x".repeat(8 << 20));
    let refused = cli_of(&daemon, READERS, &["apply", "-"], &large);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = errors(&refused);
    assert!(said.contains("user 65534 may not change anything") && said.contains("admin_group"), "{said}");
    assert_eq!(generation(&daemon), 0, "what was refused changed nothing");
    let applied = cli_of(&daemon, &format!("{READERS},{ADMINS}"), &["apply", "-"], POLICY);
    assert!(applied.status.success(), "{applied:?}");
    assert_eq!(generation(&daemon), 1);
    daemon.apply(&POLICY.replace("10.3.0.0/24", "10.3.0.0/25"));
    let log = daemon.log();
    let orders: Vec<&str> = log.lines().filter(|line| line.contains("/v1/apply")).collect();
    let expected = [("uid=65534", "status=403"), ("uid=65534", "status=200"), ("uid=0", "status=200")];
    assert_eq!(orders.len(), expected.len(), "{log}");
    for (line, (uid, status)) in orders.iter().zip(expected) {
        assert!(line.contains(uid) && line.contains("pid=") && line.contains(status), "{line}");
    }
}

#[test]
fn a_socket_with_a_laxer_mode_still_answers_only_its_group() {
    let host = Host::new("ctllax");
    let daemon = open_to_all(&host, GROUPS);
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    for (args, groups, allowed) in [
        (["status"], "", false),
        (["flows"], "", false),
        (["status"], READERS, true),
        (["status"], ADMINS, true),
    ] {
        let output = cli_of(&daemon, groups, &args, "");
        assert_eq!(output.status.success(), allowed, "{args:?} in groups {groups:?}: {output:?}");
        assert_eq!(errors(&output).contains("user 65534 may not ask"), !allowed, "{output:?}");
    }
    let order = cli_of(&daemon, "", &["apply", "-"], POLICY);
    assert!(errors(&order).contains("may not change anything"), "{order:?}");
}

#[test]
fn what_is_no_request_is_refused_and_harms_nobody() {
    let host = Host::new("ctlmalformed");
    let daemon = Daemon::start(&host);
    let long = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes();
    let json = |body| order("/v1/apply", "application/json", body);
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("bytes", b"\0\x01\xff\xfe\r\n\r\n".to_vec(), "400"),
        ("a TLS greeting", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n".to_vec(), "400"),
        ("no version", b"GET /v1/status\r\n\r\n".to_vec(), "400"),
        ("a length that is none", b"POST /v1/apply HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_vec(), "400"),
        ("a large head", long, "431"),
        ("nothing of this name", b"GET /v2/status HTTP/1.1\r\nhost: e\r\n\r\n".to_vec(), "404"),
        ("a question as an order", order("/v1/status", "application/json", "{}"), "405"),
        ("an order as a question", b"GET /v1/apply HTTP/1.1\r\nhost: e\r\n\r\n".to_vec(), "405"),
        ("broken JSON", json("{\"sources\": ["), "400"),
        ("other JSON", json("{\"sources\": 7}"), "422"),
        ("a form", order("/v1/apply", "application/x-www-form-urlencoded", "a=b"), "415"),
        ("no query", b"GET /v1/explain HTTP/1.1\r\nhost: e\r\n\r\n".to_vec(), "400"),
    ];
    for (what, bytes, status) in cases {
        let answer = exchange(&daemon.socket(), &bytes);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: wanted {status}, got {answer:?}"
        );
        assert!(daemon.cli(&["status"]).status.success(), "answers after {what}");
    }
    assert_eq!(generation(&daemon), 0);
}

#[test]
fn what_breaks_off_harms_nobody() {
    let host = Host::new("ctlbroken");
    let daemon = Daemon::start(&host);
    let policy = json!({"sources": [{"name": "policy.toml", "text": POLICY}]});
    let whole = order("/v1/apply", "application/json", &policy.to_string());
    for length in 0..whole.len() {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.write_all(&whole[..length]).unwrap();
    }
    assert_eq!(generation(&daemon), 0, "half a request is none");
    let answer = exchange(&daemon.socket(), &whole);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    assert_eq!(generation(&daemon), 1, "the whole is one");
}

#[test]
fn a_request_beyond_64_mebibytes_is_refused() {
    let host = Host::new("ctllarge");
    let daemon = Daemon::start(&host);
    let body = " ".repeat(64 * 1024 * 1024 + 1);
    let answer = exchange(&daemon.socket(), &order("/v1/apply", "application/json", &body));
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("at most 64 MiB"), "{answer:?}");
    let fits = exchange(&daemon.socket(), &order("/v1/apply", "application/json", &body[1..]));
    assert!(fits.starts_with("HTTP/1.1 400 "), "so many bytes are read, and are no JSON: {fits:?}");
    let command = daemon.cli_with_input(&["apply", "-"], &format!("version = 1\n#{body}"));
    assert_eq!(command.status.code(), Some(1), "{command:?}");
    assert_eq!(generation(&daemon), 0);
}
