//! The packet that an ICMP error is about: its first bytes come with the error.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{
    extension::{Fragment, walk},
    flow::{Flow, ICMP, ICMPV6, SCTP, TCP, UDP},
};

/// The quoted packet's flow, if it can be read. Its lengths say nothing: most of it is not there.
pub(super) fn read(is_v4: bool, deep: usize, bytes: &[u8]) -> Option<Flow> {
    let (flow, later, behind) = if is_v4 { ipv4(bytes)? } else { ipv6(deep, bytes)? };
    let flow = if later { Flow { ports: None, ..flow } } else { transport(flow, behind)? };
    let of_other_family = flow.protocol == if is_v4 { ICMPV6 } else { ICMP };
    // RFC 1122 §3.2.2: no error about an error.
    (!of_other_family && !flow.is_icmp_error()).then_some(flow)
}

/// Everything but the ports, whether it is a later fragment, and what follows.
type Headers<'a> = (Flow, bool, &'a [u8]);

fn ipv4(bytes: &[u8]) -> Option<Headers<'_>> {
    let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    let offset = usize::from(header.fragments_offset().value()) * 8;
    let later = offset > 0;
    if reaches_into_tcp(header.protocol().0, offset) {
        return None;
    }
    let flow = bare(header.source_addr().into(), header.destination_addr().into(), header.protocol().0);
    Some((flow, later, &bytes[header.slice().len()..]))
}

fn ipv6(deep: usize, bytes: &[u8]) -> Option<Headers<'_>> {
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let (src, dst) = (header.source_addr(), header.destination_addr());
    if src.to_ipv4_mapped().or(dst.to_ipv4_mapped()).is_some() {
        return None;
    }
    let walk = walk(header.next_header().0, deep + 40, &bytes[40..]).ok()?;
    let later = matches!(walk.fragment, Fragment::Later { .. });
    if let Fragment::Later { offset, .. } = walk.fragment
        && reaches_into_tcp(walk.protocol, offset)
    {
        return None;
    }
    Some((bare(src.into(), dst.into(), walk.protocol), later, walk.rest))
}

/// A later fragment that nobody here lets pass (RFC 3128).
const fn reaches_into_tcp(protocol: u8, offset: usize) -> bool {
    protocol == TCP && offset > 0 && offset < 20
}

const fn bare(src: IpAddr, dst: IpAddr, protocol: u8) -> Flow {
    Flow { src, dst, protocol, ports: Some((0, 0)), icmp: None }
}

/// Eight bytes are always there (RFC 792), and are enough for ports and types.
fn transport(flow: Flow, bytes: &[u8]) -> Option<Flow> {
    if !matches!(flow.protocol, TCP | UDP | SCTP | ICMP | ICMPV6) {
        return Some(flow);
    }
    let header = bytes.first_chunk::<8>()?;
    let pair = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Some(match (flow.protocol, header[0]) {
        (TCP | UDP | SCTP, _) => Flow { ports: Some((pair(0), pair(2))), ..flow },
        (ICMP, 0 | 8) | (ICMPV6, 128 | 129) => {
            Flow { ports: Some((pair(4), pair(4))), icmp: Some((header[0], header[1])), ..flow }
        }
        _ => Flow { icmp: Some((header[0], header[1])), ..flow },
    })
}
