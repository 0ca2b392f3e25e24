//! One step of a chore: a command, run with its progress on stderr.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::env;
use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a terminal sees the clock advance.
const TICK: Duration = Duration::from_secs(1);
/// How often a log file hears that a long step is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Lines of a failed command's output that its error repeats.
const TAIL: usize = 30;
/// Columns of a command's own output that the status line quotes.
const STATUS_WIDTH: usize = 60;

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The directory that holds tools only this project uses.
pub fn tools() -> PathBuf {
    workspace().join(".tools")
}

/// The cargo that runs this chore, in the workspace, as if called from a shell.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    forget_this_package(&mut command);
    command
}

/// Drops what `cargo run` told this program about its own package: a build further down must not take it for its own.
pub fn forget_this_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "LD_LIBRARY_PATH"
        {
            command.env_remove(&name);
        }
    }
}

/// Runs a command that talks to the user itself, such as a build.
pub fn show(title: &str, mut command: Command) -> Result<()> {
    let started = Instant::now();
    eprintln!("{title} …");
    let exit = command.status().with_context(|| format!("failed to run {command:?}"))?;
    if !exit.success() {
        bail!("{title} failed: {exit}");
    }
    eprintln!("{title}: done ({})", seconds(started));
    Ok(())
}

/// Becomes the command: its exit code is the chore's, and Ctrl-C reaches it alone.
pub fn exec(mut command: Command) -> Result<Infallible> {
    let error = command.exec();
    Err(error).with_context(|| format!("failed to run {command:?}"))
}

/// Runs a talkative command: shows its latest line while it runs, one line when it is done, its tail if it fails.
pub fn run(title: &str, command: Command) -> Result<()> {
    let typed = format!("{command:?}");
    let started = Instant::now();
    let mut tail = VecDeque::with_capacity(TAIL);
    let exit = listen(title, command, |line| {
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    })?;
    if !exit.success() {
        let tail = Vec::from(tail).join("\n  ");
        bail!("{title} failed: {exit}\n  {tail}\nthe command was: {typed}");
    }
    eprintln!("{title}: done ({})", seconds(started));
    Ok(())
}

/// Runs a talkative command: shows its latest line while it runs, and hands every line on.
pub fn listen(title: &str, mut command: Command, heard: impl FnMut(&str)) -> Result<ExitStatus> {
    let typed = format!("{command:?}");
    let (reader, writer) = io::pipe().context("failed to open a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("failed to run {typed}"))?;
    // The command holds our ends of the pipe: the reader sees its end only when the child's are the last.
    drop(command);
    follow(title, &lines(reader), heard);
    Ok(child.wait()?)
}

/// Reads the output line by line; of a line that rewrites itself only the last state counts.
fn lines(output: PipeReader) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
            if sender.send(line.to_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Shows the status until the output ends.
fn follow(title: &str, lines: &Receiver<String>, mut heard: impl FnMut(&str)) {
    let started = Instant::now();
    let mut latest = String::new();
    let mut status = Status { title, started, shown: started, terminal: io::stderr().is_terminal() };
    status.announce();
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                heard(&line);
                latest = line;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        status.update(latest.trim());
    }
    status.erase();
}

/// The line about a running step: rewritten in place on a terminal, repeated now and then in a log file.
struct Status<'a> {
    title: &'a str,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl Status<'_> {
    fn announce(&self) {
        if !self.terminal {
            eprintln!("{} …", self.title);
        }
    }

    fn update(&mut self, latest: &str) {
        let latest: String = latest.chars().filter(|c| !c.is_control()).take(STATUS_WIDTH).collect();
        let text = format!("{} … {}  {latest}", self.title, seconds(self.started));
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            // The line has no end, and a status that cannot be shown is no reason to stop.
            io::stderr().flush().ok();
        } else if self.shown.elapsed() >= HEARTBEAT {
            self.shown = Instant::now();
            eprintln!("{text}");
        }
    }

    fn erase(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// Time since, as the reader wants it.
pub fn seconds(started: Instant) -> String {
    format!("{:.1} s", started.elapsed().as_secs_f32())
}
