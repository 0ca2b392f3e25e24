//! Capabilities: what the daemon needs all its life, and how it gives up the rest.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::sys::prctl;

/// Programs and tables; interfaces, and workloads' namespaces by id; what the verifier admits only from
/// tracers, pointer arithmetic for example.
const NEEDED: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// Why the daemon cannot run with the capabilities that it has.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Some are missing.
    #[error("`enforcer run` needs {0} to load programs into the kernel; run it as root: `sudo enforcer run`")]
    Missing(String),
    /// The kernel did not tell, or did not take them.
    #[error("failed to {operation} capabilities")]
    Capabilities {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: CapsError,
    },
    /// New privileges could not be ruled out.
    #[error("failed to rule out new privileges")]
    NoNewPrivileges(#[source] nix::Error),
}

/// Fails, naming what is missing, unless this process may do all that the daemon has to do.
pub fn require() -> Result<(), PrivilegeError> {
    let effective = caps::read(None, CapSet::Effective).map_err(failed("read"))?;
    let missing = NEEDED.iter().filter(|capability| !effective.contains(capability));
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    if missing.is_empty() { Ok(()) } else { Err(PrivilegeError::Missing(missing.join(", "))) }
}

/// Gives up every capability that is not needed, for this thread and whatever it starts from now on, threads
/// and programs alike. Capabilities are a thread's own: those that run already keep theirs.
pub fn reduce() -> Result<(), PrivilegeError> {
    let needed: CapsHashSet = NEEDED.into_iter().collect();
    prctl::set_no_new_privs().map_err(PrivilegeError::NoNewPrivileges)?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed("read"))? {
        bound(&needed)?;
    }
    // Ambient ones are for programs that a daemon of another user than root starts.
    for set in [CapSet::Inheritable, CapSet::Ambient, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &needed).map_err(failed("drop"))?;
    }
    Ok(())
}

/// Restricts what programs can ever get. Who may not do that has no need to: without new privileges nobody
/// gets what he does not have.
fn bound(needed: &CapsHashSet) -> Result<(), PrivilegeError> {
    let bounding = caps::read(None, CapSet::Bounding).map_err(failed("read"))?;
    let surplus = bounding.difference(needed);
    surplus
        .into_iter()
        .try_for_each(|capability| caps::drop(None, CapSet::Bounding, *capability))
        .map_err(failed("drop"))
}

fn failed(operation: &'static str) -> impl Fn(CapsError) -> PrivilegeError {
    move |source| PrivilegeError::Capabilities { operation, source }
}
