//! SIGHUP: the host file and the policy files that it names are read again, all of them or none. What went wrong with the
//! last one `status` tells, too: whoever reloads by systemd sees no log.

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tracing::warn;

use super::{access::Access, control, core::Core, policies::Unkept};
use crate::{
    config::{Config, DatapathConfig, HostFile},
    policy,
    report::ApplyRequest,
};

/// How a reload ended that was not all right.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Nothing counts of it.
    #[error("not reloaded, nothing has changed:\n{0:#}")]
    Refused(anyhow::Error),
    /// All of it counts.
    #[error("reloaded, but not all is well:\n{0:#}")]
    Flawed(anyhow::Error),
}

impl ReloadError {
    /// The same in a line.
    fn headline(&self) -> String {
        let (said, error) = match self {
            Self::Refused(error) => ("refused", error),
            Self::Flawed(error) => ("not all right", error),
        };
        format!("the last reload was {said}: {}; the log has all of it", headline(&format!("{error:#}")))
    }
}

/// What is wrong and where, of a text that may show many mistakes with their lines.
fn headline(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let what = first.strip_prefix("error: ").unwrap_or(first);
    match lines.next().and_then(|line| line.trim_start().strip_prefix("--> ")) {
        Some(place) => format!("{place}: {what}"),
        None => what.to_owned(),
    }
}

/// A host file on its way to whoever looks at the host.
pub struct Configured {
    /// The host file.
    pub config: Arc<Config>,
    /// Told when the host was looked at by it.
    pub done: oneshot::Sender<()>,
}

/// Everything that a new host file goes to.
pub struct Reload {
    /// Where it is.
    pub file: HostFile,
    /// The one in force.
    pub config: Arc<Config>,
    /// Takes the policy.
    pub core: Arc<Mutex<Core>>,
    /// Looks at the host.
    pub links: mpsc::Sender<Configured>,
    /// Rules the control socket.
    pub access: watch::Sender<Access>,
}

impl Reload {
    /// Reads and checks everything, then makes it count. After a mistake all is as it was.
    pub async fn run(&mut self) -> Result<(), ReloadError> {
        let outcome = self.reload().await;
        self.core.lock().await.last_reload = outcome.as_ref().err().map(ReloadError::headline);
        outcome
    }

    async fn reload(&mut self) -> Result<(), ReloadError> {
        let (config, unkept) = self.take_policy().await.map_err(ReloadError::Refused)?;
        self.take_config(config).await.map_err(ReloadError::Flawed)?;
        unkept.map_or(Ok(()), |error| Err(ReloadError::Flawed(error)))
    }

    /// The host file, once the policy that it names decides; and what went wrong although that does.
    async fn take_policy(&mut self) -> anyhow::Result<(Arc<Config>, Option<anyhow::Error>)> {
        let config = self.file.read()?;
        let config = Arc::new(keeping_what_stays(&self.config, config));
        let files = config.policy_files();
        if files.is_empty() {
            return Ok((config, None));
        }
        if self.core.lock().await.policies().deadline().is_some() {
            bail!("a policy is on trial: `enforcer confirm` it or `enforcer rollback` first");
        }
        let request = ApplyRequest { sources: policy::read(&files)?, ..ApplyRequest::default() };
        let applied = control::change_policy(&self.core, &request).await;
        Ok((config, flaw(applied.map_err(anyhow::Error::from))?))
    }

    async fn take_config(&mut self, config: Arc<Config>) -> anyhow::Result<()> {
        self.config = config.clone();
        self.access.send_replace(Access::new(&config.control));
        let (done, looked) = oneshot::channel();
        self.links
            .send(Configured { config, done })
            .await
            .ok()
            .context("nobody looks at the host any more")?;
        looked.await.context("nobody looked at the host")
    }
}

/// What went wrong although the policy decides; an error where it does not.
fn flaw<T>(applied: anyhow::Result<T>) -> anyhow::Result<Option<anyhow::Error>> {
    match applied {
        Ok(_) => Ok(None),
        Err(error) if error.is::<Unkept>() => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// The datapath is loaded, the socket has its group and the engine is asked for as long as the daemon lives.
fn keeping_what_stays(old: &Config, mut config: Config) -> Config {
    // Shortcuts are asked for each time.
    let datapath = DatapathConfig { fastpath: config.datapath.fastpath, ..old.datapath };
    if config.datapath != datapath
        || config.control.group != old.control.group
        || config.inspection != old.inspection
        || config.docker != old.docker
    {
        warn!(
            "changes of `inspection`, [datapath] (but for `fastpath`), [docker] and `group` in [control] count with the \
             next start"
        );
    }
    config.datapath = datapath;
    config.control.group.clone_from(&old.control.group);
    config.inspection = old.inspection;
    config.docker.clone_from(&old.docker);
    config
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_a_line() {
        let text = "error: unknown key `prefix`; known: prefixes\n --> policy.toml:7:1\n  |\n7 | prefix = []";
        insta::assert_snapshot!(
            ReloadError::Refused(anyhow!(text)).headline(),
            @"the last reload was refused: policy.toml:7:1: unknown key `prefix`; known: prefixes; the log has all of it"
        );
        let unkept = ReloadError::Flawed(anyhow!("no space left").context(Unkept));
        assert!(unkept.headline().starts_with("the last reload was not all right: this decides now"));
    }

    #[test]
    fn a_policy_that_the_disk_refused_decides_all_the_same() {
        assert!(flaw(Ok(())).unwrap().is_none());
        assert!(flaw::<()>(Err(anyhow!("no space left").context(Unkept))).unwrap().is_some());
        assert!(flaw::<()>(Err(anyhow!("unknown key"))).is_err());
    }

    #[test]
    fn what_counts_with_the_next_start_stays_until_then() {
        let parse = |text| Config::parse(Path::new("enforcer.toml"), text).unwrap();
        let new = "mode = \"audit\"\ninspection = \"1m\"\n[docker]\nsocket = \"off\"\n[control]\ngroup = \"adm\"\n\
                   [datapath]\nfastpath = \"off\"\nflows = 40000\n";
        let (old, kept) = (parse(""), keeping_what_stays(&parse(""), parse(new)));
        assert_eq!((kept.inspection, &kept.docker), (old.inspection, &old.docker));
        assert_eq!((&kept.control.group, kept.datapath.sizes), (&old.control.group, old.datapath.sizes));
        assert_eq!((kept.mode, kept.datapath.fastpath), (parse(new).mode, parse(new).datapath.fastpath));
    }
}
