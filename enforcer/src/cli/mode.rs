//! `enforcer mode`: how seriously verdicts are taken.

use std::{io::Write, time::Duration};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use enforcer_common::mode::Mode;

use super::{Global, Outcome, Source, source::order};
use crate::{
    render,
    report::{ModeRequest, ModesReport},
    view::Offline as Tables,
};

/// Show or change how seriously verdicts are taken: observe, audit or enforce
///
/// It counts from the next packet on, and works without a daemon, as root. An order for the host takes those
/// for endpoints back, so the latest order wins; orders go before the host file. Orders for endpoints end with
/// their interface, all others with the next boot.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer mode                              what is in force, and who says so
  enforcer mode observe                      at 3 a.m.: nothing is dropped, everything is counted
  enforcer mode observe --for 15m            the same, and back by itself
  enforcer mode audit --endpoint veth-web    policy denials of one workload pass, counted
  enforcer mode configured                   what the host file says counts again")]
pub struct Arguments {
    /// The mode; `configured` takes orders back. Without it the modes in force are shown
    mode: Option<Word>,
    /// Only of this endpoint: the name of its host-side interface
    #[arg(long, value_name = "ENDPOINT", requires = "mode")]
    endpoint: Option<String>,
    /// Only for this time: kept by the kernel itself, whoever dies
    #[arg(long = "for", value_name = "TIME", requires = "mode", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
}

/// What can be ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Word {
    /// Nothing is dropped; what would be is counted
    Observe,
    /// What is forged or broken is dropped; what the policy denies passes, counted
    Audit,
    /// What is denied is dropped
    Enforce,
    /// As the host file says
    Configured,
}

impl Arguments {
    /// Shows or orders.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let report: ModesReport = match self.mode {
            None => Source::new(global).modes()?,
            Some(word) => {
                let request = self.request(word)?;
                order(global, "/v1/mode", &request, |offline| {
                    offline.order_mode(&request)?;
                    Tables::open(&global.bpffs, &global.state_dir)?.modes()
                })?
            }
        };
        let screen = global.screen();
        render::write_one(out, screen.format, &report, |out| render::write_modes(out, &report))?;
        Ok(Outcome::Done)
    }

    fn request(&self, word: Word) -> anyhow::Result<ModeRequest> {
        let mode = match word {
            Word::Observe => Some(Mode::Observe),
            Word::Audit => Some(Mode::Audit),
            Word::Enforce => Some(Mode::Enforce),
            Word::Configured => None,
        };
        ensure!(
            mode.is_some() || self.length.is_none(),
            "what the host file says has no end: leave --for out"
        );
        let seconds = self.length.map(|length| length.as_secs().max(1));
        Ok(ModeRequest { mode, endpoint: self.endpoint.clone(), seconds })
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::fake_daemon::FakeDaemon;

    #[test]
    fn modes_are_told_with_who_says_so() {
        let daemon = FakeDaemon::answering(
            "200 OK",
            r#"{"host":{"mode":"observe","by":"ordered","seconds_left":850,"then":"enforce"},
                "endpoints":[{"endpoint":"veth-web","mode":"audit","by":"host file"}]}"#,
        );
        let (_, text) = daemon.run("enforcer mode observe --for 15m").unwrap();
        insta::assert_snapshot!(text, @r"
        host:      observe, ordered, 14m left, then enforce
        veth-web:  audit (host file)
        ");
        assert_eq!(daemon.asked(), "POST /v1/mode HTTP/1.1");
    }

    #[test]
    fn what_the_host_file_says_has_no_end() {
        let daemon = FakeDaemon::answering("200 OK", "");
        let error = daemon.run("enforcer mode configured --for 15m").unwrap_err();
        assert!(error.to_string().contains("leave --for out"), "{error}");
    }
}
