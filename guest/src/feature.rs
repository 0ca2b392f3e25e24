//! What some kernels lack, and what a test that wants it is skipped for. Only where a kernel can lack it: on one that
//! has it such a skip is a failure.

/// Something that a test may want from the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {
    /// Links for tc programs.
    Tcx,
    /// The number of instructions that the verifier walked, told with a program.
    VerifiedCounts,
    /// Test runs of tc programs in which the packet came through an interface.
    TestedOrigin,
    /// Test runs of XDP programs with an interface.
    TestedXdp,
    /// Test runs of XDP programs whose frames go on to the kernel.
    LiveFrames,
    /// The kernel's own generator of packets.
    Pktgen,
    /// Devices that tag frames.
    Vlan,
    /// Tunnels of IPv4 in IPv4.
    Ipip,
    /// Tunnels of IPv6 in IPv4.
    Sit,
    /// Tunnels of GRE in IPv4, of packets and of frames.
    Gre,
    /// Tunnels in IPv6.
    Ip6Tunnel,
    /// Tunnels of GRE in IPv6.
    Ip6Gre,
    /// Tunnels of Geneve.
    Geneve,
    /// Devices that lead nowhere.
    Dummy,
    /// Devices that share the MAC of another.
    Ipvlan,
    /// Devices beside another, with MACs of their own.
    Macvlan,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Tcx,
        Self::VerifiedCounts,
        Self::TestedOrigin,
        Self::TestedXdp,
        Self::LiveFrames,
        Self::Pktgen,
        Self::Vlan,
        Self::Ipip,
        Self::Sit,
        Self::Gre,
        Self::Ip6Tunnel,
        Self::Ip6Gre,
        Self::Geneve,
        Self::Dummy,
        Self::Ipvlan,
        Self::Macvlan,
    ];

    /// What reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx links",
            Self::VerifiedCounts => "counts of verified instructions",
            Self::TestedOrigin => "test runs of tc programs with an ingress interface",
            Self::TestedXdp => "test runs of XDP programs with an interface",
            Self::LiveFrames => "test runs of XDP programs with live frames",
            Self::Pktgen => "pktgen",
            Self::Vlan => "VLAN devices",
            Self::Ipip => "ipip devices",
            Self::Sit => "sit devices",
            Self::Gre => "gre devices",
            Self::Ip6Tunnel => "ip6tnl devices",
            Self::Ip6Gre => "ip6gre devices",
            Self::Geneve => "geneve devices",
            Self::Dummy => "dummy devices",
            Self::Ipvlan => "ipvlan devices",
            Self::Macvlan => "macvlan devices",
        }
    }

    /// The kernel that has it at the latest, major and minor number.
    pub const fn since(self) -> (u8, u16) {
        match self {
            Self::Tcx => (6, 6),
            Self::VerifiedCounts => (5, 16),
            // Not in 5.10, and in 6.1.
            Self::TestedOrigin => (6, 1),
            Self::TestedXdp => (5, 15),
            Self::LiveFrames => (5, 18),
            // Modules that are older than any kernel that the enforcer runs on.
            Self::Pktgen
            | Self::Vlan
            | Self::Ipip
            | Self::Sit
            | Self::Gre
            | Self::Ip6Tunnel
            | Self::Ip6Gre
            | Self::Geneve
            | Self::Dummy
            | Self::Ipvlan
            | Self::Macvlan => (5, 10),
        }
    }

    /// Whether a kernel of any age may be built without it. Then only trying tells; those of the virtual machines have
    /// all of them.
    pub const fn is_optional(self) -> bool {
        !matches!(
            self,
            Self::Tcx | Self::VerifiedCounts | Self::TestedOrigin | Self::TestedXdp | Self::LiveFrames
        )
    }

    /// The feature with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }

    /// Whether a kernel of this release can lack it; `None` for a release that is none.
    pub fn may_be_missing(self, release: &str) -> Option<bool> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let version = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(version < self.since())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_what_came_before_it() {
        assert_eq!(Feature::Tcx.may_be_missing("6.1.0-56-cloud-amd64"), Some(true));
        assert_eq!(Feature::Tcx.may_be_missing("6.6.0"), Some(false));
        assert_eq!(Feature::Tcx.may_be_missing("7.3.4+deb13-cloud-amd64"), Some(false));
        assert_eq!(Feature::Tcx.may_be_missing("linux"), None);
        assert_eq!(Feature::Vlan.may_be_missing("5.10.0-46-cloud-amd64"), Some(false));
        assert!(Feature::Vlan.is_optional() && !Feature::LiveFrames.is_optional());
        assert!(Feature::ALL.into_iter().all(|feature| Feature::named(feature.name()) == Some(feature)));
    }
}
