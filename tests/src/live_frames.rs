//! The generator of frames that every newer kernel has: a test run of an XDP program whose frames go on to the kernel,
//! as if they had arrived at an interface.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use aya_obj::generated::{BPF_F_TEST_XDP_LIVE_FRAMES, bpf_attach_type, bpf_cmd, bpf_prog_type};
use nix::net::if_::if_nametoindex;

use crate::bytecode::{XdpMd, call, instruction, load, make, nothing};
use crate::kernel::{self, Feature};
use crate::netns::NetNs;

/// Frames that the kernel takes at a time. What they are forwarded to has room for a thousand.
const BATCH: u32 = 64;
/// The part of a frame that a router changes, both families: MACs, hop limit, checksum; in words of four bytes.
const CHANGED: usize = 7;
/// `bpf_redirect` of linux/bpf.h.
const BPF_REDIRECT: i32 = 23;
/// r0 = `XDP_PASS` of linux/bpf.h; exit
const PASS: [u64; 2] = [instruction(0xb7, 0x00, 0, 2), instruction(0x95, 0, 0, 0)];

/// Lets so many of a frame arrive at an interface of a namespace.
#[track_caller]
pub fn arrive(netns: &NetNs, interface: &str, frame: &[u8], count: u32) {
    let arrived = netns.enter(|| {
        let ifindex = if_nametoindex(interface)?;
        run(&writing(frame, &PASS)?, ifindex, frame, count)
    });
    arrived.unwrap_or_else(|error| panic!("no live frames at {interface}: {error}"));
}

/// Sends a frame out of an interface again and again, as XDP frames: the other end of a veth takes them like a network
/// card, if it has a program or joins segments (GRO).
#[derive(Debug)]
pub struct Leaving<'a> {
    netns: &'a NetNs,
    program: OwnedFd,
    ifindex: u32,
    frame: &'a [u8],
}

impl<'a> Leaving<'a> {
    /// Makes the generator, and sends nothing yet.
    #[track_caller]
    pub fn by(netns: &'a NetNs, interface: &str, frame: &'a [u8]) -> Self {
        let ifindex = netns.enter(|| if_nametoindex(interface)).expect("no such interface");
        // r1 = ifindex; r2 = no flags; bpf_redirect; exit
        let redirect = [
            instruction(0xb7, 0x01, 0, ifindex as i32),
            instruction(0xb7, 0x02, 0, 0),
            instruction(0x85, 0, 0, BPF_REDIRECT),
            instruction(0x95, 0, 0, 0),
        ];
        let program = writing(frame, &redirect).expect("failed to load a program");
        Self { netns, program, ifindex, frame }
    }

    /// So many frames; when it returns, whoever takes them has done so. Returns the nanoseconds of one of them.
    #[track_caller]
    pub fn send(&self, count: u32) -> u32 {
        let sent = self.netns.enter(|| run(&self.program, self.ifindex, self.frame, count));
        sent.unwrap_or_else(|error| panic!("no live frames out of {}: {error}", self.ifindex))
    }
}

/// Ends the way of all frames at an interface, for as long as the link lives: no buffer is made of them.
#[track_caller]
pub fn end_at(netns: &NetNs, interface: &str) -> OwnedFd {
    let link = netns.enter(|| {
        // r0 = XDP_DROP; exit
        let program = load(
            bpf_prog_type::BPF_PROG_TYPE_XDP,
            &[instruction(0xb7, 0x00, 0, 1), instruction(0x95, 0, 0, 0)],
        )?;
        let mut attr = nothing();
        // SAFETY: plain data; this variant is the one that the command reads.
        let create = unsafe { &mut attr.link_create };
        create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
        create.__bindgen_anon_2.target_ifindex = if_nametoindex(interface)?;
        create.attach_type = bpf_attach_type::BPF_XDP as u32;
        make(bpf_cmd::BPF_LINK_CREATE, &mut attr)
    });
    link.unwrap_or_else(|error| panic!("no program at {interface}: {error}"))
}

/// Ends the test where the kernel knows no live frames.
#[track_caller]
pub fn require() {
    let netns = NetNs::create("live");
    let frame = [0; 60];
    let arrived = netns.enter(|| run(&writing(&frame, &PASS)?, if_nametoindex("lo")?, &frame, 1));
    // Nothing is tidied up when the process ends.
    drop(netns);
    match arrived {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => kernel::skip(Feature::LiveFrames),
        arrived => {
            arrived.expect("a test run");
        }
    }
}

/// Writes the beginning of the frame, and goes on: the kernel uses its memory again, as who got it left it.
fn writing(frame: &[u8], and_then: &[u64]) -> io::Result<OwnedFd> {
    let words = frame.chunks_exact(4).take(CHANGED).enumerate();
    let writes = words.map(|(index, word)| {
        let word = i32::from_le_bytes(word.try_into().expect("four bytes"));
        // *(u32 *)(r2 + 4 * index) = word
        instruction(0x62, 0x02, 4 * index as i16, word)
    });
    let head = [
        // r2 = data; r3 = data_end
        instruction(0x61, 0x12, 0, 0),
        instruction(0x61, 0x13, 4, 0),
        // r4 = r2 + all the words; if r4 > r3 write nothing
        instruction(0xbf, 0x24, 0, 0),
        instruction(0x07, 0x04, 0, 4 * CHANGED as i32),
        instruction(0x2d, 0x34, CHANGED as i16, 0),
    ];
    let instructions: Vec<u64> = head.into_iter().chain(writes).chain(and_then.iter().copied()).collect();
    load(bpf_prog_type::BPF_PROG_TYPE_XDP, &instructions)
}

/// Runs the program over so many frames, in the calling thread's namespace. Returns the nanoseconds of one, by the
/// kernel's clock: around the run it waits for two grace periods, which are thousands of frames.
fn run(program: &OwnedFd, ifindex: u32, frame: &[u8], count: u32) -> io::Result<u32> {
    let context = XdpMd { data_end: frame.len() as u32, ingress_ifindex: ifindex, ..XdpMd::default() };
    let mut attr = nothing();
    // SAFETY: plain data; this variant is the one that the command reads.
    let test = unsafe { &mut attr.test };
    test.prog_fd = program.as_raw_fd() as u32;
    test.data_in = frame.as_ptr() as u64;
    test.data_size_in = frame.len() as u32;
    test.ctx_in = (&raw const context) as u64;
    test.ctx_size_in = size_of_val(&context) as u32;
    test.repeat = count;
    test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    test.batch_size = BATCH;
    call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the variant that the command wrote.
    Ok(unsafe { attr.test.duration })
}
