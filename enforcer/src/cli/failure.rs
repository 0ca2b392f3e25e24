//! How errors end the program: what is said, and with which exit code.

use std::{fmt::Write as _, io, process::ExitCode};

use super::ClientError;

/// Failed, or denied.
pub const FAILED: u8 = 1;
/// No daemon answers, and nothing else can.
pub const NOT_REACHABLE: u8 = 3;

/// An error whose text was made for people already, such as diagnostics with carets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReachable(pub String);

/// Tells standard error what went wrong; the exit code to end with.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("{}", message(error, nix::unistd::geteuid().is_root()));
    ExitCode::from(code(error))
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    let unreachable = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<NotReachable>() || cause.downcast_ref().is_some_and(ClientError::is_unreachable)
    };
    if error.is::<NotReachable>() || error.chain().any(unreachable) { NOT_REACHABLE } else { FAILED }
}

/// The error and its causes, and a hint where root would have been allowed more.
fn message(error: &anyhow::Error, root: bool) -> String {
    let mut text = match error.downcast_ref::<Refused>() {
        Some(Refused(text)) if text.starts_with("error") || text.starts_with('\x1b') => text.clone(),
        _ => chain(error),
    };
    if !root && is_permission(error) {
        text += "\nhint: run as root";
        if error.chain().any(is_socket) {
            text += ", or as a member of the `group` of [control] in the host file";
        }
    }
    text
}

/// Every cause on a line of its own, unless the error above has told it already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            write!(text, "\n  caused by: {cause}").expect("strings take everything");
        }
    }
    text
}

/// The reader of our output has seen enough, as in `enforcer flows | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    // A daemon that hangs up is another matter.
    has_kind(error, io::ErrorKind::BrokenPipe)
        && !error.chain().any(<dyn std::error::Error>::is::<ClientError>)
}

/// Whom the socket is for the host file says; what it refuses afterwards comes in the daemon's words.
fn is_socket(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(ClientError::Connect { .. }))
}

fn is_permission(error: &anyhow::Error) -> bool {
    let errno = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(nix::Error::EPERM | nix::Error::EACCES))
    };
    has_kind(error, io::ErrorKind::PermissionDenied) || error.chain().any(errno)
}

fn has_kind(error: &anyhow::Error, kind: io::ErrorKind) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn only_an_unreachable_daemon_exits_with_3() {
        let unreachable = || ClientError::Unreachable {
            socket: "/run/enforcer.sock".into(),
            source: io::ErrorKind::NotFound.into(),
        };
        assert_eq!(code(&unreachable().into()), NOT_REACHABLE);
        assert_eq!(code(&anyhow::Error::from(unreachable()).context("while asking")), NOT_REACHABLE);
        assert_eq!(code(&NotReachable("nobody".to_owned()).into()), NOT_REACHABLE);
        assert_eq!(code(&anyhow!("anything else")), FAILED);
        assert_eq!(code(&Refused("no".to_owned()).into()), FAILED);
    }

    #[test]
    fn causes_are_told_once() {
        let error =
            anyhow!("no such file").context("failed to read a.toml: no such file").context("no policy");
        assert_eq!(
            message(&error, true),
            "error: no policy\n  caused by: failed to read a.toml: no such file"
        );
    }

    #[test]
    fn diagnostics_come_as_they_are() {
        let text = "error: unknown key\n --> a.toml:2:7";
        assert_eq!(message(&Refused(text.to_owned()).into(), true), text);
        assert_eq!(message(&Refused("no such endpoint".to_owned()).into(), true), "error: no such endpoint");
    }

    #[test]
    fn who_is_not_root_is_told_that_root_may() {
        let denied = || Err::<(), _>(io::Error::from(io::ErrorKind::PermissionDenied));
        let error = denied().context("failed to open table CONTROL").unwrap_err();
        assert!(message(&error, false).ends_with("\nhint: run as root"));
        assert!(!message(&error, true).contains("hint"));
    }

    #[test]
    fn whoever_may_not_connect_is_told_who_may() {
        let source = io::ErrorKind::PermissionDenied.into();
        let error = ClientError::Connect { socket: "/run/enforcer/enforcer.sock".into(), source };
        let text = message(&error.into(), false);
        assert!(
            text.ends_with(
                "\nhint: run as root, or as a member of the `group` of [control] in the host file"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_closed_pipe(&error));
        assert_eq!(report(&error), ExitCode::SUCCESS);
    }

    #[test]
    fn a_daemon_that_hangs_up_is_one() {
        let source = io::Error::from(io::ErrorKind::BrokenPipe);
        let error = anyhow::Error::from(ClientError::Connect { socket: "/run/enforcer.sock".into(), source });
        assert!(!is_closed_pipe(&error));
        assert_eq!(report(&error), ExitCode::from(FAILED));
    }
}
