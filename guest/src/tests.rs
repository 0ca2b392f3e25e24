//! Runs the tests, each in a process of its own, some at a time.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use enforcer_guest::{Outcome, Plan, REPORTS, Report, Test};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::boot::PATH;

/// How often a running test is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of the beginning and of the end of a test's output that are worth the way through a serial port.
const PART: usize = 15_000;

/// Where the reports go, one at a time.
struct Port(Mutex<File>);

impl Port {
    fn open() -> Result<Self> {
        let file = File::options().write(true).open(REPORTS);
        Ok(Self(Mutex::new(file.with_context(|| format!("failed to open {REPORTS}"))?)))
    }

    fn say(&self, report: &Report) -> Result<()> {
        let mut line = serde_json::to_string(report)?;
        line.push('\n');
        let mut file = self.0.lock().expect("nobody panics with the port in hand");
        file.write_all(line.as_bytes()).context("failed to report")
    }
}

/// Runs all tests of the plan, and reports.
pub fn run(plan: &Plan) -> Result<()> {
    let port = Port::open()?;
    port.say(&ready()?)?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(test) = plan.tests.get(number) else { return Ok(()) };
            port.say(&Report::Began { test: number })?;
            port.say(&run_one(number, test)?)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.parallel.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    port.say(&Report::Done)
}

fn ready() -> Result<Report> {
    let read = |path| fs::read_to_string(path).with_context(|| format!("failed to read {path}"));
    let release = read("/proc/sys/kernel/osrelease")?.trim().to_owned();
    let uptime = read("/proc/uptime")?.split(' ').next().and_then(|seconds| seconds.parse().ok());
    Ok(Report::Ready { release, uptime: uptime.unwrap_or_default() })
}

fn run_one(number: usize, test: &Test) -> Result<Report> {
    let started = Instant::now();
    let path = format!("/run/output-{number}");
    let output = File::create(&path).with_context(|| format!("failed to create {path}"))?;
    let mut child = start(test, &output)?;
    let ended = wait(&mut child, Duration::from_secs(test.limit));
    // Whoever the test forgot goes with it; mostly there is nobody.
    killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL).ok();
    let bytes = fs::read(&path).with_context(|| format!("failed to read {path}"))?;
    let output = String::from_utf8_lossy(&bytes);
    let outcome = ended.map_or_else(
        || {
            child.wait().ok();
            Outcome::TimedOut
        },
        |succeeded| Outcome::of(succeeded, &output),
    );
    fs::remove_file(&path).ok();
    let seconds = started.elapsed().as_secs_f32();
    Ok(Report::Ended { test: number, outcome, seconds, output: excerpt(&bytes) })
}

fn start(test: &Test, output: &File) -> Result<Child> {
    let mut command = Command::new(&test.program);
    command
        .args(&test.arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("RUST_BACKTRACE", "0");
    command.envs(test.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").process_group(0).stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    command.spawn().with_context(|| format!("failed to start {}", test.program.display()))
}

/// Whether it succeeded; `None` when its time is over.
fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Err(_) => return Some(false),
            Ok(None) if Instant::now() >= deadline => return None,
            Ok(None) => thread::sleep(LOOK),
        }
    }
}

/// The beginning and the end of what a test printed: why it failed, and what it knew then.
fn excerpt(bytes: &[u8]) -> String {
    if bytes.len() <= 2 * PART {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let [head, tail] = [&bytes[..PART], &bytes[bytes.len() - PART..]].map(String::from_utf8_lossy);
    format!("{head}\n… {} bytes are left out …\n{tail}", bytes.len() - 2 * PART)
}
