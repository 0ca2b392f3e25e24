//! Facts about who sits behind which veth. They are written at once and independent of policy
//! generations, and bound to the interface: reuse of an address inherits nothing.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, map_layout};

/// Names an endpoint on this host: 0 nobody local, [`EndpointId::HOST`] the host itself, else the
/// index of its counters.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct EndpointId(pub u32);

map_layout!(EndpointId, 4);

impl EndpointId {
    /// Not an endpoint of this host: somebody beyond an uplink.
    pub const REMOTE: Self = Self(0);
    /// The host.
    pub const HOST: Self = Self(u32::MAX);

    /// The mark that says *entered through this endpoint's veth*: bits under `mask`, never all zero,
    /// which would mean *no stamp*. The mask is contiguous and has two bits at least.
    ///
    /// Stamps of two endpoints may coincide; sources are checked where packets enter, the stamp only
    /// proves that a packet entered through a checked veth. The two highest values are nobody's:
    /// [`relaxed_stamp`] and [`doubtful_stamp`].
    pub const fn stamp(self, mask: u32) -> u32 {
        let values = (mask >> mask.trailing_zeros()) - 2;
        (self.0 % values + 1) << mask.trailing_zeros()
    }
}

/// The mark of a packet that entered through its source's veth and would have been dropped there, but for the
/// mode: it was counted, and whoever meets it next may still drop it.
#[inline(always)]
pub const fn relaxed_stamp(mask: u32) -> u32 {
    mask & mask.wrapping_sub(1)
}

/// The same, of a packet whose source is not proven: no endpoint's stamp, and no proof of anything.
#[inline(always)]
pub const fn doubtful_stamp(mask: u32) -> u32 {
    mask
}

/// Who sits behind the veth with this ifindex (value of the `ENDPOINTS` table).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Endpoint {
    /// Its id, at least 1.
    pub id: EndpointId,
    /// [`Endpoint::ADDRESSED`] and the other flags.
    pub flags: u32,
    /// Its stamp, [`EndpointId::stamp`].
    pub stamp: u32,
    /// MAC of the workload's own interface; zero while unknown.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: u16,
    /// Name of the host-side interface, NUL padded: what tools show when no daemon runs.
    pub name: [u8; 16],
}

map_layout!(Endpoint, 36);

impl Endpoint {
    /// At least one address is known; until then the endpoint is quarantined.
    pub const ADDRESSED: u32 = 1;
    /// Declared to answer DHCP.
    pub const DHCP_SERVER: u32 = 2;
    /// Declared to be a router: it may advertise itself, redirect, and report errors about what others
    /// sent.
    pub const ROUTER: u32 = 4;
    /// Nobody local: the interface leads outside. Its id is [`EndpointId::REMOTE`].
    pub const UPLINK: u32 = 8;
    /// With [`Endpoint::UPLINK`]: nobody there is a member of any network, whatever address he bears.
    pub const EXTERNAL: u32 = 16;
}

/// Who owns an address or prefix (value of the `ADDRESSES` table).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct AddressOwner {
    /// The owner; [`EndpointId::HOST`] for the host's own addresses.
    pub endpoint: EndpointId,
    /// Host-side interface of the owner; 0 for the host.
    pub ifindex: u32,
    /// The owner's stamp, [`EndpointId::stamp`]; 0 for the host.
    pub stamp: u32,
    /// [`AddressOwner::LEARNED`].
    pub flags: u32,
}

map_layout!(AddressOwner, 16);

impl AddressOwner {
    /// The workload configured the address itself: it sticks, also over a restart of the daemon.
    pub const LEARNED: u32 = 1;

    /// The host, as the owner of its own addresses.
    pub const HOST: Self = Self { endpoint: EndpointId::HOST, ifindex: 0, stamp: 0, flags: 0 };
}

/// Whom a stamp stands for where NAT has put the host's address in the place of the source (value of the
/// `SENDERS` table, by stamp). Only stamps that are one endpoint's have an entry.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct MaskedSender {
    /// The only IPv4 address of the endpoint, by which the policy knows it; unspecified (`::`) where it owns
    /// none, several or a prefix: then what it sends masked is nobody's.
    pub v4: Address,
    /// The same for IPv6.
    pub v6: Address,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its host-side interface.
    pub ifindex: u32,
}

map_layout!(MaskedSender, 40);

#[cfg(test)]
mod tests {
    use super::{EndpointId, doubtful_stamp, relaxed_stamp};

    #[test]
    fn a_stamp_is_never_zero_and_fits_its_mask() {
        for mask in [0x0ff0_0000, 0x3, 0xffff_ffff, 0xc000_0000] {
            for id in 0..2000 {
                let stamp = EndpointId(id).stamp(mask);
                assert!(
                    stamp != 0 && stamp & !mask == 0,
                    "endpoint {id} has stamp {stamp:#x} under {mask:#x}"
                );
                assert!(![relaxed_stamp(mask), doubtful_stamp(mask)].contains(&stamp), "{stamp:#x}");
            }
        }
    }
}
