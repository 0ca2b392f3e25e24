//! What the daemon's core wants done about the host's facts: data, so that a step can be looked at before anything happens.

use std::net::IpAddr;

use enforcer_common::{
    address::{Address, V4_PREFIX_OFFSET},
    endpoint::{AddressOwner, Endpoint, EndpointId, MaskedSender},
    host::HostEnd,
    mode::Mode,
    shortcut::Shortcut,
};
use ipnet::IpNet;

use crate::shortcut::Kinds;

/// What the kernel has to be told, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Put the programs on an interface, or replace them there.
    Attach {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// The interface is gone, or nobody's business any more: take everything of ours off it.
    Forget {
        /// Its index.
        ifindex: u32,
        /// Its name, when last seen.
        name: String,
    },
    /// Put the early guard on an interface, or replace it there.
    Guard {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
        /// The record of an uplink; written first.
        uplink: Option<Endpoint>,
    },
    /// Take the early guard off an interface.
    Unguard {
        /// Its index.
        ifindex: u32,
        /// Whether there is an uplink's record that nobody else needs; removed last.
        uplink: bool,
    },
    /// Put the uplink's program on an interface, or replace it there.
    AttachUplink {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
        /// Its record; written first.
        record: Endpoint,
    },
    /// Take the uplink's program off an interface.
    DetachUplink {
        /// Its index.
        ifindex: u32,
        /// Its name, when last seen.
        name: String,
        /// Whether nobody else needs the uplink's record; removed last.
        record: bool,
    },
    /// Counters of this id start anew, and nothing is ordered of it.
    ResetCounters(EndpointId),
    /// Say which mode the host file gives the host or an endpoint; what is ordered stays.
    ConfigureMode {
        /// The slot of `MODES`.
        slot: u32,
        /// The mode; `None` where the file says nothing of it.
        mode: Option<Mode>,
    },
    /// Say what the host is as an end.
    WriteHostEnd(Box<HostEnd>),
    /// Say whom a stamp stands for behind NAT.
    WriteSender {
        /// The stamp.
        stamp: u32,
        /// Who.
        sender: MaskedSender,
    },
    /// The stamp stands for nobody behind NAT any more.
    RemoveSender {
        /// The stamp.
        stamp: u32,
    },
    /// Say who is behind an interface.
    WriteEndpoint {
        /// Its index.
        ifindex: u32,
        /// Who.
        endpoint: Endpoint,
    },
    /// Nobody is behind it any more.
    RemoveEndpoint {
        /// Its index.
        ifindex: u32,
    },
    /// Say who owns a prefix.
    WriteAddress {
        /// The prefix.
        network: Owned,
        /// Who.
        owner: AddressOwner,
    },
    /// Nobody owns it any more.
    RemoveAddress(Owned),
    /// Say how an endpoint may be reached by a shortcut.
    WriteShortcut {
        /// Its id.
        id: u32,
        /// How; nothing but zeroes for not at all.
        shortcut: Shortcut,
    },
    /// Say which shortcuts lead through an interface to the outside.
    WriteOutside {
        /// Its index.
        ifindex: u32,
        /// Which.
        kinds: Kinds,
    },
    /// Shortcuts of these kinds may be taken for a while from now on, and no others.
    Lease(Kinds),
    /// Everything decided under the facts so far is stale.
    FactsChanged,
}

impl Op {
    /// Whether what flows remember, or a CPU of who sits behind an interface, may be wrong after it, so that [`Op::FactsChanged`] has to follow.
    pub const fn ends_judgements(&self) -> bool {
        match self {
            Self::WriteEndpoint { .. }
            | Self::RemoveEndpoint { .. }
            | Self::WriteAddress { .. }
            | Self::RemoveAddress(_)
            | Self::WriteHostEnd(_)
            | Self::AttachUplink { .. }
            | Self::DetachUplink { .. } => true,
            Self::Guard { uplink, .. } => uplink.is_some(),
            Self::Unguard { uplink, .. } => *uplink,
            // Modes, masked senders and shortcuts are asked for each time.
            Self::Attach { .. }
            | Self::Forget { .. }
            | Self::ResetCounters(_)
            | Self::ConfigureMode { .. }
            | Self::WriteSender { .. }
            | Self::RemoveSender { .. }
            | Self::WriteShortcut { .. }
            | Self::WriteOutside { .. }
            | Self::Lease(_)
            | Self::FactsChanged => false,
        }
    }
}

impl Op {
    /// The address whose owner changes.
    pub const fn owned(&self) -> Option<Owned> {
        match self {
            Self::WriteAddress { network, .. } | Self::RemoveAddress(network) => Some(*network),
            _ => None,
        }
    }
}

/// An owned prefix, in the 128-bit space of the datapath.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owned {
    /// First address.
    pub address: Address,
    /// Leading bits that count.
    pub bits: u8,
}

impl From<IpNet> for Owned {
    fn from(network: IpNet) -> Self {
        let offset = if network.addr().is_ipv4() { V4_PREFIX_OFFSET } else { 0 };
        Self { address: network.network().into(), bits: offset + network.prefix_len() }
    }
}

impl From<IpAddr> for Owned {
    fn from(address: IpAddr) -> Self {
        Self { address: address.into(), bits: 128 }
    }
}

impl Owned {
    /// Whether `other` lies wholly within this prefix.
    pub fn covers(&self, other: &Self) -> bool {
        let differing = (0..4).find_map(|word| {
            let difference = u32::from_be(self.address.0[word] ^ other.address.0[word]);
            (difference != 0).then(|| word as u32 * 32 + difference.leading_zeros())
        });
        self.bits <= other.bits && differing.is_none_or(|bit| bit >= u32::from(self.bits))
    }

    /// Whether both are of one address family.
    pub fn is_family_of(&self, other: &Self) -> bool {
        self.address.is_v4() == other.address.is_v4()
    }

    /// The prefix in its own family, as people write it; a single address without its length.
    pub fn text(self) -> String {
        let offset = if self.address.is_v4() { V4_PREFIX_OFFSET } else { 0 };
        match self.bits {
            128 => self.address.to_string(),
            bits => format!("{}/{}", self.address, bits.saturating_sub(offset)),
        }
    }
}
