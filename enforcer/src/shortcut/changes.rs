//! Hears of what the kernel tells by itself, so that nobody has to wait until it is time to look. Of all else, such as tcx
//! programs, packet sockets, virtual servers and tables of iptables-legacy, it tells nothing.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use netlink_sys::{
    AsyncSocket as _, SocketAddr, TokioSocket,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM},
};
use tracing::warn;

/// `NFNLGRP_NFTABLES`; `RTNLGRP_TC`: queues and their filters; `XFRMNLGRP_POLICY`, also of the default.
const GROUPS: [(&str, isize, u32); 3] =
    [("nftables", NETLINK_NETFILTER, 7), ("queues", NETLINK_ROUTE, 4), ("IPsec policies", NETLINK_XFRM, 4)];

/// Those groups that could be joined.
pub struct Changes(Vec<TokioSocket>);

impl Changes {
    /// Begins to listen; needs a tokio runtime.
    pub fn listen() -> Self {
        let joined = GROUPS.into_iter().filter_map(|(what, protocol, group)| match join(protocol, group) {
            Ok(socket) => Some(socket),
            // Where the kernel has no such thing there is nothing to tell.
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => None,
            Err(error) => {
                warn!(%error, "changes of {what} are noticed late, by looking");
                None
            }
        });
        Self(joined.collect())
    }

    /// The next change, or what might be one: more of them than could be told are one, too.
    pub async fn next(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    /// Changes that have been told by now are known of; what is left of many is taken for more of them.
    pub fn forget(&mut self) {
        while self.next().now_or_never().is_some() {}
    }

    /// Who fails otherwise is heard no more: what he tells of is looked at from time to time anyway.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut told = Poll::Pending;
        self.0.retain_mut(|socket| match socket.poll_recv_from_full(context) {
            Poll::Pending => true,
            Poll::Ready(Err(error)) if error.raw_os_error() != Some(libc::ENOBUFS) => {
                warn!(%error, "some changes are noticed late from now on, by looking");
                false
            }
            Poll::Ready(_) => {
                told = Poll::Ready(());
                true
            }
        });
        told
    }
}

fn join(protocol: isize, group: u32) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(protocol)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    socket.socket_mut().add_membership(group)?;
    Ok(socket)
}
