//! How long a new workload stays closed: it has its address, its link comes up, and it sends at once; until the
//! host hears the first packet.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::flood::Flood;
use enforcer_tests::host::HOST_IPV4;
use enforcer_tests::packet::from;
use enforcer_tests::{Daemon, Host, NetNs, Workload};

use crate::Thoroughness;
use crate::results::Results;

/// Workloads measured in each row.
const NEWCOMERS: usize = 250;
/// Between two packets of a workload.
const PAUSE: Duration = Duration::from_micros(100);
/// A workload may ask its host for names without any policy.
const DNS: u16 = 53;
/// Where packets go to and come from, unless said otherwise.
const MACS: [&str; 2] = ["02:00:00:00:00:02", "02:00:00:00:00:01"];

pub fn measure(thoroughness: Thoroughness, _: &mut Results) {
    println!("\nready: from a workload's link up, its address given, to its first packet at the host");
    println!("  {:<34} {:>9} {:>9} {:>9} {:>9}", "", "min", "p50", "p99", "max");
    for others in [0, 100] {
        row(thoroughness.of(NEWCOMERS), thoroughness.of(others));
    }
}

fn row(newcomers: usize, others: usize) {
    let host = Host::new("ready");
    let daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    let others: Vec<Workload> = (0..others).map(|number| other(&host, number)).collect();
    daemon.wait_ready(&others.iter().map(Workload::interface).collect::<Vec<_>>());
    let ears = host.netns().enter(|| UdpSocket::bind((HOST_IPV4, DNS))).expect("nobody else serves names");
    ears.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    let mut times: Vec<Duration> = (0..newcomers).map(|number| wait(&host, &ears, number)).collect();
    times.sort_unstable();
    let [min, p50, p99, max] =
        [0, times.len() / 2, times.len() * 99 / 100, times.len() - 1].map(|at| times[at].as_secs_f64() * 1e3);
    let name = format!("{newcomers} in turn, among {} others", others.len());
    println!("  {name:<34} {min:>6.2} ms {p50:>6.2} ms {p99:>6.2} ms {max:>6.2} ms");
}

fn other(host: &Host, number: usize) -> Workload {
    host.workload(&format!("other{number}")).at(&format!("10.2.0.{}/24", number + 1)).routed()
}

/// One workload's wait, from just before its link is set up.
fn wait(host: &Host, ears: &UdpSocket, number: usize) -> Duration {
    let address = Ipv4Addr::new(10, 1, (number >> 8) as u8, number as u8);
    let netns = NetNs::create(&format!("ready-{number}"));
    let interface = format!("veth-n{number}");
    let [outside, inside] = MACS;
    host.netns().ip(&format!(
        "link add {interface} address {outside} type veth peer name eth0 address {inside} netns {}\n\
         link set {interface} up\nroute add {address}/32 dev {interface}\n",
        netns.name()
    ));
    netns.ip(&format!("addr add {address}/32 dev eth0\n"));
    let frame = from(address).to(HOST_IPV4).udp(DNS).bytes();
    let start = Instant::now();
    let _flood = Flood::paced(&netns, "eth0", vec![frame], Some(PAUSE));
    loop {
        let (_, source) = ears.recv_from(&mut [0; 64]).expect("its packets reach the host");
        if source.ip() == address {
            break;
        }
    }
    let waited = start.elapsed();
    host.netns().ip(&format!("link del {interface}\n"));
    waited
}
