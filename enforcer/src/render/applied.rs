//! What `apply` did, in a line.

use std::io::{self, Write};

use super::{count, short_digest};
use crate::report::ApplyReport;

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
    writeln!(out, "confirmed generation {}, digest {}", report.generation, short_digest(&report.digest))
}

/// Writes which policy decides again.
pub fn write_rolled_back(out: &mut impl Write, report: &ApplyReport) -> io::Result<()> {
    match report.generation {
        0 => writeln!(out, "rolled back to no policy: nothing passes between workloads"),
        generation => {
            let digest = short_digest(&report.digest);
            writeln!(out, "rolled back: generation {generation} decides, digest {digest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_unchanged_policies_are_told_apart() {
        let mut report = ApplyReport {
            unchanged: false,
            generation: 4,
            digest: "1a".repeat(32),
            networks: 3,
            prefixes: 12,
            seconds_left: None,
        };
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
}
