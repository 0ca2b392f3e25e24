//! `enforcer flows`: who talks to whom, and who is denied.

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::Duration,
};

use clap::Args;

use super::{FlowQuery, Global, Outcome, Source};
use crate::render;

/// How often `--watch` looks again.
const REDRAW: Duration = Duration::from_secs(1);
/// Flows that `--watch` shows on a terminal unless told otherwise: about a screen.
const WATCHED: usize = 20;
/// Cursor to the top left, then erase the rest: no flicker as with erasing first and drawing afterwards.
const HOME_AND_ERASE: &str = "\x1b[H\x1b[J";

/// List flows: both directions of a conversation in one line, denied ones included
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer flows --network blue --sort bytes --limit 10   the largest flows of a network
  enforcer flows --verdict drop --src 10.1.0.0/24         who of a subnet is denied
  enforcer flows --proto tcp --port 5432 --watch          a live view of one service
  enforcer flows -o jsonl | jq -r .dst | sort | uniq -c   for scripts: raw numbers, stable names")]
pub struct Arguments {
    #[command(flatten)]
    query: FlowQuery,
    /// Look again every second; a terminal shows the first 20 unless --limit says otherwise
    #[arg(long)]
    watch: bool,
}

impl Arguments {
    /// Asks and shows, once or for ever.
    pub fn execute(mut self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let mut source = Source::new(global);
        if !self.watch {
            self.draw(global, &mut source, out)?;
            return Ok(Outcome::Done);
        }
        let redraws = io::stdout().is_terminal();
        if redraws {
            self.query.limit.get_or_insert(WATCHED);
        }
        loop {
            // Drawn whole before it is shown, so that a slow answer leaves the old screen standing.
            let mut picture = Vec::new();
            self.draw(global, &mut source, &mut picture)?;
            if redraws {
                out.write_all(HOME_AND_ERASE.as_bytes())?;
            }
            out.write_all(&picture)?;
            out.flush()?;
            thread::sleep(REDRAW);
        }
    }

    fn draw(&self, global: &Global, source: &mut Source, out: &mut impl Write) -> anyhow::Result<()> {
        let flows = self.query.select(source.flows()?);
        let screen = global.screen();
        render::write_list(out, screen.format, &flows, |out| render::write_flows(out, &flows, &screen))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{cli::fake_daemon::FakeDaemon, render::samples};

    fn run(line: &str) -> String {
        let daemon = FakeDaemon::answering("200 OK", serde_json::to_string(&samples::flows()).unwrap());
        daemon.run(line).unwrap().1
    }

    #[test]
    fn what_was_asked_for_is_shown() {
        let text = run("enforcer flows --verdict drop --no-headers");
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("10.9.0.7:5432") && text.contains("default-deny"), "{text}");
    }

    #[test]
    fn json_has_the_names_and_numbers_that_scripts_rely_on() {
        let text = run("enforcer flows --sort bytes --limit 1 -o jsonl");
        let flow: serde_json::Value = serde_json::from_str(&text).unwrap();
        let names = "bytes_fwd bytes_rev digest dst dst_port endpoint_dst endpoint_src family first_seen generation \
                     icmp_type last_seen network packets_fwd packets_rev proto reason rule src src_port verdict";
        let found: Vec<&str> = flow.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found.join(" "), names);
        assert_eq!(flow["bytes_rev"], 3_456_789);
    }
}
