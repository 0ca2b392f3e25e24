//! What `apply` did, in a line.

use std::io::{self, Write};

use super::{count, short_digest};
use crate::report::{ApplyReport, remark};

/// Writes which policy is in force now, and whether it was before.
pub fn write_applied(out: &mut impl Write, report: &ApplyReport) -> io::Result<()> {
    let what = if report.unchanged { "unchanged:" } else { "applied" };
    let networks = count(report.networks as usize, "network");
    let entries = count(report.prefixes as usize, "entry");
    let digest = short_digest(&report.digest);
    writeln!(out, "{what} generation {}: {networks}, {entries}, digest {digest}", report.generation)?;
    match report.seconds_left {
        Some(seconds) => writeln!(out, "falls back in {seconds} s unless `enforcer confirm` comes first"),
        None => Ok(()),
    }
}

/// Writes which policy stays.
pub fn write_confirmed(out: &mut impl Write, report: &ApplyReport) -> io::Result<()> {
    writeln!(out, "confirmed generation {}, digest {}", report.generation, short_digest(&report.digest))?;
    write_reload(out, report)
}

/// Writes which policy decides again.
pub fn write_rolled_back(out: &mut impl Write, report: &ApplyReport) -> io::Result<()> {
    match report.generation {
        0 => {
            let remark = report.mode.map(remark).unwrap_or_default();
            writeln!(out, "rolled back to no policy: nothing passes between workloads{remark}")?;
        }
        generation => {
            let digest = short_digest(&report.digest);
            writeln!(out, "rolled back: generation {generation} decides, digest {digest}")?;
        }
    }
    write_reload(out, report)
}

/// What is ordered by hand lasts until somebody reloads.
fn write_reload(out: &mut impl Write, report: &ApplyReport) -> io::Result<()> {
    let files: Vec<_> = report.reload_applies.iter().map(|path| path.display().to_string()).collect();
    if files.is_empty() {
        return Ok(());
    }
    writeln!(out, "note: a reload of the daemon applies {}, whatever that says then", files.join(" and "))
}

#[cfg(test)]
mod tests {
    use enforcer_common::mode::Mode;

    use super::*;

    fn sample(reload_applies: &[&str]) -> ApplyReport {
        ApplyReport {
            unchanged: false,
            generation: 4,
            digest: "1a".repeat(32),
            networks: 3,
            prefixes: 12,
            seconds_left: None,
            mode: Some(Mode::Enforce),
            reload_applies: reload_applies.iter().map(Into::into).collect(),
        }
    }

    #[test]
    fn new_and_unchanged_policies_are_told_apart() {
        let mut report = sample(&[]);
        let line = |report: &ApplyReport| {
            let mut out = Vec::new();
            write_applied(&mut out, report).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(&report), "applied generation 4: 3 networks, 12 entries, digest 1a1a1a1a1a1a…\n");
        report.unchanged = true;
        assert_eq!(line(&report), "unchanged: generation 4: 3 networks, 12 entries, digest 1a1a1a1a1a1a…\n");
        report.seconds_left = Some(60);
        assert!(line(&report).ends_with("\nfalls back in 60 s unless `enforcer confirm` comes first\n"));
    }

    #[test]
    fn what_else_is_true_of_the_host_is_told() {
        let mut out = Vec::new();
        write_confirmed(&mut out, &sample(&["/etc/enforcer/policy.toml", "/etc/enforcer/policy.d"])).unwrap();
        write_rolled_back(&mut out, &sample(&["/etc/enforcer/policy.toml"])).unwrap();
        write_rolled_back(&mut out, &sample(&[])).unwrap();
        let none = ApplyReport { generation: 0, mode: Some(Mode::Observe), ..sample(&[]) };
        write_rolled_back(&mut out, &none).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        confirmed generation 4, digest 1a1a1a1a1a1a…
        note: a reload of the daemon applies /etc/enforcer/policy.toml and /etc/enforcer/policy.d, whatever that says then
        rolled back: generation 4 decides, digest 1a1a1a1a1a1a…
        note: a reload of the daemon applies /etc/enforcer/policy.toml, whatever that says then
        rolled back: generation 4 decides, digest 1a1a1a1a1a1a…
        rolled back to no policy: nothing passes between workloads (mode observe: counted, not dropped)
        ");
    }
}
