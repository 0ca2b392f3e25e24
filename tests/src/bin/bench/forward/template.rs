//! A frame of which each flow's is made: they differ in their ports. So the sender needs hardly any memory, as little as a
//! network card that brings packets, and the processor's caches are the host's.

use std::net::IpAddr;

use enforcer_tests::packet::{BLUE_A, BLUE_B, Family, from};

use super::mix::{Length, Mix};

/// Flows differ in their ports: so many of the sender for each of the receiver.
const PORTS: u32 = 1024;
/// Where in a header of UDP its checksum is.
const UDP_CHECKSUM: usize = 6;
/// Of `linux/virtio_net.h`.
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
const VIRTIO_NET_HDR_GSO_UDP_L4: u8 = 5;

/// The frame of the first flow, as a packet socket wants it.
pub struct Template {
    frame: Vec<u8>,
    /// Where its header of UDP begins.
    udp: usize,
    /// Its checksum; none of a super-packet.
    sum: Option<u16>,
}

impl Template {
    /// From one workload to another, with these MACs in front.
    pub fn new(macs: &[u8], family: Family, mix: Mix) -> Self {
        let (src, dst) = (BLUE_A.on(family), BLUE_B.on(family));
        let udp = 14 + if src.is_ipv4() { 20 } else { 40 };
        let frame = frame(macs, [src, dst], 0, mix.length.payload(udp + 8));
        match mix.length {
            Length::Frame(_) => {
                let sum = [frame[udp + UDP_CHECKSUM], frame[udp + UDP_CHECKSUM + 1]];
                Self { frame, udp, sum: Some(u16::from_be_bytes(sum)) }
            }
            Length::Super { frame: segment, .. } => {
                let told = super_packet(udp, segment);
                Self { udp: told.len() + udp, frame: [told, frame].concat(), sum: None }
            }
        }
    }

    /// Whether it is many packets until a network card would send them.
    pub fn is_super(&self) -> bool {
        self.sum.is_none()
    }

    /// The first flow's.
    pub fn first(&self) -> &[u8] {
        &self.frame
    }

    /// Makes any flow's frame one of this flow.
    pub fn write(&self, flow: u32, frame: &mut [u8]) {
        let (header, ports) = (&mut frame[self.udp..], ports(flow));
        header[..4].copy_from_slice(ports.map(u16::to_be_bytes).as_flattened());
        // That of a super-packet is made behind us, for each segment.
        if let Some(sum) = self.sum {
            let sum = summed(sum, self::ports(0), ports);
            header[UDP_CHECKSUM..][..2].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

fn ports(flow: u32) -> [u16; 2] {
    [20_000 + flow % PORTS, 1_000 + flow / PORTS].map(|port| port as u16)
}

fn frame(macs: &[u8], [src, dst]: [IpAddr; 2], flow: u32, payload: usize) -> Vec<u8> {
    let [src_port, dst_port] = ports(flow);
    let mut frame = from(src).to(dst).udp(dst_port).from_port(src_port).payload(payload).bytes();
    frame[..macs.len()].copy_from_slice(macs);
    frame
}

/// A checksum of UDP, behind ports that took the place of others (RFC 1624).
fn summed(sum: u16, old: [u16; 2], new: [u16; 2]) -> u16 {
    let less = [sum, old[0], old[1]].map(|number| u32::from(!number));
    let all: u32 = less.into_iter().chain(new.map(u32::from)).sum();
    let folded = (all & 0xffff) + (all >> 16);
    match !((folded & 0xffff) + (folded >> 16)) as u16 {
        // Zero says that there is none (RFC 768).
        0 => u16::MAX,
        sum => sum,
    }
}

/// What a network card would be told of it (`virtio_net_hdr`): a checksum is wanted, and segments of UDP.
fn super_packet(udp: usize, segment: usize) -> Vec<u8> {
    let headers = udp + 8;
    let flags_and_kind = [VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4];
    let numbers = [headers, segment - headers, udp, UDP_CHECKSUM].map(|number| (number as u16).to_ne_bytes());
    [&flags_and_kind[..], numbers.as_flattened()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flow_has_the_frame_that_it_would_have_had() {
        let macs = [2; 12];
        for family in Family::BOTH {
            let template = Template::new(&macs, family, Mix::plain(1 << 20));
            let mut written = template.first().to_vec();
            for flow in (0..1 << 20).step_by(997) {
                template.write(flow, &mut written);
                let addresses = [BLUE_A, BLUE_B].map(|party| party.on(family));
                let payload = Mix::plain(1).length.payload(template.udp + 8);
                assert_eq!(written, frame(&macs, addresses, flow, payload), "{family:?}, flow {flow}");
            }
        }
    }
}
