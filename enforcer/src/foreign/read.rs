//! Runs the programs that list rules. They may be missing, slow, or not allowed to: then that is said, and
//! nobody waits.

use std::{
    fs,
    io::{self, Read},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{Findings, legacy, nft, walk};

/// The longest that one program may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer is good for: `status` may be asked often, and listing thousands of rules is work.
const FRESH: Duration = Duration::from_secs(5);

/// More is no listing that people wrote.
const LONGEST: u64 = 32 << 20;

/// What was found last, for whoever asks.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Option<(Instant, Findings)>>);

impl Watch {
    /// What is in the way, as of now or of some seconds ago.
    pub fn findings(&self) -> Findings {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, findings)) = &*last
            && when.elapsed() < FRESH
        {
            return findings.clone();
        }
        let findings = look();
        *last = Some((Instant::now(), findings.clone()));
        findings
    }
}

/// Looks at the rules of this network namespace.
pub fn look() -> Findings {
    let mut tables = Vec::new();
    let mut unseen = Vec::new();
    match nftables() {
        Ok(found) => tables.extend(found),
        Err(why) => unseen.push(format!("rules of nftables and iptables: {why}")),
    }
    for (family, names, program) in [
        ("ip", "/proc/net/ip_tables_names", "iptables-legacy-save"),
        ("ip6", "/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
    ] {
        // The file is there only with the kernel's module, and empty where nobody uses it.
        let names = fs::read_to_string(names).unwrap_or_default();
        if names.trim().is_empty() {
            continue;
        }
        match run(program, &["-c"]) {
            Ok(listing) => tables.extend(legacy::tables(family, &listing)),
            Err(why) => {
                let names = names.split_whitespace().collect::<Vec<_>>().join(", ");
                unseen
                    .push(format!("rules of {program} (tables {names}): {why}; run it as root to see them"));
            }
        }
    }
    Findings { rules: walk::findings(&tables), unseen }
}

fn nftables() -> Result<Vec<super::Table>, String> {
    let json = run("nft", &["-j", "list", "ruleset"])?;
    let listing = run("nft", &["-a", "list", "ruleset"])?;
    nft::tables(&json, &listing).map_err(|error| error.to_string())
}

/// What a program prints.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no `{program}`"),
        _ => format!("cannot run {program}: {error}"),
    })?;
    let (done, output) = mpsc::channel();
    let mut pipes = (child.stdout.take(), child.stderr.take());
    thread::spawn(move || {
        let (mut printed, mut complaint) = (Vec::new(), Vec::new());
        let outcome = read(pipes.0.take(), &mut printed).and_then(|()| read(pipes.1.take(), &mut complaint));
        // Whoever waited may have given up.
        done.send(outcome.map(|()| (printed, complaint))).unwrap_or_default();
    });
    let output = output.recv_timeout(PATIENCE);
    if output.is_err() {
        // It may have ended just now.
        child.kill().unwrap_or_default();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match output {
        Ok(Ok((printed, _))) if status.success() => Ok(String::from_utf8_lossy(&printed).into_owned()),
        Ok(Ok((_, complaint))) => {
            let complaint = String::from_utf8_lossy(&complaint);
            Err(format!(
                "{program} refuses: {}",
                complaint.lines().next().unwrap_or("no reason given").trim()
            ))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{program} took more than {} s", PATIENCE.as_secs())),
    }
}

fn read(pipe: Option<impl Read>, into: &mut Vec<u8>) -> io::Result<()> {
    pipe.map_or(Ok(()), |pipe| pipe.take(LONGEST).read_to_end(into).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_or_fails_or_hangs_is_told() {
        assert_eq!(run("/nonexistent/nft", &[]), Err("there is no `/nonexistent/nft`".to_owned()));
        assert_eq!(run("sh", &["-c", "echo no >&2; exit 1"]), Err("sh refuses: no".to_owned()));
        assert_eq!(run("sh", &["-c", "exec sleep 60"]), Err("sh took more than 2 s".to_owned()));
        assert_eq!(run("echo", &["rules"]), Ok("rules\n".to_owned()));
    }
}
