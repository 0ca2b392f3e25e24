//! `enforcer adopt`: the guide from a host that nobody enforces to one that somebody does.

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Global, Outcome, Source};
use crate::{
    adopt::{Files, Host, advise},
    foreign,
    policy::Policy,
    render,
    report::PolicyReport,
};

/// Tell what this host's traffic asks of a policy, draft one, and say what to do next
///
/// In the modes observe and audit it looks at what would have been dropped, in enforce at what was.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer adopt                                     what would be denied, and what to type next
  enforcer adopt --write /etc/enforcer/policy.toml   writes the draft; nothing is applied")]
pub struct Arguments {
    /// Write the draft to a new file; a directory *.d for it is made where it is missing
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Arguments {
    /// Asks, and tells or writes.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let mut source = Source::new(global);
        let mut status = source.status()?;
        // Root sees what the daemon may not.
        if !status.foreign_unseen.is_empty() && nix::unistd::geteuid().is_root() {
            status.tell_foreign(foreign::read::look());
        }
        let host = Host {
            status,
            endpoints: source.endpoints()?,
            flows: source.flows()?,
            policy: in_force(&source.policy()?),
            subnets: subnets(),
            files: files(),
        };
        let mut advice = advise(&host);
        if let Some(path) = &self.write {
            let draft = advice.draft.take().context("nothing was seen that a draft would let pass")?;
            write_new(path, &draft).with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(out, "wrote {}; read it before you apply it", path.display())?;
            return Ok(Outcome::Done);
        }
        let screen = global.screen();
        render::write_one(out, screen.format, &advice, |out| render::write_adopt(out, &advice, &screen))?;
        Ok(Outcome::Done)
    }
}

/// Never over what somebody wrote. Of a path that does not exist only the last directory is made, and only one that by its
/// name is for such files: anything else is a typing mistake.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let directory =
        path.parent().filter(|parent| parent.extension().is_some_and(|extension| extension == "d"));
    if let Some(missing) = directory.filter(|directory| !directory.exists()) {
        fs::create_dir(missing)?;
    }
    fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// The files that the policy of this host is made of, unless its host file names others.
fn files() -> Files {
    let entries = fs::read_dir(Files::MORE).into_iter().flatten().flatten();
    let more = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    Files { first: Path::new(Files::FIRST).exists(), more }
}

/// The policy in force with its members by their addresses, as far as they are known.
fn in_force(PolicyReport { policy, members, .. }: &PolicyReport) -> Policy {
    policy.resolve_like(policy, members.as_ref()).0
}

/// Subnets of this host's interfaces, as the kernel's lists of routes tell them.
fn subnets() -> Vec<IpNet> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let v4 = read("/proc/net/route");
    let v6 = read("/proc/net/ipv6_route");
    v4.lines().filter_map(v4_subnet).chain(v6.lines().filter_map(v6_subnet)).collect()
}

/// `docker0 000011AC 00000000 0001 0 0 0 0000FFFF …`: interface, destination, gateway, …, mask.
fn v4_subnet(line: &str) -> Option<IpNet> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| {
        let number = u32::from_str_radix(words.get(at)?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    let subnet = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
    (address(2)?.is_unspecified() && (8..31).contains(&subnet.prefix_len())).then_some(subnet.into())
}

/// `20010db8… 40 00000000… 00 00000000… …`: destination, length, source, length, gateway, …
fn v6_subnet(line: &str) -> Option<IpNet> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| {
        let number = u128::from_str_radix(words.get(at)?, 16).ok()?;
        Some(IpAddr::from(number.to_be_bytes()))
    };
    let IpAddr::V6(destination) = address(0)? else { return None };
    let length = u8::from_str_radix(words.get(1)?, 16).ok()?;
    let subnet = Ipv6Net::new(destination, length).ok()?;
    (address(4)?.is_unspecified() && (32..127).contains(&length)).then_some(subnet.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_a_new_file_in_a_directory_for_such_files() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        write_new(&at("policy.d/adopted.toml"), "version = 1").unwrap();
        assert_eq!(fs::read_to_string(at("policy.d/adopted.toml")).unwrap(), "version = 1");
        for refused in ["policy.d/adopted.toml", "polcy/adopted.toml", "etc/policy.d/adopted.toml"] {
            assert!(write_new(&at(refused), "").is_err(), "{refused}");
        }
        assert!(!at("polcy").exists() && !at("etc").exists());
    }

    #[test]
    fn subnets_are_routes_without_a_gateway() {
        let docker = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        assert_eq!(v4_subnet(docker).map(|net| net.to_string()), Some("172.17.0.0/16".to_owned()));
        let default = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(v4_subnet(default), None);
        assert_eq!(v4_subnet("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask"), None);
        let zeros = "0".repeat(32);
        let bridge =
            format!("20010db8000100000000000000000000 40 {zeros} 00 {zeros} 00000100 0 0 00000001 br0");
        assert_eq!(v6_subnet(&bridge).map(|net| net.to_string()), Some("2001:db8:1::/64".to_owned()));
    }
}
