//! Many packets in one test run, each another: what one takes among others, without a call of the kernel between them.
//!
//! A program in front of the tested one writes into the frame what is different in the next packet, and calls it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use aya_obj::generated::{bpf_cmd, bpf_map_type};
use enforcer_common::event::Hook;

use super::{Lab, context::SkBuff};
use crate::bytecode::{self, call, classifier, instruction, make, nothing};
use crate::packet::Packet;

/// `data` and `data_end` of the kernel's `struct __sk_buff`.
const DATA: i16 = 76;
const DATA_END: i16 = 80;
/// `bpf_tail_call` of linux/bpf.h.
const TAIL_CALL: i32 = 12;
/// What a program loads by `BPF_LD_IMM64`, beside numbers: a map, or the value of an array of one.
const PSEUDO_MAP: u8 = 0x10;
const PSEUDO_VALUE: u8 = 0x20;
/// What comes back where the tested program was not called.
const NOT_CALLED: u32 = 77;
/// Bytes in front of what is written: the number of the next packet.
const NEXT: usize = 8;

/// Packets in front of a program, one after the other and ever again.
#[derive(Debug)]
pub struct Stream {
    front: OwnedFd,
    /// What it calls: a table of programs is emptied when nobody holds it any more.
    _called: OwnedFd,
    frame: Vec<u8>,
    context: SkBuff,
}

impl Lab {
    /// `packets` in front of the program of a hook, which outlives this.
    #[track_caller]
    pub fn stream(
        &mut self,
        hook: Hook,
        endpoint: &str,
        packets: impl IntoIterator<Item = Packet>,
    ) -> Stream {
        self.counted = None;
        let ifindex = self.interface(endpoint);
        let context = SkBuff::new(0, ifindex, ifindex);
        let program = self.classifier(hook).fd().expect("it is loaded").as_fd();
        Stream::before(program, context, packets)
    }
}

impl Stream {
    /// `packets` in front of a program that decides nothing.
    #[track_caller]
    pub fn to_nowhere(packets: impl IntoIterator<Item = Packet>) -> Self {
        // r0 = TC_ACT_OK; exit
        let nowhere = classifier(&[instruction(0xb7, 0, 0, 0), instruction(0x95, 0, 0, 0)]);
        Self::before(nowhere.as_fd(), SkBuff::new(0, 0, 0), packets)
    }

    #[track_caller]
    fn before(program: BorrowedFd<'_>, context: SkBuff, packets: impl IntoIterator<Item = Packet>) -> Self {
        let frames: Vec<Vec<u8>> = packets.into_iter().map(|packet| packet.bytes()).collect();
        let (front, called) = front(program, &frames).expect("the program in front loads");
        Self { front, _called: called, frame: frames.into_iter().next().expect("there are packets"), context }
    }

    /// The mean over the next `packets`.
    #[track_caller]
    pub fn mean_duration(&self, packets: u32) -> Duration {
        let context = bytemuck::bytes_of(&self.context);
        let run = bytecode::test_run(&self.front, &self.frame, context, packets).expect("a test run");
        assert_ne!(run.code, NOT_CALLED, "the tested program was called");
        run.duration
    }
}

/// Writes the next of the frames, as far as they differ, and calls the program in the table that comes with it.
fn front(program: BorrowedFd<'_>, frames: &[Vec<u8>]) -> io::Result<(OwnedFd, OwnedFd)> {
    let (from, to) = differing(frames);
    let size = (to - from) as i32;
    let mut value = 0_u64.to_ne_bytes().to_vec();
    for frame in frames {
        value.extend(&frame[from..to]);
    }
    let frames_map = array_of_one(bpf_map_type::BPF_MAP_TYPE_ARRAY, value.len() as u32, &value)?;
    let called = program.as_raw_fd().to_ne_bytes();
    let programs = array_of_one(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4, &called)?;
    let words = 0..(to - from) as i16 / 4;
    let write: Vec<u64> = words
        .flat_map(|word| {
            // r4 = word of the next packet; it goes into the frame
            [
                instruction(0x61, 0x74, NEXT as i16 + 4 * word, 0),
                instruction(0x63, 0x42, from as i16 + 4 * word, 0),
            ]
        })
        .collect();
    let head = [
        // r6 = context; r7 = the number of the next packet, and then all that is written
        instruction(0xbf, 0x16, 0, 0),
        instruction(0x18, PSEUDO_VALUE | 7, 0, frames_map.as_raw_fd()),
        instruction(0, 0, 0, 0),
        // r1 = the number, from the first again behind the last; r2 = the one after
        instruction(0x79, 0x71, 0, 0),
        instruction(0xa5, 0x01, 1, frames.len() as i32),
        instruction(0xb7, 0x01, 0, 0),
        instruction(0xbf, 0x12, 0, 0),
        instruction(0x07, 0x02, 0, 1),
        instruction(0x7b, 0x27, 0, 0),
        // r7 += number * size
        instruction(0x27, 0x01, 0, size),
        instruction(0x0f, 0x17, 0, 0),
        // r2 = data; r3 = data_end; if data + to > data_end, give up
        instruction(0x61, 0x62, DATA, 0),
        instruction(0x61, 0x63, DATA_END, 0),
        instruction(0xbf, 0x24, 0, 0),
        instruction(0x07, 0x04, 0, to as i32),
        instruction(0x2d, 0x34, write.len() as i16 + 5, 0),
    ];
    let tail = [
        // bpf_tail_call(context, programs, 0); it returns where that failed
        instruction(0xbf, 0x61, 0, 0),
        instruction(0x18, PSEUDO_MAP | 2, 0, programs.as_raw_fd()),
        instruction(0, 0, 0, 0),
        instruction(0xb7, 0x03, 0, 0),
        instruction(0x85, 0, 0, TAIL_CALL),
        instruction(0xb7, 0, 0, NOT_CALLED as i32),
        instruction(0x95, 0, 0, 0),
    ];
    Ok((classifier(&[&head[..], &write, &tail].concat()), programs))
}

/// From where to where frames of one length differ, in whole words of four bytes; at least one.
fn differing(frames: &[Vec<u8>]) -> (usize, usize) {
    let first = &frames[0];
    assert!(frames.iter().all(|frame| frame.len() == first.len()), "frames of one length");
    let differs = |at: &usize| frames.iter().any(|frame| frame[*at] != first[*at]);
    let from = (0..first.len()).find(differs).unwrap_or(0);
    let last = (from..first.len()).rev().find(differs).unwrap_or(from);
    let size = (last + 1 - from).next_multiple_of(4);
    let from = from.min(first.len().checked_sub(size).expect("they are alike at an end"));
    (from, from + size)
}

/// An array with one entry.
fn array_of_one(kind: bpf_map_type, size: u32, value: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = nothing();
    // SAFETY: plain data; this variant is the one that the command reads.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    (create.map_type, create.key_size, create.value_size, create.max_entries) = (kind as u32, 4, size, 1);
    let map = make(bpf_cmd::BPF_MAP_CREATE, &mut attr)?;
    let (key, mut attr) = (0_u32, nothing());
    // SAFETY: see above.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = map.as_raw_fd() as u32;
    update.key = (&raw const key) as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr)?;
    Ok(map)
}
