//! Verdicts and the reasons that a verdict cannot be built without.
//!
//! Numbers are explicit, append-only and never reused; they are counter indices, so they stay below
//! [`REASON_SLOTS`]. Slug, caption and category are data next to the number.

use crate::mode::Mode;

/// Slots of the table that counts packets per reason.
pub const REASON_SLOTS: u32 = 128;

/// Drops are numbered from here on, passes below.
const FIRST_DROP: u8 = 32;

/// Drops of [`Category::Policy`] are numbered from here on, up to the next multiple of [`FIRST_DROP`].
const FIRST_OF_POLICY: u8 = 64;

/// Added to a drop's number: it would have been one, but the mode in force lets the packet go on.
const WOULD: u8 = 128;

/// What kind of cause a drop has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "user", serde(rename_all = "kebab-case"))]
pub enum Category {
    /// The packet is not what it claims to be, or cannot be read.
    Integrity,
    /// The policy says no.
    Policy,
    /// The kernel could not do what was needed to decide.
    Resource,
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $number:literal, $slug:literal, $category:ident, $caption:literal;)* }) => {
        $(#[$meta])*
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $(#[doc = $caption] $variant = $number,)*
        }

        impl $name {
            /// Every reason, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Stable name in JSON and on the command line.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }

            /// One line for people.
            pub const fn caption(self) -> &'static str {
                match self { $(Self::$variant => $caption,)* }
            }

            /// What kind of cause this is.
            pub const fn category(self) -> Category {
                match self { $(Self::$variant => Category::$category,)* }
            }

            /// The reason with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// Why a packet passed.
    PassReason {
        SharedNetwork = 1, "shared-network", Policy, "source and destination share a network";
        HostAllowed = 2, "host-allowed", Policy, "a workload asked its host for a service on the allow list";
        HostOpen = 3, "host-open", Policy, "the host itself spoke to a workload";
        Reply = 4, "reply", Policy, "an answer in a conversation that a rule or the host admitted";
        Neighbor = 5, "neighbor", Integrity, "ARP or neighbour discovery that the workload needs";
        AllowedByRule = 6, "allowed-by-rule", Policy, "a rule allows it";
        IcmpError = 7, "icmp-error", Policy, "an ICMP error about a packet that was allowed";
        Uplink = 8, "uplink", Policy, "came in by an uplink, and was not refused there; what is for a workload is counted again at its own interface";
    }
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        Truncated = 32, "truncated", Integrity, "the packet ends before its headers do";
        BadHeader = 33, "bad-header", Integrity, "a header contradicts itself or the packet's length";
        ExtensionHeaders = 34, "extension-headers", Integrity, "more or longer IPv6 extension headers than the parser walks";
        VlanTag = 35, "vlan-tag", Integrity, "the packet carries a VLAN tag";
        Ethertype = 36, "ethertype", Integrity, "neither IPv4, IPv6 nor ARP";
        Martian = 37, "martian", Integrity, "an address that cannot be on this wire";
        MappedAddress = 38, "mapped-address", Integrity, "an IPv4-mapped address in an IPv6 header";
        SpoofedSource = 39, "spoofed-source", Integrity, "the source address does not belong to the sending endpoint";
        SpoofedNeighbor = 40, "spoofed-neighbor", Integrity, "ARP or neighbour discovery speaks for an address of somebody else";
        UnstampedSource = 41, "unstamped-source", Integrity, "a local endpoint's address, but the packet did not enter through that endpoint";
        MaskedSource = 42, "masked-source", Integrity, "a forwarded packet with an address of the host: NAT hides who sent it";
        NotOwner = 43, "not-owner", Integrity, "the destination address does not belong to this endpoint";
        RouterAdvertisement = 44, "router-advertisement", Integrity, "a workload acts as a router";
        SpoofedMac = 45, "spoofed-mac", Integrity, "the source MAC is not that of the workload's interface";
        BadQuote = 46, "bad-quote", Integrity, "an ICMP error about a packet that its sender cannot have got from its receiver";
        OverlappingFragment = 47, "overlapping-fragment", Integrity, "a later fragment that reaches into the transport header";
        IpOptions = 48, "ip-options", Integrity, "IPv4 options";
        RoutingHeader = 49, "routing-header", Integrity, "an IPv6 routing header: the destination is not the destination";
        DhcpServer = 50, "dhcp-server", Integrity, "a workload acts as a DHCP server";
        SpoofedOutside = 51, "spoofed-outside", Integrity, "from outside, but with an address of this host or of a local endpoint";
        DefaultDeny = 64, "default-deny", Policy, "no common network and no rule admits it";
        NoPolicy = 65, "no-policy", Policy, "no policy has been applied yet";
        Multicast = 66, "multicast", Policy, "multicast or broadcast";
        Fragment = 67, "fragment", Policy, "a later fragment whose first was not seen, where the verdict needs ports";
        Quarantined = 68, "quarantined", Policy, "the endpoint has no known address yet";
        NoEndpoint = 69, "no-endpoint", Policy, "the interface is not registered yet";
        DeniedByRule = 70, "denied-by-rule", Policy, "a rule denies it";
        IcmpErrorRate = 97, "icmp-error-rate", Resource, "more ICMP errors of routers than one endpoint is told per second";
    }
}

/// What happens to a packet, and why.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// On to the next program.
    Pass(PassReason),
    /// Gone.
    Drop(DropReason),
    /// On to the next program, because a [`Mode`] relaxes what would be a drop.
    WouldDrop(DropReason),
}

impl DropReason {
    /// Whether `mode` lets a packet go on that is to be dropped for this reason. Auditing needs to know who
    /// speaks.
    #[inline(always)]
    pub const fn is_relaxed_by(self, mode: Mode) -> bool {
        match mode {
            Mode::Enforce => false,
            Mode::Audit => {
                matches!(self.category(), Category::Policy)
                    && !matches!(self, Self::Quarantined | Self::NoEndpoint)
            }
            Mode::Observe => true,
        }
    }
}

impl Verdict {
    /// Unique over all verdicts, never 0: the number of the reason, for [`Verdict::WouldDrop`] with the
    /// highest bit set. Without that bit it is the slot that counts it.
    #[inline(always)]
    pub const fn code(self) -> u8 {
        match self {
            Self::Pass(reason) => reason as u8,
            Self::Drop(reason) => reason as u8,
            Self::WouldDrop(reason) => reason as u8 | WOULD,
        }
    }

    /// [`DropReason::is_relaxed_by`] for the [`code`](Self::code) of a drop: the datapath knows reasons as
    /// numbers. What is no drop has nothing that could be relaxed.
    #[inline(always)]
    pub const fn is_relaxed_code(code: u8, mode: Mode) -> bool {
        match mode {
            Mode::Enforce => false,
            Mode::Audit => Self::is_of_proven_source(code),
            Mode::Observe => code >= FIRST_DROP && code < WOULD,
        }
    }

    /// Whether the drop with this [`code`](Self::code) is the policy's, of a packet that is what it claims to
    /// be: its source was asked about before.
    #[inline(always)]
    pub const fn is_of_proven_source(code: u8) -> bool {
        code & !(FIRST_DROP - 1) == FIRST_OF_POLICY
            && code != DropReason::Quarantined as u8
            && code != DropReason::NoEndpoint as u8
    }

    /// Whether this is the [`code`](Self::code) of a drop whose packet bears an address of somebody else.
    #[inline(always)]
    pub const fn is_forged_code(code: u8) -> bool {
        code == DropReason::SpoofedSource as u8 || code == DropReason::SpoofedOutside as u8
    }

    /// The code of the drop that a [`code`](Self::code) relaxes; any other code itself.
    #[inline(always)]
    pub const fn strict_code(code: u8) -> u8 {
        if Self::is_would_drop_code(code) { code & !WOULD } else { code }
    }

    /// The code of a drop that is relaxed.
    #[inline(always)]
    pub const fn relaxed_code(code: u8) -> u8 {
        code | WOULD
    }

    /// Whether a [`code`](Self::code) is that of a drop which is relaxed.
    #[inline(always)]
    pub const fn is_would_drop_code(code: u8) -> bool {
        code >= FIRST_DROP | WOULD
    }

    /// The verdict with this [`code`](Self::code).
    pub const fn from_code(code: u8) -> Option<Self> {
        match (PassReason::from_number(code), DropReason::from_number(Self::strict_code(code))) {
            (Some(reason), _) => Some(Self::Pass(reason)),
            (None, Some(reason)) if Self::is_would_drop_code(code) => Some(Self::WouldDrop(reason)),
            (None, Some(reason)) => Some(Self::Drop(reason)),
            (None, None) => None,
        }
    }

    /// Whether a [`code`](Self::code) is that of a [`Verdict::Pass`].
    #[inline(always)]
    pub const fn is_admitted_code(code: u8) -> bool {
        code != 0 && code < FIRST_DROP
    }

    /// Whether a [`code`](Self::code) lets the packet go on; 0 and unknown numbers do not.
    #[inline(always)]
    pub const fn is_pass_code(code: u8) -> bool {
        Self::is_admitted_code(code) || Self::is_would_drop_code(code)
    }

    /// Whether the packet goes on.
    #[inline(always)]
    pub const fn is_pass(self) -> bool {
        matches!(self, Self::Pass(_) | Self::WouldDrop(_))
    }

    /// `pass`, `drop` or `would-drop`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Drop(_) => "drop",
            Self::WouldDrop(_) => "would-drop",
        }
    }

    /// Slug of the reason.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Pass(reason) => reason.slug(),
            Self::Drop(reason) | Self::WouldDrop(reason) => reason.slug(),
        }
    }

    /// Caption of the reason.
    pub const fn caption(self) -> &'static str {
        match self {
            Self::Pass(reason) => reason.caption(),
            Self::Drop(reason) | Self::WouldDrop(reason) => reason.caption(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_relaxed_as_their_reasons_are() {
        for code in 0..=u8::MAX {
            for mode in Mode::ALL {
                let by_reason =
                    DropReason::from_number(code).is_some_and(|reason| reason.is_relaxed_by(mode));
                let unknown = DropReason::from_number(code).is_none();
                assert!(unknown || Verdict::is_relaxed_code(code, mode) == by_reason, "{code} {mode:?}");
            }
            if Verdict::is_pass_code(code) || code == 0 {
                assert!(!Mode::ALL.iter().any(|mode| Verdict::is_relaxed_code(code, *mode)), "{code}");
            }
        }
    }

    #[test]
    fn codes_are_unique_and_within_the_counter_table() {
        let passes = PassReason::ALL.iter().map(|reason| Verdict::Pass(*reason));
        let drops = DropReason::ALL.iter().map(|reason| Verdict::Drop(*reason));
        let all: Vec<Verdict> = passes.chain(drops).collect();
        let codes: BTreeSet<u8> = all.iter().map(|verdict| verdict.code()).collect();
        let slugs: BTreeSet<&str> = all.iter().map(|verdict| verdict.slug()).collect();
        assert_eq!(codes.len(), all.len());
        assert_eq!(slugs.len(), all.len());
        for verdict in all {
            assert!(verdict.code() > 0 && u32::from(verdict.code()) < REASON_SLOTS);
            assert_eq!(Verdict::strict_code(verdict.code()), verdict.code());
            assert_eq!(Verdict::from_code(verdict.code()), Some(verdict));
            assert_eq!(Verdict::is_pass_code(verdict.code()), verdict.is_pass());
        }
        assert_eq!(Verdict::from_code(0), None);
        assert!(!Verdict::is_pass_code(0));
    }

    #[test]
    fn a_relaxed_drop_has_a_code_of_its_own_and_goes_on() {
        for reason in DropReason::ALL.iter().copied() {
            let (strict, relaxed) = (Verdict::Drop(reason).code(), Verdict::WouldDrop(reason).code());
            assert_eq!(Verdict::from_code(relaxed), Some(Verdict::WouldDrop(reason)));
            assert_eq!((Verdict::relaxed_code(strict), Verdict::strict_code(relaxed)), (relaxed, strict));
            assert!(Verdict::is_pass_code(relaxed) && !Verdict::is_pass_code(strict));
        }
    }

    #[test]
    fn auditing_relaxes_what_the_policy_says_of_those_who_are_known() {
        assert!(DropReason::DefaultDeny.is_relaxed_by(Mode::Audit));
        assert!(!DropReason::SpoofedSource.is_relaxed_by(Mode::Audit));
        assert!(!DropReason::Quarantined.is_relaxed_by(Mode::Audit));
        for reason in DropReason::ALL {
            assert!(reason.is_relaxed_by(Mode::Observe) && !reason.is_relaxed_by(Mode::Enforce));
        }
    }
}
