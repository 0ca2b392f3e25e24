//! `enforcer endpoints`: the workloads of this host as the datapath knows them.

use std::io::Write;

use anyhow::ensure;
use clap::Args;

use super::{Global, Outcome, Source};
use crate::render;

/// List the local endpoints: their addresses, networks and traffic
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this endpoint: the name of its host-side interface
    name: Option<String>,
}

impl Arguments {
    /// Asks and shows.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let mut endpoints = Source::new(global).endpoints()?;
        if let Some(name) = &self.name {
            endpoints.retain(|endpoint| endpoint.name == *name);
            ensure!(!endpoints.is_empty(), "there is no endpoint {name}");
        }
        let screen = global.screen();
        render::write_list(out, screen.format, &endpoints, |out| {
            render::write_endpoints(out, &endpoints, &screen)
        })?;
        Ok(Outcome::Done)
    }
}
