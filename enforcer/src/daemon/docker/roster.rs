//! What runs, as the engine and the kernel say together.
//!
//! A process id is somebody else's soon after its process is gone. So the engine is asked twice whether it is
//! still the container's, and the kernel in between for the namespace.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    error::Error,
};

use tracing::{debug, warn};

use super::api::{Api, DockerError, Inspected, Listed};
use crate::daemon::containers::Container;

/// Who tells a namespace's id by a process in it.
pub trait Namespaces {
    /// The id here of the network namespace of a process; `None` if it has none, or the process is gone.
    fn nsid(&self, pid: u32) -> impl Future<Output = Option<i32>> + Send;
}

/// Containers by their ids, as far as what is known of them still holds.
#[derive(Default)]
pub struct Roster {
    known: HashMap<String, Container>,
    /// Those of which the engine cannot speak; said once.
    unreadable: HashSet<String>,
}

impl Roster {
    /// Something happened to it.
    pub fn forget(&mut self, id: &str) {
        self.known.remove(id);
    }

    /// Workloads came into these namespaces: whose they are is to be asked anew.
    pub fn forget_in(&mut self, namespaces: &BTreeSet<i32>) {
        // Who had no namespace that the kernel had an id for may have one now.
        self.known.retain(|_, container| container.nsid.is_some_and(|nsid| !namespaces.contains(&nsid)));
    }

    /// What runs. `looks` is the number of looks at the host so far: what is asked now is asked after them.
    pub async fn ask(
        &mut self,
        api: &Api,
        namespaces: &impl Namespaces,
        looks: u64,
    ) -> Result<Vec<Container>, DockerError> {
        let listed = api.containers().await?;
        let is_listed = |id: &String| listed.iter().any(|listed| listed.id == *id);
        self.known.retain(|id, _| is_listed(id));
        self.unreadable.retain(is_listed);
        let unknown: Vec<&Listed> =
            listed.iter().filter(|listed| !self.known.contains_key(&listed.id)).collect();
        let drivers = if unknown.is_empty() { BTreeMap::new() } else { drivers(api).await? };
        for Listed { id } in unknown {
            match one(api, namespaces, id, &drivers).await {
                Ok(Some(container)) => {
                    self.known.insert(id.clone(), Container { asked_at: looks, ..container });
                }
                Ok(None) => debug!(id, "a container began or ended while it was asked for"),
                Err(error) if error.is_gone() => debug!(id, "a container went while it was asked for"),
                // One that nobody can read must not hide the others.
                Err(error) if error.is_answer() => self.miss(id, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(listed.iter().filter_map(|listed| self.known.get(&listed.id)).cloned().collect())
    }

    fn miss(&mut self, id: &str, error: &DockerError) {
        if self.unreadable.insert(id.to_owned()) {
            warn!(
                id,
                error = error as &dyn Error,
                "Docker cannot say who a container is: it is a member of nothing"
            );
        }
    }
}

/// What makes each network, by its name.
async fn drivers(api: &Api) -> Result<BTreeMap<String, String>, DockerError> {
    Ok(api.networks().await?.into_iter().map(|network| (network.name, network.driver)).collect())
}

/// One container; `None` if it does not run, or not all the while.
async fn one(
    api: &Api,
    namespaces: &impl Namespaces,
    id: &str,
    drivers: &BTreeMap<String, String>,
) -> Result<Option<Container>, DockerError> {
    let before = api.container(id).await?;
    if before.state.pid == 0 {
        return Ok(None);
    }
    let nsid = match &*before.host_config.network_mode {
        "host" => None,
        _ => namespaces.nsid(before.state.pid).await,
    };
    let after = api.container(id).await?;
    let name = after.name.trim_start_matches('/').to_owned();
    let (labels, unseen) = (labels(&name, &after), unseen(&after, drivers));
    Ok((after.state == before.state).then_some(Container { name, labels, nsid, unseen, asked_at: 0 }))
}

fn labels(name: &str, container: &Inspected) -> BTreeSet<String> {
    let labels = container.config.labels.iter().flatten();
    let labels = labels.map(|(key, value)| format!("docker:label:{key}={value}"));
    labels.chain([format!("docker:name:{name}")]).collect()
}

/// Why no veth of this host leads to the container.
fn unseen(container: &Inspected, drivers: &BTreeMap<String, String>) -> Option<String> {
    if container.host_config.network_mode == "host" {
        return Some("it has the host's own network".to_owned());
    }
    let mut networks = container.network_settings.networks.iter().flat_map(BTreeMap::keys);
    networks.find_map(|name| match drivers.get(name)?.as_str() {
        driver @ ("macvlan" | "ipvlan") => Some(format!("its network {name} is {driver}")),
        _ => None,
    })
}
