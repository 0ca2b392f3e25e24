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
    writeln!(out, "{what} generation {}: {networks}, {entries}, digest {digest}", report.generation)
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
        };
        let line = |report: &ApplyReport| {
            let mut out = Vec::new();
            write_applied(&mut out, report).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(&report), "applied generation 4: 3 networks, 12 entries, digest 1a1a1a1a1a1a…\n");
        report.unchanged = true;
        assert_eq!(line(&report), "unchanged: generation 4: 3 networks, 12 entries, digest 1a1a1a1a1a1a…\n");
    }
}
