//! Somebody else's tcx program: it counts packets and passes them on.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::maps::{MapData, MapError};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use enforcer::datapath::bpf::{TcxHook, link_target, lookup};

use crate::bytecode::{classifier, instruction};
use crate::netns::NetNs;
use crate::tcx::{Link, Place};

/// A program on a tcx hook; gone with the value.
#[derive(Debug)]
pub struct Foreign {
    counter: MapData,
    program_id: u32,
    _link: Link,
}

impl Foreign {
    /// Attaches it to a hook of an interface.
    #[track_caller]
    pub fn attach(netns: &NetNs, interface: &str, hook: TcxHook, place: Place) -> Self {
        let counter = counter().expect("failed to create a map");
        let program = counting(&counter);
        let link = Link::attach(netns, interface, hook, place, &program);
        let target = link_target(link.fd()).expect("no information on a link");
        Self { counter, program_id: target.program_id, _link: link }
    }

    /// Packets that it saw.
    #[track_caller]
    pub fn packets(&self) -> u64 {
        lookup(self.counter.fd(), &0_u32).expect("failed to read a map").unwrap_or_default()
    }

    /// The program's id.
    pub const fn program_id(&self) -> u32 {
        self.program_id
    }
}

/// An array of one number.
fn counter() -> Result<MapData, MapError> {
    let number = size_of::<u64>() as u32;
    let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, 4, number, 1, 0);
    MapData::create(definition, "foreign", None)
}

/// `*counter += 1; return TCX_NEXT;`
fn counting(counter: &MapData) -> OwnedFd {
    let map = counter.fd().as_fd().as_raw_fd();
    classifier(&[
        // r1 = the value's address; two slots
        instruction(0x18, 0x21, 0, map),
        instruction(0, 0, 0, 0),
        // r2 = 1
        instruction(0xb7, 0x02, 0, 1),
        // *r1 += r2, atomically
        instruction(0xdb, 0x21, 0, 0),
        // r0 = TCX_NEXT
        instruction(0xb7, 0x00, 0, -1),
        instruction(0x95, 0, 0, 0),
    ])
}
