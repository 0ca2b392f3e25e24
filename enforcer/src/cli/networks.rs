//! `enforcer networks`: the logical networks and who is in them here.

use std::io::Write;

use anyhow::ensure;
use clap::Args;

use super::{Global, Outcome, Source};
use crate::render;

/// List the logical networks in force, their prefixes, and the local endpoints in them
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this network
    name: Option<String>,
}

impl Arguments {
    /// Asks and shows.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let mut networks = Source::new(global).networks()?;
        if let Some(name) = &self.name {
            networks.retain(|network| network.name == *name);
            ensure!(!networks.is_empty(), "there is no network {name}");
        }
        let screen = global.screen();
        render::write_list(out, screen.format, &networks, |out| {
            render::write_networks(out, &networks, &screen)
        })?;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::{cli::fake_daemon::FakeDaemon, render::samples};

    fn daemon() -> FakeDaemon {
        FakeDaemon::answering("200 OK", serde_json::to_string(&samples::networks()).unwrap())
    }

    #[test]
    fn a_name_shows_one() {
        let (_, text) = daemon().run("enforcer networks db --no-headers").unwrap();
        assert!(text.starts_with("db ") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = daemon().run("enforcer networks bleu").unwrap_err();
        assert_eq!(error.to_string(), "there is no network bleu");
    }
}
