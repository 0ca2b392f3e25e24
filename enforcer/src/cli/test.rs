//! `enforcer test`: what would become of captured packets, and does the kernel agree?

use std::{io::Write, net::IpAddr, path::PathBuf, thread};

use anyhow::anyhow;
use clap::Args;
use ipnet::IpNet;

use super::{Global, Outcome, check};
use crate::{
    policy::{self, Policy},
    render,
    replay::{self, Captured, Cast, Judge, KernelJudge, Reference, Row},
};

/// Judge the packets of a capture by a policy: by the reference evaluator, and as root by the kernel's programs
///
/// The file is pcap or pcapng, of Ethernet or raw IP. Every unicast address that sends is taken for a workload
/// of its own, whose packets are judged where they leave it and, if they pass and the destination sends too,
/// where they are delivered; --remote and --host say who is none. The kernel's programs run on the packets in a
/// network namespace of their own: nothing on this host changes. They measure time by the clock, not by the
/// capture. Exits with 1 when the two differ about any packet.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer test --policy new.toml --read web.pcap
  enforcer test --policy new.toml --read web.pcap --remote 192.0.2.0/24 --host 10.1.0.1
  enforcer test --policy new.toml --read web.pcap -o jsonl | jq 'select(.opinion.verdict == \"drop\")'")]
pub struct Arguments {
    /// The policy: files, directories (their *.toml files) or -; may be given several times
    #[arg(long, required = true, value_name = "PATH")]
    policy: Vec<PathBuf>,
    /// The capture
    #[arg(long, value_name = "FILE")]
    read: PathBuf,
    /// Addresses in it are outside of this host; may be given several times
    #[arg(long, value_name = "PREFIX")]
    remote: Vec<IpNet>,
    /// The host has this address; may be given several times
    #[arg(long, value_name = "ADDR")]
    host: Vec<IpAddr>,
    /// Do not ask the kernel, even as root
    #[arg(long)]
    no_kernel: bool,
}

impl Arguments {
    /// Judges and shows.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let policy = check::parse(&policy::read(&self.policy)?)?;
        let packets = replay::read(&self.read)?;
        let cast = Cast::new(&packets, self.remote.clone(), self.host.clone())?;
        let ask_kernel = !self.no_kernel && nix::unistd::geteuid().is_root();
        let rows = rows(&policy, &packets, &cast, ask_kernel)?;
        let screen = global.screen();
        render::write_list(out, screen.format, &rows, |out| render::write_replay(out, &rows, &screen))?;
        Ok(if rows.iter().all(|row| row.agrees) { Outcome::Done } else { Outcome::Denied })
    }
}

/// On a thread of its own: the kernel's judge takes its thread into another network namespace.
fn rows(policy: &Policy, packets: &[Captured], cast: &Cast, ask_kernel: bool) -> anyhow::Result<Vec<Row>> {
    let judge = || {
        let mut kernel = ask_kernel.then(|| KernelJudge::in_this_thread(policy, cast)).transpose()?;
        let kernel = kernel.as_mut().map(|kernel| kernel as &mut dyn Judge);
        let mut rows = Vec::new();
        let mut reference = Reference::new(policy.clone(), cast);
        replay::replay(packets, cast, &mut reference, kernel, |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    };
    thread::scope(|scope| scope.spawn(judge).join()).map_err(|_panic| anyhow!("a judge panicked"))?
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use pcap_file::pcap::{PcapPacket, PcapWriter};
    use tempfile::NamedTempFile;

    use super::*;
    use crate::cli::Cli;

    const POLICY: &str = "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/24']";

    fn capture(pairs: &[(&str, &str)]) -> NamedTempFile {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        for (number, (src, dst)) in pairs.iter().enumerate() {
            let frame = replay::udp(src, dst);
            let time = std::time::Duration::from_millis(number as u64);
            writer.write_packet(&PcapPacket::new(time, frame.len() as u32, &frame)).unwrap();
        }
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), writer.into_writer()).unwrap();
        file
    }

    fn run(capture: &NamedTempFile, options: &[&str]) -> anyhow::Result<(Outcome, String)> {
        let policy = NamedTempFile::new().unwrap();
        std::fs::write(policy.path(), POLICY).unwrap();
        let [policy, capture] = [policy.path(), capture.path()].map(|path| path.to_str().unwrap());
        let line = ["enforcer", "test", "--policy", policy, "--read", capture, "--no-kernel"];
        let mut out = Vec::new();
        let outcome = Cli::try_parse_from(line.iter().chain(options)).unwrap().write(&mut out)?;
        Ok((outcome, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn packets_are_judged_by_the_policy() {
        let pairs = [
            ("10.1.0.5", "10.1.0.6"),
            ("10.1.0.6", "10.1.0.5"),
            ("10.1.0.5", "10.9.0.7"),
            ("192.0.2.7", "10.1.0.5"),
            ("192.0.2.7", "10.1.0.99"),
            ("10.1.0.1", "10.1.0.5"),
        ];
        let options = ["--remote", "192.0.2.0/24", "--host", "10.1.0.1"];
        let (outcome, text) = run(&capture(&pairs), &options).unwrap();
        assert_eq!(outcome, Outcome::Done);
        insta::assert_snapshot!(text, @r"
        NO      TIME  PROTO  SRC              DST           VERDICT  REASON          KERNEL  BY
         1  0.000000  udp    10.1.0.5:40000   10.1.0.6:53   pass     shared-network  -       blue
         2  0.001000  udp    10.1.0.6:40000   10.1.0.5:53   pass     shared-network  -       blue
         3  0.002000  udp    10.1.0.5:40000   10.9.0.7:53   drop     default-deny    -       -
         4  0.003000  udp    192.0.2.7:40000  10.1.0.5:53   drop     default-deny    -       -
         5  0.004000  udp    192.0.2.7:40000  10.1.0.99:53  -        -               -       no endpoint receives it
         6  0.005000  udp    10.1.0.1:40000   10.1.0.5:53   pass     host-open       -       -

        6 packets: 3 passed, 2 dropped, 1 not judged; the kernel was not asked
        ");
    }

    #[test]
    fn json_lines_are_rows() {
        let (_, text) = run(&capture(&[("10.1.0.5", "10.9.0.7")]), &["-o", "jsonl"]).unwrap();
        let row: Row = serde_json::from_str(&text).unwrap();
        assert_eq!((row.number, row.hook.as_deref()), (1, Some("from-endpoint")));
        assert_eq!(row.opinion.unwrap().reasons, ["default-deny"]);
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), POLICY).unwrap();
        let error = run(&file, &[]).unwrap_err();
        assert!(error.to_string().contains("neither a pcap nor a pcapng file"), "{error}");
    }
}
