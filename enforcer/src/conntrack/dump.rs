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

/// Everything that connection tracking knows. An error is where the kernel has none, for example.
pub fn dump() -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    netlink::ask(NETLINK_NETFILTER, CT_GET, Scope::All, &[0; GENERIC], |kind, payload| {
        if kind == CT_NEW {
            entries.extend(payload.get(GENERIC..).and_then(Entry::parse));
        }
    })?;
    Ok(entries)
}
