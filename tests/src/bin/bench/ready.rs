//! How long a new workload stays closed: it has its address, its link comes up, and it sends at once; until the
//! host hears the first packet.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::flood::Flood;
use enforcer_tests::host::HOST_IPV4;
use enforcer_tests::packet::from;
use enforcer_tests::{Daemon, Host, NetNs};

use crate::results::{Goal, Results, Row, Unit};
use crate::statistics::{Estimate, quantile};
use crate::{Thoroughness, crowd};

/// Workloads that are there before, and how programs are attached.
const ROWS: [(usize, Attach); 4] =
    [(0, Attach::Auto), (100, Attach::Auto), (1000, Attach::Auto), (1000, Attach::Clsact)];
/// Workloads measured in each row.
const NEWCOMERS: usize = 250;
/// The same of a quick run.
const FEW: usize = 2;
/// Between two packets of a workload.
const PAUSE: Duration = Duration::from_micros(100);
/// A workload may ask its host for names without any policy.
const DNS: u16 = 53;
/// Where packets go to and come from, unless said otherwise.
const MACS: [&str; 2] = ["02:00:00:00:00:02", "02:00:00:00:00:01"];

/// How programs are attached.
#[derive(Clone, Copy)]
enum Attach {
    /// By tcx, where the kernel has it: it holds the lock over all interfaces until no packet is on its way past the
    /// hook as it was, some ten milliseconds for each hook, and a link that comes up has to wait for that.
    Auto,
    /// As filters, for which nobody waits.
    Clsact,
}

impl Attach {
    const fn config(self) -> &'static str {
        match self {
            Self::Auto => "",
            Self::Clsact => "[datapath]\nattach = \"clsact\"\n",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "",
            Self::Clsact => ", attach = \"clsact\"",
        }
    }
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nready: from a workload's link up, its address given, to its first packet at the host");
    let newcomers = if thoroughness.is_full() { NEWCOMERS } else { FEW };
    let rows = ROWS.map(|(others, attach)| Standing::measure(newcomers, thoroughness.of(others), attach));
    for row in &rows {
        let name = format!("among {} others{}", row.others, row.attach.name());
        let waits = [&row.waits, &rows[0].waits].map(Vec::as_slice);
        results.waits(("ready", "a new workload"), &name, Unit::Milliseconds, waits, "the same alone");
    }
    let most = rows.iter().map(|row| row.others).max();
    let crowded: Vec<&Standing> = rows.iter().filter(|row| Some(row.others) == most).collect();
    for row in &crowded {
        row.report_crowd(crowded[0].crowd, results);
        let (others, attach) = (row.others, row.attach.name());
        let what =
            format!("a new workload among {others}{attach}: ms from its link to its first packet, 99 of 100");
        let measured = Estimate::of([quantile(&row.waits, 0.99)]);
        results.goals.push(Goal::at_most("ready", what, 5.0, measured));
    }
}

/// What was measured among so many others.
struct Standing {
    others: usize,
    attach: Attach,
    /// Milliseconds from the first of the others' links until all of them were ready.
    crowd: f64,
    /// Milliseconds that each newcomer waits.
    waits: Vec<f64>,
}

impl Standing {
    fn measure(newcomers: usize, others: usize, attach: Attach) -> Self {
        let host = Host::new("ready");
        let daemon = Daemon::start_with(&host, &format!("{ROOMY_CONFIG}{}", attach.config()));
        let start = Instant::now();
        let _others = crowd::arrive(&host, &daemon, "ready-others", others);
        let crowd = start.elapsed().as_secs_f64() * 1e3;
        let ears =
            host.netns().enter(|| UdpSocket::bind((HOST_IPV4, DNS))).expect("nobody else serves names");
        ears.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
        let waits = (0..newcomers).map(|number| wait(&host, &ears, number).as_secs_f64() * 1e3);
        Self { others, attach, crowd, waits: waits.collect() }
    }

    fn report_crowd(&self, by_default: f64, results: &mut Results) {
        let row = Row {
            part: "ready".into(),
            of: "very many workloads at once".to_owned(),
            what: format!("{}{}: from the first link until all are ready", self.others, self.attach.name()),
            unit: Unit::Milliseconds,
            value: Estimate::of([self.crowd]),
            times: Estimate::of([self.crowd / by_default]),
            of_what: "that by default".into(),
        };
        println!("    {row}");
        results.rows.push(row);
    }
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
