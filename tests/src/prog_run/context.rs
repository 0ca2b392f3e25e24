//! What a test run of a tc program is told about its packet.

use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions, TestRunResult};
use bytemuck::{Pod, Zeroable};
use enforcer_common::event::Hook;

use crate::kernel::{self, Feature};

/// The kernel's `struct __sk_buff`, as far as a test may set it; the rest must be zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct SkBuff {
    before_mark: [u32; 2],
    pub(super) mark: u32,
    before_ingress_ifindex: [u32; 6],
    ingress_ifindex: u32,
    ifindex: u32,
    after_ifindex: [u32; 30],
    gso_segs: u32,
    before_gso_size: [u32; 2],
    gso_size: u32,
    end: [u32; 3],
}

const _: () = assert!(size_of::<SkBuff>() == 192);

impl SkBuff {
    /// With this mark, from one interface at the other's hook.
    pub(super) fn new(mark: u32, ingress_ifindex: u32, ifindex: u32) -> Self {
        Self { mark, ingress_ifindex, ifindex, ..Self::zeroed() }
    }

    /// So many packets in one buffer, which will be cut into segments of so many bytes.
    pub(super) fn segmented(self, (segments, bytes): (u32, u32)) -> Self {
        Self { gso_segs: segments, gso_size: bytes, ..self }
    }

    /// Runs the program of a hook over a frame, so many times. The frame and the context that it leaves come back.
    pub(super) fn run(
        self,
        program: &SchedClassifier,
        hook: Hook,
        frame: &[u8],
        repeat: u32,
    ) -> Result<(TestRunResult, Self, Vec<u8>), ProgramError> {
        let mut context_out = Self::zeroed();
        let mut frame_out = vec![0; frame.len() + 64];
        let run = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut frame_out),
            ctx_in: Some(bytemuck::bytes_of(&self)),
            ctx_out: Some(bytemuck::bytes_of_mut(&mut context_out)),
            repeat,
            ..TestRunOptions::default()
        });
        match run {
            Ok(run) => {
                frame_out.truncate(run.data_size_out as usize);
                Ok((run, context_out, frame_out))
            }
            Err(error) if self.ingress_ifindex != 0 && is_refusal(&error) => {
                self.without_origin(error, program, hook, frame, repeat)
            }
            Err(error) => Err(error),
        }
    }

    /// Old kernels know no packet that came from somewhere; only where it is delivered that matters.
    fn without_origin(
        self,
        error: ProgramError,
        program: &SchedClassifier,
        hook: Hook,
        frame: &[u8],
        repeat: u32,
    ) -> Result<(TestRunResult, Self, Vec<u8>), ProgramError> {
        if !kernel::may_lack(Feature::TestedOrigin) {
            return Err(error);
        }
        if hook == Hook::ToEndpoint {
            kernel::skip(Feature::TestedOrigin);
        }
        Self { ingress_ifindex: 0, ..self }.run(program, hook, frame, repeat)
    }
}

/// Whether the kernel refused what it was asked.
pub(super) fn is_refusal(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EINVAL))
}
