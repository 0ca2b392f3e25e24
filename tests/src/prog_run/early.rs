//! A test run of the early guard.

use aya::programs::{TestRun as _, TestRunOptions, TestRunResult};

use super::{Lab, context::is_refusal};
use crate::bytecode::XdpMd;
use crate::kernel::{self, Feature};

impl Lab {
    /// Runs the guard over a frame that an interface received, so many times. The frame that it leaves comes back.
    pub(super) fn run_guard(
        &mut self,
        interface: &str,
        frame: &[u8],
        repeat: u32,
    ) -> Result<(TestRunResult, Vec<u8>), String> {
        let ingress_ifindex = self.interface(interface);
        let context_in = XdpMd { data_end: frame.len() as u32, ingress_ifindex, ..XdpMd::default() };
        let mut frame_out = vec![0; frame.len() + 64];
        let guard = self.datapath.guard().map_err(|error| error.to_string())?;
        let run = guard.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut frame_out),
            ctx_in: Some(bytemuck::bytes_of(&context_in)),
            repeat,
            ..TestRunOptions::default()
        });
        if let Err(error) = &run
            && is_refusal(error)
            && kernel::may_lack(Feature::TestedXdp)
        {
            kernel::skip(Feature::TestedXdp);
        }
        let run = run.map_err(|error| format!("the kernel refuses the frame: {error:?}"))?;
        frame_out.truncate(run.data_size_out as usize);
        Ok((run, frame_out))
    }
}
