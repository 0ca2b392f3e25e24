//! Asks the kernel for all entries of this network namespace. `CAP_NET_ADMIN` is enough.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::Entry;
use crate::netlink::{self, Scope};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`, and the answers' `IPCTNL_MSG_CT_NEW`.
const CT_GET: u16 = 1 << 8 | 1;
const CT_NEW: u16 = 1 << 8;

/// `struct nfgenmsg`: of any family.
const GENERIC: usize = 4;

/// Everything that connection tracking knows, as far as it is told: what was told before an error counts.
pub fn dump(entries: &mut Vec<Entry>) -> io::Result<()> {
    netlink::ask(NETLINK_NETFILTER, CT_GET, Scope::All, &[0; GENERIC], |kind, payload| {
        if kind == CT_NEW {
            entries.extend(payload.get(GENERIC..).and_then(Entry::parse));
        }
    })
}

/// Whether an error says that this kernel has no connection tracking, or nothing that tells of it.
pub fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| [libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT, libc::EINVAL].contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_may_stay_silent() {
        for missing in [libc::EPROTONOSUPPORT, libc::EINVAL] {
            assert!(is_missing(&io::Error::from_raw_os_error(missing)));
        }
        for failed in [libc::ENOBUFS, libc::EPERM, libc::EAGAIN] {
            assert!(!is_missing(&io::Error::from_raw_os_error(failed)));
        }
        assert!(!is_missing(&io::ErrorKind::TimedOut.into()));
    }
}
