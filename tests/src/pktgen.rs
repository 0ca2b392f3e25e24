//! The kernel's own generator of packets, in a namespace: datagrams as fast as a thread of the kernel can.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use crate::kernel::{self, Feature};
use crate::netns::NetNs;

/// Where a namespace orders it.
const ORDERS: &str = "/proc/thread-self/net/pktgen";
/// The thread of the first CPU.
const THREAD: &str = "kpktgend_0";

/// Datagrams of one sender to one receiver.
#[derive(Clone, Debug)]
pub struct Datagrams {
    /// The addresses of both.
    pub addresses: [IpAddr; 2],
    /// Where they come from, one port after the other.
    pub from_ports: Range<u16>,
    /// Where they go.
    pub to_port: u16,
    /// The MAC of the next hop.
    pub next_hop: [u8; 6],
    /// How many.
    pub count: u32,
}

/// Ends the test where the kernel has no such generator.
#[track_caller]
pub fn require() {
    let netns = NetNs::create("pktgen");
    let is_there = netns.enter(|| Path::new(ORDERS).join(THREAD).exists());
    // Nothing is tidied up when the process ends.
    drop(netns);
    if !is_there {
        kernel::skip(Feature::Pktgen);
    }
}

/// Sends all of them from an interface of a namespace; how many it has sent.
#[track_caller]
pub fn send(netns: &NetNs, interface: &str, datagrams: &Datagrams) -> u64 {
    let sent = netns.enter(|| {
        let order = |whom: &str, orders: &[String]| {
            orders.iter().try_for_each(|order| {
                // It reads up to the end of the line, whatever the length that it is told.
                let given = fs::write(Path::new(ORDERS).join(whom), format!("{order}\n"));
                given.map_err(|error| io::Error::new(error.kind(), format!("{order}: {error}")))
            })
        };
        order(THREAD, &["rem_device_all".to_owned(), format!("add_device {interface}")])?;
        order(interface, &datagrams.orders())?;
        // Returns when everything is sent.
        order("pgctrl", &["start".to_owned()])?;
        fs::read_to_string(Path::new(ORDERS).join(interface))
    });
    let report = sent.unwrap_or_else(|error: io::Error| panic!("pktgen at {interface}: {error}"));
    let sent = number_behind(&report, "pkts-sofar:").zip(number_behind(&report, "errors:"));
    match sent {
        // What the interface refused counts as an error of its own, and is sent nevertheless by older kernels.
        Some((sent, errors)) if report.contains("Result: OK") => sent + errors,
        _ => panic!("pktgen at {interface}:\n{report}"),
    }
}

impl Datagrams {
    fn orders(&self) -> Vec<String> {
        let Self { addresses: [from, to], from_ports, to_port, next_hop, count } = self;
        let mac = next_hop.map(|byte| format!("{byte:02x}")).join(":");
        let addresses = match from {
            IpAddr::V4(_) => [format!("src_min {from}"), format!("src_max {from}"), format!("dst {to}")],
            IpAddr::V6(_) => [format!("src6 {from}"), format!("dst6 {to}"), "flag IPV6".to_owned()],
        };
        let ports = [
            format!("udp_src_min {}", from_ports.start),
            format!("udp_src_max {}", from_ports.end),
            format!("udp_dst_min {to_port}"),
            format!("udp_dst_max {to_port}"),
        ];
        let others = [
            format!("count {count}"),
            "clone_skb 0".to_owned(),
            "pkt_size 100".to_owned(),
            "delay 0".to_owned(),
            format!("dst_mac {mac}"),
            // Without one no receiver takes a datagram of IPv6.
            "flag UDPCSUM".to_owned(),
            // A packet is its receiver's alone, who may panic otherwise; older kernels know no such flag, and say so.
            "flag !SHARED".to_owned(),
        ];
        addresses.into_iter().chain(ports).chain(others).collect()
    }
}

/// The number that follows these words.
fn number_behind(report: &str, words: &str) -> Option<u64> {
    let (_, rest) = report.split_once(words)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_numbers() {
        let report =
            "Current:\n     pkts-sofar: 1000  errors: 2\nResult: OK: 12(c1+d2) usec, 1000 (60byte,0frags)\n";
        assert_eq!(number_behind(report, "pkts-sofar:"), Some(1000));
        assert_eq!(number_behind(report, "errors:"), Some(2));
        assert_eq!(number_behind(report, "lost:"), None);
    }
}
