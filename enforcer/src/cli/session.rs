//! The SSH session that a command runs in, if it does.

use std::{env, fs};

use crate::report::Session;

const VARIABLE: &str = "SSH_CONNECTION";

/// Processes above us that are looked at: shells, sudo, scripts.
const ANCESTORS: usize = 32;

/// From the environment; sudo takes it out of there, so else from that of the processes above.
pub fn current() -> Option<Session> {
    match env::var(VARIABLE) {
        Ok(text) => parse(&text),
        Err(_) => inherited(),
    }
}

fn inherited() -> Option<Session> {
    let mut pid = nix::unistd::getppid().as_raw();
    for _ in 0..ANCESTORS {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let found = environment.split(|byte| *byte == 0).find_map(|entry| {
            let entry = std::str::from_utf8(entry).ok()?;
            parse(entry.strip_prefix(VARIABLE)?.strip_prefix('=')?)
        });
        if found.is_some() {
            return found;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        pid = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        if pid <= 1 {
            return None;
        }
    }
    None
}

/// `CLIENT PORT SERVER PORT`. A link-local address has its interface behind it: no policy is about those.
fn parse(text: &str) -> Option<Session> {
    let mut words = text.split(' ');
    let session = Session {
        client: words.next()?.parse().ok()?,
        client_port: words.next()?.parse().ok()?,
        server: words.next()?.parse().ok()?,
        server_port: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_words_are_a_session() {
        let session = parse("2001:db8::7 51234 2001:db8::1 22").unwrap();
        assert_eq!((session.client_port, session.server_port), (51234, 22));
        assert_eq!(session.to_string(), "tcp from 2001:db8::7 port 51234 to 2001:db8::1 port 22");
        for other in ["", "10.0.0.1 1 10.0.0.2", "fe80::1%eth0 1 fe80::2%eth0 22", "a b c d"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
