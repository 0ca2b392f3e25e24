//! Whose addresses those in a capture are, and so which hooks each packet meets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use enforcer_common::{
    address::{Address, Scope},
    event::Hook,
    limits::MAX_ENDPOINTS,
};
use ipnet::IpNet;
use thiserror::Error;

use super::{Captured, Sighting, headers::Headers};

/// Every address with its role. Whoever sends is a workload of this host behind an interface of its own,
/// unless said otherwise: a capture does not tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cast {
    endpoints: BTreeMap<IpAddr, String>,
    /// Who speaks while it has no address yet.
    by_mac: BTreeMap<[u8; 6], String>,
    remote: Vec<IpNet>,
    host: Vec<IpAddr>,
}

/// Why the roles make no host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CastError {
    /// More senders than a host has room for.
    #[error(
        "{senders} addresses send, a host has at most {limit} endpoints; say what is outside with --remote"
    )]
    TooMany { senders: usize, limit: u32 },
}

/// Who a packet is from.
enum Sender<'a> {
    Endpoint(&'a str),
    Remote,
    Host,
}

impl Cast {
    /// Everybody who sends in `packets` is an endpoint but for who is `remote` or the `host`.
    pub fn new(packets: &[Captured], remote: Vec<IpNet>, host: Vec<IpAddr>) -> Result<Self, CastError> {
        let mut cast = Self { remote, host, ..Self::default() };
        let senders: Vec<Headers> = packets.iter().map(|packet| Headers::of(&packet.frame)).collect();
        let addresses: BTreeSet<IpAddr> =
            senders.iter().filter_map(|headers| headers.src).filter(|&src| cast.is_local(src)).collect();
        let limit = MAX_ENDPOINTS - 1;
        if addresses.len() > limit as usize {
            return Err(CastError::TooMany { senders: addresses.len(), limit });
        }
        let named = addresses.into_iter().zip(1..).map(|(address, number)| (address, format!("ep{number}")));
        cast.endpoints = named.collect();
        for Headers { mac, src, .. } in senders {
            let endpoint = src.and_then(|src| cast.endpoints.get(&src));
            if let (Some(mac), Some(endpoint)) = (mac, endpoint) {
                cast.by_mac.entry(mac).or_insert_with(|| endpoint.clone());
            }
        }
        Ok(cast)
    }

    /// Every endpoint, by name, with its address.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.endpoints.iter().map(|(address, name)| (&**name, *address))
    }

    /// The host's addresses.
    pub fn host(&self) -> &[IpAddr] {
        &self.host
    }

    fn is_local(&self, address: IpAddr) -> bool {
        let unicast = matches!(Address::from(address).scope(), Scope::Global | Scope::LinkLocal);
        unicast && !self.is_remote(address) && !self.host.contains(&address)
    }

    fn is_remote(&self, address: IpAddr) -> bool {
        self.remote.iter().any(|remote| remote.contains(&address))
    }

    /// The hooks that a packet would meet, in order, each if those before let it pass; or why there are none.
    pub(super) fn sightings<'a>(
        &'a self,
        packet: &'a Captured,
        now: Duration,
    ) -> Result<Vec<Sighting<'a>>, &'static str> {
        if packet.cut {
            return Err("cut short by the capture; capture whole packets with -s 0");
        }
        let headers = Headers::of(&packet.frame);
        let receiver = headers.dst.and_then(|dst| self.endpoints.get(&dst));
        let sender = self.sender(&headers).ok_or("no endpoint sends it")?;
        let sighting = |hook, endpoint, stamp| Sighting {
            hook,
            endpoint,
            frame: &packet.frame,
            stamp,
            locally_generated: matches!(sender, Sender::Host),
            now,
        };
        let delivered = |stamp| receiver.map(|endpoint| sighting(Hook::ToEndpoint, &**endpoint, stamp));
        // Link-layer business stays on its link.
        let arp = headers.proto.as_deref() == Some("arp");
        match sender {
            Sender::Endpoint(name) => {
                let sent = sighting(Hook::FromEndpoint, name, None);
                let delivered = delivered(Some(name)).filter(|delivered| !arp && delivered.endpoint != name);
                Ok([Some(sent), delivered].into_iter().flatten().collect())
            }
            Sender::Remote | Sender::Host => {
                delivered(None).map(|delivered| vec![delivered]).ok_or("no endpoint receives it")
            }
        }
    }

    fn sender(&self, headers: &Headers) -> Option<Sender<'_>> {
        match headers.src {
            Some(src) if self.host.contains(&src) => Some(Sender::Host),
            Some(src) if self.is_remote(src) => Some(Sender::Remote),
            Some(src) if self.endpoints.contains_key(&src) => {
                self.endpoints.get(&src).map(|name| Sender::Endpoint(name))
            }
            // Nobody's address, or none at all: whoever else sends from this MAC.
            _ => self.by_mac.get(&headers.mac?).map(|name| Sender::Endpoint(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::replay::headers::udp;

    fn captured(frame: Vec<u8>) -> Captured {
        Captured { time: Duration::ZERO, frame, cut: false }
    }

    /// Two workloads, a remote and a host that send.
    fn cast() -> Cast {
        let packets = ["10.1.0.5", "10.1.0.6", "192.0.2.7", "10.1.0.1", "0.0.0.0"]
            .map(|src| captured(udp(src, "10.9.0.1")));
        Cast::new(&packets, vec!["192.0.2.0/24".parse().unwrap()], vec!["10.1.0.1".parse().unwrap()]).unwrap()
    }

    #[test]
    fn whoever_sends_is_an_endpoint() {
        let cast = cast();
        let endpoints: Vec<String> =
            cast.endpoints().map(|(name, address)| format!("{name} {address}")).collect();
        assert_eq!(endpoints, ["ep1 10.1.0.5", "ep2 10.1.0.6"]);
    }

    #[rstest]
    #[case::between("10.1.0.5", "10.1.0.6", &["FromEndpoint ep1 -", "ToEndpoint ep2 ep1"])]
    #[case::to_outside("10.1.0.5", "192.0.2.7", &["FromEndpoint ep1 -"])]
    #[case::to_host("10.1.0.5", "10.1.0.1", &["FromEndpoint ep1 -"])]
    #[case::from_outside("192.0.2.7", "10.1.0.5", &["ToEndpoint ep1 -"])]
    #[case::from_host("10.1.0.1", "10.1.0.5", &["ToEndpoint ep1 - host"])]
    #[case::no_address_yet("0.0.0.0", "255.255.255.255", &["FromEndpoint ep1 -"])]
    fn roles_say_which_hooks_a_packet_meets(#[case] src: &str, #[case] dst: &str, #[case] expected: &[&str]) {
        let (cast, packet) = (cast(), captured(udp(src, dst)));
        let sightings = cast.sightings(&packet, Duration::ZERO).unwrap();
        let told: Vec<String> = sightings
            .iter()
            .map(|sighting| {
                let host = if sighting.locally_generated { " host" } else { "" };
                format!("{:?} {} {}{host}", sighting.hook, sighting.endpoint, sighting.stamp.unwrap_or("-"))
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_meets_no_hook_says_why() {
        let cast = cast();
        let note = |packet: Captured| cast.sightings(&packet, Duration::ZERO).unwrap_err();
        assert_eq!(note(captured(udp("192.0.2.7", "10.9.0.1"))), "no endpoint receives it");
        assert_eq!(note(captured(Vec::new())), "no endpoint sends it");
        let cut = Captured { cut: true, ..captured(udp("10.1.0.5", "10.1.0.6")) };
        assert!(note(cut).starts_with("cut short"));
    }
}
