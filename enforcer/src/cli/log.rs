//! Where the daemon's log goes: to systemd's journal with all its fields, or to standard error.

use std::{env, io};

use clap::ValueEnum;
use nix::sys::stat::fstat;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Which messages are written: `ENFORCER_LOG=debug`, or per module as `tracing` filters do.
const FILTER: &str = "ENFORCER_LOG";

/// How messages on standard error look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Starts logging; without a format to the journal, if that is where standard error leads.
pub fn start(format: Option<LogFormat>) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    let journal = format.is_none().then(journal).flatten();
    let output = journal.unwrap_or_else(|| standard_error(format.unwrap_or(LogFormat::Text)));
    // Somebody who embeds the command line may have a subscriber already; then that one stays.
    drop(tracing_subscriber::registry().with(output.with_filter(filter)).try_init());
}

type Output = Box<dyn Layer<Registry> + Send + Sync>;

fn standard_error(format: LogFormat) -> Output {
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(super::colourful(&io::stderr()));
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    }
}

/// The journal, if it reads our standard error. Whoever redirects that, wants the log there.
fn journal() -> Option<Output> {
    let stream = env::var("JOURNAL_STREAM").ok()?;
    let stderr = fstat(io::stderr()).ok()?;
    let leads_there = stream == format!("{}:{}", stderr.st_dev, stderr.st_ino);
    leads_there.then(tracing_journald::layer)?.ok().map(Layer::boxed)
}
