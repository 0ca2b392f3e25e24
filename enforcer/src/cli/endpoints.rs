//! `enforcer endpoints`: the workloads of this host as the datapath knows them.

use std::io::Write;

use anyhow::ensure;
use clap::{Args, Subcommand};

use super::{Client, Global, Outcome, Source, source::said_by_daemon};
use crate::{
    render,
    report::{ForgetReport, ForgetRequest},
};

/// List the local endpoints: their addresses, networks and traffic
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    order: Option<Order>,
    /// Only this endpoint: the name of its host-side interface
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Forget what an endpoint learned of itself: its addresses and its MAC are learned anew at once
    ///
    /// For a workload that got another address for good, by DHCP for example: what it had first is kept
    /// otherwise as long as its interface lives.
    Forget {
        /// The endpoint: the name of its host-side interface
        endpoint: String,
    },
}

impl Arguments {
    /// Asks and shows.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        if let Some(Order::Forget { endpoint }) = &self.order {
            return forget(endpoint, global, out);
        }
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

fn forget(endpoint: &str, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let request = ForgetRequest { endpoint: endpoint.to_owned() };
    let client = Client::new(global.socket.clone());
    let report: ForgetReport = client.post("/v1/forget", &request).map_err(said_by_daemon)?;
    render::write_one(out, global.output, &report, |out| render::write_forgotten(out, &report))?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, fake_daemon::FakeDaemon};

    #[test]
    fn a_name_is_no_order_and_an_order_has_one() {
        for line in
            ["enforcer endpoints", "enforcer endpoints veth-web", "enforcer endpoints forget veth-web"]
        {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(Cli::try_parse_from(["enforcer", "endpoints", "forget"]).is_err());
    }

    #[test]
    fn what_is_forgotten_is_told() {
        let daemon = FakeDaemon::answering(
            "200 OK",
            r#"{"endpoint":"veth-web","addresses":["10.1.0.5"],"mac":"02:00:00:00:00:05"}"#,
        );
        let (_, text) = daemon.run("enforcer endpoints forget veth-web").unwrap();
        assert_eq!(
            text,
            "forgot 10.1.0.5 and 02:00:00:00:00:05 of veth-web: learned anew with the next look\n"
        );
        assert_eq!(daemon.asked(), "POST /v1/forget HTTP/1.1");
    }
}
