//! IPv6 extension headers, in any order and number: also in those that RFC 8200 forbids.

use etherparse::{IpAuthHeader, IpFragOffset, IpNumber, Ipv6FragmentHeader, Ipv6RawExtHeader};

/// One extension header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extension {
    HopByHop,
    Routing,
    Authentication,
    /// With this many times eight bytes behind the first eight.
    DestinationOptions(u8),
    /// Offset in units of eight bytes, and whether more fragments follow.
    Fragment(u16, bool),
}

impl Extension {
    pub(super) const fn number(self) -> IpNumber {
        match self {
            Self::HopByHop => IpNumber::IPV6_HEADER_HOP_BY_HOP,
            Self::Routing => IpNumber::IPV6_ROUTE_HEADER,
            Self::Authentication => IpNumber::AUTHENTICATION_HEADER,
            Self::DestinationOptions(_) => IpNumber::IPV6_DESTINATION_OPTIONS,
            Self::Fragment(..) => IpNumber::IPV6_FRAGMENTATION_HEADER,
        }
    }

    /// Its bytes in front of a header with the number `next`, in the datagram `id`.
    pub(super) fn bytes(self, next: IpNumber, id: u16) -> Vec<u8> {
        match self {
            Self::HopByHop | Self::Routing => raw(next, 0),
            Self::DestinationOptions(more) => raw(next, more),
            Self::Authentication => {
                IpAuthHeader::new(next, 1, 1, &[0; 12]).expect("12 bytes of check value").to_bytes().to_vec()
            }
            Self::Fragment(offset, more) => {
                let offset = IpFragOffset::try_new(offset).expect("a fragment offset has 13 bits");
                Ipv6FragmentHeader::new(next, offset, more, id.into()).to_bytes().to_vec()
            }
        }
    }
}

/// A header of zeros, which are Pad1 options.
fn raw(next: IpNumber, more: u8) -> Vec<u8> {
    let payload = vec![0; 6 + usize::from(more) * 8];
    Ipv6RawExtHeader::new_raw(next, &payload).expect("a whole number of eight bytes").to_bytes().to_vec()
}
