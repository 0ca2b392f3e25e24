//! Tiny programs for the kernel, instruction by instruction: no compiler is needed for them.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_type};
use bytemuck::{Pod, Zeroable};

/// What an XDP program is told of its frame, the kernel's `struct xdp_md`.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct XdpMd {
    pub(crate) data: u32,
    pub(crate) data_end: u32,
    pub(crate) data_meta: u32,
    pub(crate) ingress_ifindex: u32,
    pub(crate) rx_queue_index: u32,
    pub(crate) egress_ifindex: u32,
}

/// An instruction of eight bytes, as a little-endian kernel reads it. Of the registers, the low half is the destination.
pub const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    code as u64 | (registers as u64) << 8 | (offset as u16 as u64) << 16 | (immediate as u32 as u64) << 32
}

/// Loads a program.
pub fn load(kind: bpf_prog_type, instructions: &[u64]) -> io::Result<OwnedFd> {
    lift_memory_limit();
    let mut attr = nothing();
    // SAFETY: plain data; this variant is the one that the command reads.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = instructions.len() as u32;
    load.license = c"GPL".as_ptr() as u64;
    make(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Loads a program for a tc hook.
#[track_caller]
pub fn classifier(instructions: &[u64]) -> OwnedFd {
    load(bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, instructions).expect("failed to load a program")
}

/// What a test run told.
#[derive(Clone, Copy, Debug)]
pub struct TestRun {
    /// The mean, as the kernel measured it.
    pub duration: Duration,
    /// What the last run returned.
    pub code: u32,
}

/// Runs a program over a frame, so many times. `context` is the kernel's, or empty for one that says nothing.
pub fn test_run(program: &OwnedFd, frame: &[u8], context: &[u8], repeat: u32) -> io::Result<TestRun> {
    let mut attr = nothing();
    // SAFETY: plain data; this variant is the one that the command reads.
    let test = unsafe { &mut attr.test };
    test.prog_fd = program.as_raw_fd() as u32;
    test.data_in = frame.as_ptr() as u64;
    test.data_size_in = frame.len() as u32;
    if !context.is_empty() {
        (test.ctx_in, test.ctx_size_in) = (context.as_ptr() as u64, context.len() as u32);
    }
    test.repeat = repeat;
    call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the same variant; the command wrote it.
    let test = unsafe { attr.test };
    Ok(TestRun { duration: Duration::from_nanos(test.duration.into()), code: test.retval })
}

/// Kernels before 5.11 count programs as locked memory.
fn lift_memory_limit() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is a live, initialized value. When it stays, the kernel refuses the program.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Attributes of which none is given.
pub const fn nothing() -> bpf_attr {
    // SAFETY: the kernel's attribute union is plain data for which zero means "not given".
    unsafe { std::mem::zeroed() }
}

/// A command that makes something.
pub fn make(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let made = call(command, attr)?;
    // SAFETY: such a command returns a descriptor that is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Any command. What `attr` points at must outlive the call.
pub fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: `attr` is a whole, initialised `bpf_attr`; what it points at outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
