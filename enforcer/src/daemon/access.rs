//! Who is at the other end of the control socket, and what he may do.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::{Gid, Group, geteuid},
};
use tracing::{debug, warn};

use crate::config::Control;

/// Who connected, as the kernel remembers it from that moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Effective user.
    pub uid: u32,
    /// Process; 0 for one of another pid namespace.
    pub pid: i32,
    /// Effective group and supplementary ones.
    pub groups: Vec<u32>,
}

impl Peer {
    /// The other end of a connected unix socket.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(socket, PeerCredentials)?;
        let mut groups = supplementary_groups(socket)?;
        groups.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), pid: credentials.pid(), groups })
    }

    fn is_in(&self, group: Option<Gid>) -> bool {
        group.is_some_and(|group| self.groups.contains(&group.as_raw()))
    }
}

/// Asks again with more room as long as the kernel wants more.
fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 32];
    loop {
        let mut bytes = size_of_val(&*groups) as libc::socklen_t;
        // SAFETY: `groups` has room for `bytes` bytes, and the kernel writes no more than that.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let wanted = bytes as usize / size_of::<u32>();
        match Errno::result(result) {
            Ok(_) => {
                groups.truncate(wanted);
                return Ok(groups);
            }
            Err(Errno::ERANGE) if wanted > groups.len() => groups.resize(wanted, 0),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What whom is allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Whose daemon this is; the socket is his.
    owner: u32,
    /// Who may connect and read.
    readers: Option<Gid>,
    /// Who may change things.
    admins: Option<Gid>,
}

impl Access {
    /// What the host file says, with its groups looked up. A group that does not exist has no members.
    pub fn new(control: &Control) -> Self {
        let readers = find_group(&control.group);
        if readers.is_none() {
            debug!(group = control.group, "no such group: the control socket is root's alone");
        }
        let admins = control.admin_group.as_deref().and_then(|name| {
            let group = find_group(name);
            if group.is_none() {
                warn!(group = name, "no such group: nobody but root may change anything");
            }
            group
        });
        Self { owner: geteuid().as_raw(), readers, admins }
    }

    /// The group of the socket.
    pub const fn readers(&self) -> Option<Gid> {
        self.readers
    }

    /// Whether a peer may ask questions.
    pub fn may_read(&self, peer: &Peer) -> bool {
        peer.uid == self.owner || peer.is_in(self.readers) || self.may_change(peer)
    }

    /// Whether a peer may give orders.
    pub fn may_change(&self, peer: &Peer) -> bool {
        peer.uid == 0 || peer.is_in(self.admins)
    }
}

/// By name, as the host knows it; by number, whether the host knows it or not.
fn find_group(text: &str) -> Option<Gid> {
    let named = Group::from_name(text).unwrap_or_else(|error| {
        warn!(group = text, %error, "cannot look up a group");
        None
    });
    named.map(|group| group.gid).or_else(|| text.parse().ok().map(Gid::from_raw))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn access(admin_group: Option<&str>) -> Access {
        let control = Control { group: "4001".to_owned(), admin_group: admin_group.map(str::to_owned) };
        Access { owner: 0, ..Access::new(&control) }
    }

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { uid, pid: 1, groups: groups.to_vec() }
    }

    #[test]
    fn root_and_members_read_and_nobody_else() {
        let access = access(Some("4002"));
        for (peer, reads, changes) in [
            (peer(0, &[0]), true, true),
            (peer(7, &[7]), false, false),
            (peer(7, &[0]), false, false),
            (peer(7, &[7, 4001]), true, false),
            (peer(7, &[4002]), true, true),
        ] {
            assert_eq!((access.may_read(&peer), access.may_change(&peer)), (reads, changes), "{peer:?}");
        }
    }

    #[test]
    fn without_an_admin_group_only_root_changes() {
        let access = access(None);
        assert!(access.may_change(&peer(0, &[])) && !access.may_change(&peer(7, &[0, 4001])));
    }

    #[test]
    fn groups_are_found_by_name_and_number_and_unknown_ones_have_no_members() {
        assert_eq!(find_group("root"), Some(Gid::from_raw(0)));
        assert_eq!(find_group("4001"), Some(Gid::from_raw(4001)));
        assert_eq!(find_group("no-such-group"), None);
        let nobody = Control { group: "no-such-group".to_owned(), admin_group: Some(String::new()) };
        let access = Access { owner: 0, ..Access::new(&nobody) };
        assert!(!access.may_read(&peer(7, &[7])));
    }

    #[test]
    fn a_peer_is_who_connected() {
        let (one, _other) = UnixStream::pair().unwrap();
        let found = Peer::of(&one).unwrap();
        assert_eq!((found.uid, found.pid), (geteuid().as_raw(), std::process::id() as i32));
        assert!(found.groups.contains(&nix::unistd::getegid().as_raw()), "{found:?}");
    }
}
