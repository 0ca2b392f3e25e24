//! Workloads that nothing is enforced for: interfaces of the host that lead to somebody, and are not the veths that we
//! attach to. Which those are is decided here, [`look`] reads them.

use serde::{Deserialize, Serialize};

use crate::config::Config;

pub mod look;

pub use look::look;

/// Somebody who is not enforced.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Unenforced {
    /// Name of the interface, or of the container.
    pub name: String,
    /// Why not; for people.
    pub why: String,
}

/// What is known of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Whether its other end is in another namespace.
    pub leads_away: bool,
}

/// The kinds that carry workloads, or may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A pair, one end of which is here.
    Veth,
    /// The same without a link layer of its own.
    Netkit,
    /// A program, a virtual machine most often, sends and receives frames.
    Tap,
    /// The same with packets.
    Tun,
    /// Another MAC on an interface.
    Macvlan,
    /// Another address on an interface.
    Ipvlan,
    /// Anything else.
    Other,
}

/// Those of the host's interfaces behind which somebody is not enforced. Who is excluded or an uplink is meant to be.
pub fn interfaces(found: &[Interface], config: &Config) -> Vec<Unenforced> {
    let meant =
        |name: &str| config.attach.excludes(name) || config.trust(name).is_some() || config.guard.wants(name);
    let candidates = found.iter().filter(|interface| !meant(&interface.name));
    let unenforced = candidates.filter_map(|interface| {
        let why = why(interface, config.attach.wants(&interface.name))?;
        Some(Unenforced { name: interface.name.clone(), why: why.to_owned() })
    });
    unenforced.collect()
}

fn why(interface: &Interface, is_wanted: bool) -> Option<&'static str> {
    match interface.kind {
        Kind::Veth if is_wanted || !interface.leads_away => None,
        Kind::Veth => Some("a veth that [attach] does not match"),
        Kind::Netkit => Some("netkit: programs are attached to veths only"),
        Kind::Tap => Some("a tap: programs are attached to veths only"),
        Kind::Tun => Some("a tun: programs are attached to veths only, and an [[uplink]] needs Ethernet"),
        Kind::Macvlan => Some("macvlan: its packets go past every veth"),
        Kind::Ipvlan => Some("ipvlan: its packets go past every veth"),
        Kind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    const HOST: &str = "[attach]\nmatch = [\"veth*\"]\nexclude = [\"veth-x*\"]\n[guard]\nmatch = [\"tun9\"]\n\
                        [[uplink]]\nmatch = \"wan*\"\n";

    #[rstest]
    #[case::enforced("veth-web", Kind::Veth, true, false)]
    #[case::another_name("lxc-web", Kind::Veth, true, true)]
    #[case::excluded("veth-x1", Kind::Veth, true, false)]
    #[case::both_ends_here("br-side", Kind::Veth, false, false)]
    #[case::uplink("wan0", Kind::Veth, true, false)]
    #[case::machine("vnet0", Kind::Tap, false, true)]
    #[case::vpn("tun0", Kind::Tun, false, true)]
    #[case::guarded("tun9", Kind::Tun, false, false)]
    #[case::macvtap("macvtap0", Kind::Macvlan, false, true)]
    #[case::ipvlan("ipvl0", Kind::Ipvlan, false, true)]
    #[case::netkit("nk0", Kind::Netkit, true, true)]
    #[case::card("eth0", Kind::Other, false, false)]
    fn who_is_meant_to_be_left_alone_is_not_told(
        #[case] name: &str,
        #[case] kind: Kind,
        #[case] leads_away: bool,
        #[case] told: bool,
    ) {
        let config = Config::parse(Path::new("enforcer.toml"), HOST).unwrap();
        let interface = Interface { name: name.to_owned(), kind, leads_away };
        let found = interfaces(&[interface], &config);
        assert_eq!(found.iter().any(|one| one.name == name && !one.why.is_empty()), told, "{found:?}");
    }
}
