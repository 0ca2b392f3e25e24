//! `enforcer rules`: the rules and what they decided here.

use std::io::Write;

use anyhow::ensure;
use clap::Args;

use super::{Global, Outcome, Source};
use crate::render;

/// List the rules in force and what each let pass or dropped on this host, also those that never did
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this rule
    name: Option<String>,
}

impl Arguments {
    /// Asks and shows.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let mut rules = Source::new(global).rules()?;
        if let Some(name) = &self.name {
            rules.retain(|rule| rule.name == *name);
            ensure!(!rules.is_empty(), "there is no rule {name}");
        }
        let screen = global.screen();
        render::write_list(out, screen.format, &rules, |out| render::write_rules(out, &rules, &screen))?;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::{cli::fake_daemon::FakeDaemon, render::samples};

    fn daemon() -> FakeDaemon {
        FakeDaemon::answering("200 OK", serde_json::to_string(&samples::rules()).unwrap())
    }

    #[test]
    fn a_name_shows_one() {
        let (_, text) = daemon().run("enforcer rules quarantine --no-headers").unwrap();
        assert!(text.starts_with("deny ") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = daemon().run("enforcer rules dns").unwrap_err();
        assert_eq!(error.to_string(), "there is no rule dns");
    }

    #[test]
    fn json_has_the_names_and_numbers_that_scripts_rely_on() {
        let (_, text) = daemon().run("enforcer rules quarantine -o jsonl").unwrap();
        insta::assert_snapshot!(text, @r#"{"name":"quarantine","id":2,"action":"deny","from":{"ends":["10.1.0.66/32"]},"to":{"ends":["any"],"except":["blue","db"]},"services":["any"],"packets":0,"bytes":0}"#);
    }
}
