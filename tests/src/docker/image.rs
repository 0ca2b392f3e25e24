//! The only image: a static busybox, imported as a tree.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::client::Client;

/// Its name.
pub(super) const NAME: &str = "lab";

/// What containers do: nothing, until they are killed.
pub(super) const IDLE: [&str; 3] = ["busybox", "sleep", "1000000"];

/// Makes a tree of the machine's own busybox and hands it to the engine.
#[track_caller]
pub(super) fn import(client: &Client, directory: &Path) {
    let tree = directory.join("tree");
    fs::create_dir_all(tree.join("bin")).expect("failed to create a directory");
    fs::copy(busybox(), tree.join("bin/busybox")).expect("failed to copy busybox");
    symlink("busybox", tree.join("bin/sh")).expect("failed to create a link");
    let mut tar = Command::new("tar");
    let tar = tar.arg("-C").arg(&tree).args(["-c", "."]).stdout(Stdio::piped()).spawn();
    let mut tar = tar.expect("failed to start tar");
    let stream = tar.stdout.take().expect("its output is a pipe");
    let output =
        client.command(&["import", "-", NAME]).stdin(stream).output().expect("failed to start docker");
    tar.wait().expect("failed to wait for tar");
    assert!(output.status.success(), "docker import: {output:?}\n{}", client.log());
}

/// Debian's package busybox-static.
#[track_caller]
fn busybox() -> PathBuf {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    places.into_iter().find(|path| path.is_file()).expect("no busybox; is busybox-static installed?")
}
