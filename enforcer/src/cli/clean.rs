//! `enforcer clean`: takes everything of ours off this host.

use std::io::Write;

use clap::Args;

use super::{Global, Outcome};
use crate::{daemon, render};

/// Detach from every interface and remove everything of enforcer from the kernel and the disk
///
/// Nothing is enforced afterwards. What other programs attached stays.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Remove nothing, only list what is there; exits with 1 when there is anything
    #[arg(long)]
    check: bool,
}

impl Arguments {
    /// Removes, or looks.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let Global { bpffs, state_dir, socket, .. } = global;
        let remove = if self.check { daemon::clean_check } else { daemon::clean };
        let things = remove(bpffs, state_dir, socket)?;
        render::write_list(out, global.output, &things, |out| {
            if things.is_empty() {
                return writeln!(out, "{}", if self.check { "clean" } else { "nothing to remove" });
            }
            things.iter().try_for_each(|thing| writeln!(out, "{thing}"))
        })?;
        Ok(if self.check && !things.is_empty() { Outcome::Denied } else { Outcome::Done })
    }
}
