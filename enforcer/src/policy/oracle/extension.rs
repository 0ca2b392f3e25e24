//! The walk over IPv6 extension headers, of a packet or of the packet that an ICMP error quotes.

use enforcer_common::verdict::DropReason;
use etherparse::Ipv6FragmentHeaderSlice;

use super::{Why, frame::malformed};

/// How many extension headers are walked, and where the last one must have ended: so many bytes behind
/// the frame's start.
const MAX_EXTENSIONS: usize = 6;
const MAX_DEPTH: usize = 256;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const OPTIONS: u8 = 60;

/// Whether a protocol number stands for an extension header, behind which the real protocol hides.
pub(super) const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | OPTIONS)
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fragment {
    /// All of it.
    Whole,
    /// Bytes of extension headers between the fragment header and the transport header.
    First { id: u32, extensions: usize },
    /// How many bytes of the datagram lie before it.
    Later { id: u32, offset: usize },
}

impl Fragment {
    /// From an offset in units of eight bytes.
    pub(super) fn new(id: u32, offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First { id, extensions: 0 },
            _ => Self::Later { id, offset: usize::from(offset) * 8 },
        }
    }
}

/// Where a walk ended.
pub(super) struct Walk<'a> {
    pub(super) protocol: u8,
    pub(super) fragment: Fragment,
    /// What is behind the last extension header.
    pub(super) rest: &'a [u8],
}

/// Walks over the headers at the beginning of `bytes`, which lie so many bytes `deep` in their frame.
pub(super) fn walk(mut protocol: u8, deep: usize, bytes: &[u8]) -> Result<Walk<'_>, Why> {
    let mut rest = bytes;
    let mut fragment = Fragment::Whole;
    let mut cut = false;
    for walked in 0.. {
        if !is_extension(protocol) {
            break;
        }
        // RFC 8200 §4.1: hop-by-hop options stand first or not at all, and a datagram is cut once.
        let again = (protocol == HOP_BY_HOP && walked > 0) || (protocol == FRAGMENT && cut);
        if walked == MAX_EXTENSIONS || again {
            return Err(Why::Malformed);
        }
        if protocol == ROUTING {
            return Err(Why::Exactly(DropReason::RoutingHeader));
        }
        let (header, behind) = rest.split_at_checked(length(protocol, rest)?).ok_or(Why::Malformed)?;
        rest = behind;
        if deep + bytes.len() - rest.len() > MAX_DEPTH {
            return Err(Why::Malformed);
        }
        let kind = std::mem::replace(&mut protocol, header[0]);
        if kind == FRAGMENT {
            fragment = read_fragment(header)?;
            cut = true;
            if matches!(fragment, Fragment::Later { .. }) {
                // Nobody knows what is behind it.
                break;
            }
        } else if let Fragment::First { extensions, .. } = &mut fragment {
            *extensions += header.len();
        }
    }
    Ok(Walk { protocol, fragment, rest })
}

/// How long the header at the beginning of `bytes` is, which says so itself.
fn length(protocol: u8, bytes: &[u8]) -> Result<usize, Why> {
    let &[_, length, ..] = bytes else { return Err(Why::Malformed) };
    Ok(match protocol {
        FRAGMENT => 8,
        AUTHENTICATION => (usize::from(length) + 2) * 4,
        _ => (usize::from(length) + 1) * 8,
    })
}

fn read_fragment(header: &[u8]) -> Result<Fragment, Why> {
    let header = Ipv6FragmentHeaderSlice::from_slice(header).map_err(malformed)?;
    Ok(Fragment::new(header.identification(), header.fragment_offset().value(), header.more_fragments()))
}
