//! One entry as ctnetlink writes it (`linux/netfilter/nfnetlink_conntrack.h`).

use enforcer_common::{
    address::Address,
    flow::{FlowKey, protocol},
};

use crate::netlink::attributes;

/// Attributes of an entry.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
/// Attributes of a tuple, of its addresses and of its protocol.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const V4_SRC: u16 = 1;
const V4_DST: u16 = 2;
const V6_SRC: u16 = 3;
const V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const SRC_PORT: u16 = 2;
const DST_PORT: u16 = 3;
/// Attributes of what is known of the protocol.
const PROTOINFO_TCP: u16 = 1;
const TCP_STATE: u16 = 1;

/// What connection tracking knows of one conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The first packet's direction, as it came.
    pub orig: FlowKey,
    /// The answers' direction: where NAT rewrites, not the reverse of the other.
    pub reply: FlowKey,
    /// The state of a TCP connection.
    pub tcp_state: Option<u8>,
    /// `IPS_…` bits.
    pub status: u32,
}

impl Entry {
    /// `IPS_ASSURED`: more than one packet each way.
    pub const ASSURED: u32 = 1 << 2;
    /// `TCP_CONNTRACK_ESTABLISHED`.
    pub const ESTABLISHED: u8 = 3;

    /// Reads the payload of a message, behind its `nfgenmsg`; nothing unless it has two whole tuples.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut entry = Self::default();
        let (mut orig, mut reply) = (None, None);
        for (kind, value) in attributes(payload) {
            match kind {
                TUPLE_ORIG => orig = tuple(value),
                TUPLE_REPLY => reply = tuple(value),
                STATUS => entry.status = u32::from_be_bytes(value.get(..4)?.try_into().ok()?),
                PROTOINFO => entry.tcp_state = tcp_state(value),
                _ => {}
            }
        }
        Some(Self { orig: orig?, reply: reply?, ..entry })
    }

    /// Whether both sides have spoken and neither is done.
    pub const fn goes_on(&self) -> bool {
        match self.orig.protocol {
            protocol::TCP => matches!(self.tcp_state, Some(Self::ESTABLISHED)),
            // A question of a moment, and asked again.
            protocol::ICMP | protocol::ICMPV6 => false,
            _ => self.status & Self::ASSURED != 0,
        }
    }
}

fn tcp_state(protoinfo: &[u8]) -> Option<u8> {
    let (_, tcp) = attributes(protoinfo).find(|(kind, _)| *kind == PROTOINFO_TCP)?;
    let (_, state) = attributes(tcp).find(|(kind, _)| *kind == TCP_STATE)?;
    state.first().copied()
}

fn tuple(value: &[u8]) -> Option<FlowKey> {
    let mut key = FlowKey::default();
    let (mut src, mut dst) = (None, None);
    for (kind, value) in attributes(value) {
        match kind {
            TUPLE_IP => {
                for (kind, value) in attributes(value) {
                    match kind {
                        V4_SRC | V6_SRC => src = address(value),
                        V4_DST | V6_DST => dst = address(value),
                        _ => {}
                    }
                }
            }
            TUPLE_PROTO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        PROTO_NUM => key.protocol = *value.first()?,
                        SRC_PORT => key.src_port = u16::from_ne_bytes(value.get(..2)?.try_into().ok()?),
                        DST_PORT => key.dst_port = u16::from_ne_bytes(value.get(..2)?.try_into().ok()?),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(FlowKey { src: src?, dst: dst?, ..key })
}

fn address(value: &[u8]) -> Option<Address> {
    let ip: std::net::IpAddr = match value.len() {
        4 => <[u8; 4]>::try_from(value).ok()?.into(),
        16 => <[u8; 16]>::try_from(value).ok()?.into(),
        _ => return None,
    };
    Some(ip.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose destination NAT has changed, as kernel 6.18 tells it.
    const REDIRECTED: &str = "\
        3400018014000180080001007f000001080002007f0000091c0002800500010006000000060002008a1600000600030008ae \
        00003400028014000180080001007f000001080002007f0000011c0002800500010006000000060002005606000006000300 \
        8a16000008000300000001ae080008000000000008000c00df75425608000b0000000001080007000006977f300004802c00 \
        01800500010003000000050002000a000000050003000a00000006000400230000000600050023000000";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn both_tuples_the_state_and_the_status_are_read() {
        let entry = Entry::parse(&bytes(REDIRECTED)).unwrap();
        let ends = |key: FlowKey| {
            format!("{}:{} {}:{}", key.src, u16::from_be(key.src_port), key.dst, u16::from_be(key.dst_port))
        };
        assert_eq!(ends(entry.orig), "127.0.0.1:35350 127.0.0.9:2222");
        assert_eq!(ends(entry.reply), "127.0.0.1:22022 127.0.0.1:35350");
        assert_eq!((entry.orig.protocol, entry.tcp_state), (protocol::TCP, Some(Entry::ESTABLISHED)));
        assert!(entry.goes_on() && entry.status & Entry::ASSURED != 0);
    }

    #[test]
    fn what_is_cut_off_is_no_entry_and_never_read_beyond() {
        let whole = bytes(REDIRECTED);
        for length in 0..whole.len() {
            let entry = Entry::parse(&whole[..length]);
            assert!(entry.is_none() || length >= 0x68, "{length} bytes: {entry:?}");
        }
        assert_eq!(Entry::parse(&[0, 0, 1, 0]), None, "an attribute of no length");
    }
}
