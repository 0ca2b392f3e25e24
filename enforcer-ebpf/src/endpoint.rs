//! Who sits behind this veth, and who owns an address: the facts.

use aya_ebpf::btf_maps::lpm_trie::Key;
use enforcer_common::{
    address::{Address, Scope},
    endpoint::{AddressOwner, Endpoint, EndpointId, doubtful_stamp, relaxed_stamp},
    verdict::DropReason,
};

use crate::{config, journey::Journey, maps, packet::Origin};

/// Interfaces that each CPU remembers the endpoints of; a power of two.
pub const SEATS: usize = 32;

/// Sources that are remembered for each of them; a power of two.
const SOURCES: usize = 4;

/// Who was found behind an interface.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Seat {
    /// The version of the facts that said so: behind another one somebody else may sit there.
    facts: u64,
    ifindex: u32,
    endpoint: Endpoint,
    /// The last words of addresses as which it spoke and may speak, by [`place`]. All of an IPv4 address; who forges an
    /// IPv6 one with the same is found out later.
    sources: [u32; SOURCES],
}

/// The endpoint whose host-side interface has this ifindex, without a look into the table where an earlier packet of this
/// CPU had one: that costs more than anything else on the way of a packet whose flow is known.
#[inline(always)]
pub fn seated<'a>(journey: &Journey, ifindex: u32) -> Option<&'a Endpoint> {
    let seat = &raw const journey.seats[ifindex as usize % SEATS];
    // SAFETY: it lies in this CPU's journey, see [`Journey::current`]. A packet asks for one interface, and nobody but who
    // asks for another takes its seat.
    let seat = unsafe { &*seat };
    let is_known = seat.ifindex == ifindex && seat.facts == journey.control.facts;
    (is_known || take_seat(ifindex) != 0).then_some(&seat.endpoint)
}

/// A station of its own: leaves in its seat who sits behind an interface; 0 for nobody.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_seat(ifindex: u32) -> u32 {
    let (Some(journey), Some(endpoint)) = (Journey::current(), behind(ifindex)) else { return 0 };
    let facts = journey.control.facts;
    journey.seats[ifindex as usize % SEATS] =
        Seat { facts, ifindex, endpoint: *endpoint, sources: [0; SOURCES] };
    1
}

/// Whether an earlier packet from this interface had a source like that of this one, and was right. A hint and no proof.
#[inline(always)]
pub fn knows_source(journey: &Journey, ifindex: u32) -> bool {
    let [.., last] = journey.packet.key.src.0;
    journey.seats[ifindex as usize % SEATS].sources[place(last)] == last
}

/// Remembers a source that its sender may use.
#[inline(always)]
pub fn note_source(journey: &mut Journey, ifindex: u32) {
    let [.., last] = journey.packet.key.src.0;
    journey.seats[ifindex as usize % SEATS].sources[place(last)] = last;
}

/// Neighbours differ in the last byte, which is the highest of a word in network byte order.
#[inline(always)]
const fn place(last: u32) -> usize {
    (last >> 24) as usize % SOURCES
}

/// The endpoint whose host-side interface has this ifindex.
#[inline(always)]
pub fn behind(ifindex: u32) -> Option<&'static Endpoint> {
    // SAFETY: the daemon replaces records whole; a freed one stays readable until this program ends. It may be another's by then
    // (6.1): the facts move right behind whatever replaced it, and with them what was remembered of it.
    unsafe { maps::ENDPOINTS.get(ifindex) }
}

/// Whether a frame comes from the workload's own interface; any MAC will do while none is known.
#[inline(always)]
pub fn has_mac(endpoint: &Endpoint, mac: [u8; 6]) -> bool {
    // By value: of what lies behind a reference to bytes the compiler knows no alignment.
    let Endpoint { mac: own, .. } = *endpoint;
    own == mac || own == [0; 6]
}

/// Who owns `address`: an endpoint of this host, the host itself, or [`EndpointId::REMOTE`].
#[inline(always)]
pub fn owner(address: Address) -> AddressOwner {
    maps::ADDRESSES.get(&Key::new(128, address)).copied().unwrap_or_default()
}

/// Whether `endpoint` may speak as `address`: it owns it, or nobody does and the address means
/// something only on the endpoint's own link (every link has its `fe80::/10`).
#[inline(always)]
pub fn may_use(endpoint: &Endpoint, address: Address) -> bool {
    let owner = owner(address).endpoint;
    owner == endpoint.id
        || (owner == EndpointId::REMOTE
            && !address.is_v4()
            && address.scope() == Scope::LinkLocal
            && fits_mac(endpoint, address))
}

/// An interface identifier that was made of a MAC belongs to the interface with that MAC.
#[inline(always)]
pub fn fits_mac(endpoint: &Endpoint, address: Address) -> bool {
    address.eui64_mac().is_none_or(|mac| has_mac(endpoint, mac))
}

/// Where a packet on its way to an endpoint comes from: a local endpoint, the host, or
/// nobody known.
///
/// A source address is believed only with its proof: a local endpoint's stamp, or being generated here
/// for an address of the host. Everything else that carries a stamp was rewritten on its way.
#[inline(always)]
pub fn sender(origin: Origin, source: Address) -> Result<AddressOwner, DropReason> {
    let owner = owner(source);
    let Origin { stamp, from_host } = origin;
    let mask = config::mark_mask();
    let of_link = !source.is_v4() && source.scope() == Scope::LinkLocal;
    match owner.endpoint {
        // What is on a link only, NAT leaves alone, and its own veth has let it speak so.
        EndpointId::REMOTE if stamp == 0 || (of_link && stamp != doubtful_stamp(mask)) => {
            Ok(AddressOwner { stamp, ..owner })
        }
        EndpointId::HOST if stamp == 0 && from_host => Ok(owner),
        EndpointId::REMOTE | EndpointId::HOST => Err(DropReason::MaskedSource),
        // Its own veth, or one that let it go on: there the source was asked about, too.
        _ if stamp == owner.stamp || stamp == relaxed_stamp(mask) => Ok(owner),
        _ => Err(DropReason::UnstampedSource),
    }
}
