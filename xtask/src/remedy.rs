//! What people can do about a drop; made into a paper by [`crate::tidy`].

use enforcer_common::verdict::DropReason;

/// What to look at and what to change; `-` where the sender alone can.
pub const fn of(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Truncated
        | DropReason::ExtensionHeaders
        | DropReason::Ethertype
        | DropReason::Martian
        | DropReason::MappedAddress
        | DropReason::BadQuote
        | DropReason::OverlappingFragment
        | DropReason::IpOptions
        | DropReason::RoutingHeader
        | DropReason::Multicast => "-",
        DropReason::BadHeader => "switch BIG TCP off inside the workload, if it was switched on",
        DropReason::VlanTag => {
            "give the workload an interface of its own for each VLAN, and tag outside of it"
        }
        DropReason::SpoofedSource | DropReason::SpoofedNeighbor => {
            "`enforcer endpoints -o wide` says what it owns: declare what is missing as `addresses` of an `[[endpoint]]`, \
             or `enforcer endpoints forget` where it has moved"
        }
        DropReason::UnstampedSource => {
            "look for who sends for it past its veth, and for who else writes the bits of `mark_mask`: choose others"
        }
        DropReason::MaskedSource => {
            "[do not masquerade between workloads](addressing.md#no-masquerade-inside-the-fabric), or give the sender one \
             address of the family; look for who else writes the bits of `mark_mask`: choose others"
        }
        DropReason::NotOwner => {
            "look where the route or the bridge leads that brought it here; declare the address if it is the workload's"
        }
        DropReason::RouterAdvertisement => "`provides = [\"router\"]` of an `[[endpoint]]`, if it is meant",
        DropReason::SpoofedMac => {
            "`macs = \"any\"` of an `[[endpoint]]`, if it bridges others; `enforcer endpoints forget`, if it has another one now"
        }
        DropReason::DhcpServer => "`provides = [\"dhcp-server\"]` of an `[[endpoint]]`, if it is meant",
        DropReason::SpoofedOutside => {
            "[name as uplinks](underlays.md) only what leads outside; look for a second owner of the address; with \
             `trust = \"external\"` members of networks are not believed there"
        }
        DropReason::DefaultDeny => "`enforcer explain` says what is missing",
        DropReason::NoPolicy => "`enforcer apply`",
        DropReason::Fragment => "smaller packets, or a rule that names no ports",
        DropReason::Quarantined => {
            "give the workload an address, or declare it as `addresses` of an `[[endpoint]]`"
        }
        DropReason::NoEndpoint => "does the daemon run? `enforcer status` says why it could not attach",
        DropReason::DeniedByRule => "`enforcer explain` names the rule: `except_from`, `except_to`",
        DropReason::IcmpErrorRate => "look for a loop of routes, or for who provokes so many",
    }
}
