//! A program of ours on a tcx hook.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use aya_obj::generated::{bpf_attach_type, bpf_cmd};
use enforcer::datapath::bpf::TcxHook;
use nix::net::if_::if_nametoindex;

use crate::bytecode::{make, nothing};
use crate::netns::NetNs;

/// Where among the programs of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before all of them.
    First,
    /// After all of them.
    Last,
}

/// Keeps a program on a hook; gone with the value.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Attaches a program to a hook of an interface.
    #[track_caller]
    pub fn attach(netns: &NetNs, interface: &str, hook: TcxHook, place: Place, program: &OwnedFd) -> Self {
        let link = netns.enter(|| {
            let ifindex = if_nametoindex(interface).expect("no such interface");
            link(program, ifindex, hook, place)
        });
        Self(link.expect("failed to attach a program"))
    }

    /// The kernel's link.
    pub const fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

fn link(program: &OwnedFd, ifindex: u32, hook: TcxHook, place: Place) -> io::Result<OwnedFd> {
    const BEFORE: u32 = 1 << 3;
    const AFTER: u32 = 1 << 4;
    let mut attr = nothing();
    // SAFETY: plain data; this variant is the one that the command reads.
    let create = unsafe { &mut attr.link_create };
    create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    create.__bindgen_anon_2.target_ifindex = ifindex;
    create.attach_type = match hook {
        TcxHook::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
        TcxHook::Egress => bpf_attach_type::BPF_TCX_EGRESS,
    } as u32;
    create.flags = match place {
        Place::First => BEFORE,
        Place::Last => AFTER,
    };
    make(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}
