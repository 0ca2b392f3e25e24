//! A workload that a network takes in and lets go, and somebody who sends it packets all the while.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::flood::Flood;
use enforcer_tests::packet::{BLUE_A, Family, Party, from};
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Daemon, Host, Workload};
use ipnet::IpNet;

use super::order::Order;

/// Of no network, until it is told.
const TAKEN: Party =
    Party { v4: Ipv4Addr::new(10, 99, 0, 7), v6: Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 7) };
/// Between two packets.
const PAUSE: Duration = Duration::from_micros(50);
const PORT: u16 = 9_000;
/// A packet arrives within this, or nothing was changed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing arrived for so long: what was forbidden is.
const SILENCE: Duration = Duration::from_millis(20);

/// A host with both, and its daemon. What comes first goes first.
pub struct Scene<'a> {
    taken: IpAddr,
    _packets: Flood,
    arrivals: Receiver<Instant>,
    order: Order<'a>,
    pub daemon: Daemon,
    _workloads: [Workload; 2],
    pub host: Host,
}

impl<'a> Scene<'a> {
    /// With other networks: those before a change, and those after it.
    pub fn new(family: Family, others: [&'a str; 2]) -> Self {
        let host = Host::new("update");
        let [from_whom, taken] = [BLUE_A, TAKEN].map(|party| party.on(family));
        let hang = |name, address| host.workload(name).at(&alone(address)).routed();
        let (sender, receiver) = (hang("a", from_whom), hang("b", taken));
        let daemon = Daemon::start_with(&host, ROOMY_CONFIG);
        daemon.wait_ready(&[sender.interface(), receiver.interface()]);
        let order = Order::new(&daemon, others);
        order.give(None);
        let arrivals = listen(&receiver, taken);
        let mut frame = from(from_whom).to(taken).udp(PORT).bytes();
        let macs = [host.netns().mac(sender.interface()), sender.netns().mac(INSIDE)].concat();
        frame[..macs.len()].copy_from_slice(&macs);
        let packets = Flood::paced(sender.netns(), INSIDE, vec![frame], Some(PAUSE));
        Self { taken, _packets: packets, arrivals, order, daemon, _workloads: [sender, receiver], host }
    }

    /// Milliseconds that each of so many changes took, from the order to the first packet that passes for it.
    pub fn changes(&self, count: usize) -> Vec<f64> {
        std::iter::repeat_with(|| self.change().as_secs_f64() * 1e3).take(count).collect()
    }

    fn change(&self) -> Duration {
        while self.arrivals.recv_timeout(SILENCE).is_ok() {}
        let start = Instant::now();
        self.order.give(Some(self.taken));
        let first = self.arrivals.recv_timeout(PATIENCE).expect("what is allowed arrives");
        self.order.give(None);
        first - start
    }
}

/// An address as the only one of its subnet.
pub fn alone(address: IpAddr) -> String {
    IpNet::from(address).to_string()
}

/// When each packet arrived.
fn listen(workload: &Workload, address: IpAddr) -> Receiver<Instant> {
    let socket = workload.netns().enter(|| UdpSocket::bind((address, PORT))).expect("nobody else is there");
    let (tell, arrivals): (Sender<Instant>, _) = channel();
    // It ends with whoever is told.
    thread::spawn(
        move || while socket.recv_from(&mut [0; 64]).is_ok() && tell.send(Instant::now()).is_ok() {},
    );
    arrivals
}
