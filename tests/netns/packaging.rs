//! What a package brings: systemd takes the unit, and thinks well of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use enforcer_tests::command::transcript;
use enforcer_tests::{Daemon, Host};
use tempfile::TempDir;

/// Tenths of what systemd calls exposure, from 0 to 100: "OK" ends at 50.
const EXPOSURE: &str = "--threshold=35";

fn packaged(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The unit, with a binary that exists.
fn unit(directory: &TempDir) -> String {
    let host = Host::new("unit");
    let binary = Daemon::prepare(&host, "").binary().display().to_string();
    let path = directory.path().join("enforcer.service");
    fs::write(&path, packaged("enforcer.service").replace("/usr/bin/enforcer", &binary)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn systemd_takes_the_unit_without_a_word() {
    let directory = TempDir::new().unwrap();
    let output = Command::new("systemd-analyze").args(["verify", &unit(&directory)]).output().unwrap();
    let said = transcript(&output);
    assert!(output.status.success() && output.stderr.is_empty(), "{said}");
}

#[test]
fn the_unit_is_exposed_to_little() {
    let directory = TempDir::new().unwrap();
    let unit = unit(&directory);
    let args = ["security", "--offline=true", "--no-pager", EXPOSURE, &unit];
    let output = Command::new("systemd-analyze").args(args).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
}

#[test]
fn the_group_of_the_socket_is_the_one_that_is_made() {
    let made = packaged("enforcer.sysusers.conf");
    let group = enforcer::config::Config::parse(Path::new("enforcer.toml"), "").unwrap().control.group;
    assert!(made.lines().any(|line| line == format!("g {group} -")), "{made}");
}
