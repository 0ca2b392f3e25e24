//! What goes wrong says what, and what to do about it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use enforcer_tests::command::errors;
use enforcer_tests::{Daemon, Host};

#[test]
fn a_second_daemon_is_told_who_runs_already() {
    let host = Host::new("second");
    let daemon = Daemon::start(&host);
    let second = daemon.cli(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    let pid = daemon.pid().unwrap().to_string();
    assert!(errors(&second).contains("another enforcer") && errors(&second).contains(&pid), "{second:?}");
}

#[test]
fn verbs_without_daemon_or_tables_exit_3_and_name_the_socket() {
    let host = Host::new("nobody");
    let mut daemon = Daemon::start(&host);
    daemon.stop();
    let apply = daemon.cli_with_input(&["apply", "-"], "version = 1\n");
    assert_eq!(apply.status.code(), Some(3), "{apply:?}");
    assert!(daemon.cli(&["clean"]).status.success());
    let status = daemon.cli(&["status"]);
    assert_eq!(status.status.code(), Some(3), "{status:?}");
    assert!(errors(&status).contains("sock"), "{status:?}");
}

#[test]
fn a_bad_host_file_names_file_line_and_key() {
    let host = Host::new("hostfile");
    let mut daemon = Daemon::start(&host);
    daemon.stop();
    daemon.configure("[attach]\nmatches = [\"veth*\"]\n");
    let path = daemon.environment()[0].1.clone();
    let config = std::path::Path::new(&path).with_file_name("enforcer.toml");
    let run = daemon.cli(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(1));
    assert!(errors(&run).contains("line 2") && errors(&run).contains("matches"), "{run:?}");
}

#[test]
fn no_bpf_filesystem_and_no_root_are_said() {
    let host = Host::new("nobpffs");
    let mut daemon = Daemon::start(&host);
    daemon.stop();
    let elsewhere = tempfile::tempdir().unwrap();
    let run = daemon.cli(&["run", "--bpffs", elsewhere.path().to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(1));
    assert!(errors(&run).contains("mount -t bpf bpf"), "{run:?}");
    daemon.open_to_all();
    let mut unprivileged = Command::new(daemon.binary());
    let output = unprivileged.arg("run").uid(65534).gid(65534).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(errors(&output).contains("root"), "{output:?}");
}

#[test]
fn five_mistakes_are_five_diagnostics() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    std::fs::write(
        &file,
        "version = 1\n[network.blue]\nprefixes = [\"10.1.0.5/24\", \"10.01.0.0/24\"]\ncolour = 3\n\
         [network.empty]\nprefixes = []\n[network.world]\nprefixes = [\"10.2.0.0/24\"]\n",
    )
    .unwrap();
    let host = Host::new("check");
    let mut daemon = Daemon::start(&host);
    daemon.stop();
    let output = daemon.cli(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    assert_eq!(text.matches("error:").count(), 5, "{text}");
    assert_eq!(text.matches("policy.toml:").count(), 5, "each names file, line and column: {text}");
}
