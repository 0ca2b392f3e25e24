//! xdp-filter of xdp-tools: a program of others that drops where a guard does. It keeps its tables in the BPF file system,
//! here in one that nobody else sees.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use enforcer_tests::packet::{BLUE_A, BLUE_FAR, Family};
use enforcer_tests::{Host, NetNs};

/// Said when everything is in place.
const READY: &str = "ready";

/// One that drops at an interface for as long as the value lives.
pub struct XdpFilter {
    /// Who keeps its file system.
    keeper: Child,
}

impl XdpFilter {
    /// Drops what comes from whoever floods; fails where the program does not load.
    pub fn load(host: &Host, interface: &str) -> Result<Self> {
        let sources = Family::BOTH.map(|family| [BLUE_A, BLUE_FAR].map(|party| party.on(family)));
        let filter = sources.as_flattened().iter().fold(String::new(), |mut commands, source| {
            write!(commands, "xdp-filter ip --mode src {source} && ").expect("a string");
            commands
        });
        let script = format!(
            "mount -t bpf bpf /sys/fs/bpf && xdp-filter load --mode native --features ipv4,ipv6 {interface} && \
             {filter} echo {READY} && exec sleep infinity"
        );
        let keeper = host
            .netns()
            .command("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start unshare")?;
        let mut filter = Self { keeper };
        filter.wait()?;
        Ok(filter)
    }

    /// Packets dropped so far.
    pub fn dropped(&self, netns: &NetNs) -> u64 {
        let mounts = format!("--mount=/proc/{}/ns/mnt", self.keeper.id());
        let output = netns.run("nsenter", &[&mounts, "xdp-filter", "status"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.trim().strip_prefix("XDP_DROP"));
        let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        count.unwrap_or_else(|| panic!("xdp-filter tells no count: {output:?}"))
    }

    fn wait(&mut self) -> Result<()> {
        let stdout = self.keeper.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines();
        if lines.map_while(Result::ok).any(|line| line == READY) {
            return Ok(());
        }
        let mut why = String::new();
        let mut stderr = self.keeper.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut why).context("failed to read what xdp-filter says")?;
        bail!("xdp-filter does not load: {}", why.trim().replace('\n', "; "))
    }
}

impl Drop for XdpFilter {
    fn drop(&mut self) {
        // Both fail only for one that has ended.
        self.keeper.kill().ok();
        self.keeper.wait().ok();
    }
}
