//! SIGHUP: the host file and the policy files that it names are read again, all of them or none.

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tracing::warn;

use super::{access::Access, control, core::Core};
use crate::{
    config::{Config, DatapathConfig, HostFile},
    policy,
    report::ApplyRequest,
};

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
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let config = self.file.read()?;
        let config = Arc::new(self.keeping_what_stays(config));
        let files = config.policy_files();
        if !files.is_empty() {
            if self.core.lock().await.policies().deadline().is_some() {
                bail!("a policy is on trial: `enforcer confirm` it or `enforcer rollback` first");
            }
            let request = ApplyRequest { sources: policy::read(&files)?, ..ApplyRequest::default() };
            control::change_policy(&self.core, &request).await?;
        }
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

    /// The datapath is loaded and the socket has its group for as long as the daemon lives.
    fn keeping_what_stays(&self, mut config: Config) -> Config {
        let old = &self.config;
        // Shortcuts are asked for each time.
        let datapath = DatapathConfig { fastpath: config.datapath.fastpath, ..old.datapath };
        if config.datapath != datapath
            || config.control.group != old.control.group
            || config.inspection != old.inspection
        {
            warn!(
                "changes of `inspection`, [datapath] (but for `fastpath`) and `group` in [control] count with the \
                 next start"
            );
        }
        config.datapath = datapath;
        config.control.group.clone_from(&old.control.group);
        config
    }
}
