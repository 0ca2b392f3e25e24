//! From whom to whom, and whether the policies allow it.

use std::net::IpAddr;

use crate::workload::Workload;

/// The port that packets are sent to, over UDP and over TCP.
pub const PORT: u16 = 9000;

/// What every policy of a trial says about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Everything has to arrive.
    Allowed,
    /// Nothing may.
    Denied,
}

/// One address of a workload, as another one reaches it or not.
#[derive(Debug)]
pub struct Route<'l> {
    /// What is special about it.
    pub name: &'static str,
    /// What has to become of it.
    pub fate: Fate,
    /// Who sends.
    pub from: &'l Workload,
    /// Who is sent to.
    pub to: &'l Workload,
    /// Where.
    pub address: IpAddr,
    /// Its processor, see [`spawn_pinned`](super::pace::spawn_pinned).
    pub seat: usize,
}

impl Route<'_> {
    /// The family of its address.
    pub fn family(&self) -> &'static str {
        if self.address.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}
