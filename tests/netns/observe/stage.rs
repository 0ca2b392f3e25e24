//! Where mixed traffic plays, and what of it arrives.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use enforcer_tests::beyond::{Beyond, UPLINK};
use enforcer_tests::capture::Capture;
use enforcer_tests::mark::{self, Mark};
use enforcer_tests::spoof::Injector;
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Host, NetNs, Workload, wait};

use super::script::{By, Scene};

/// Ports at which the host listens: one that workloads may ask, one that they may not.
pub const HOST_PORTS: [u16; 2] = [53, 9999];

/// Frames of each scene.
pub const TIMES: u8 = 20;

/// How long nothing arrives when everything has.
const SILENCE: Duration = Duration::from_millis(300);

/// What arrived: where, and which.
pub type Arrivals = BTreeSet<(&'static str, Mark)>;

/// Four workloads on a host, a router behind its uplink and somebody far away. Nobody answers anything, so that
/// what is sent does not depend on what arrives.
pub struct Stage {
    pub web: Workload,
    pub api: Workload,
    pub db: Workload,
    pub tool: Workload,
    beyond: Beyond,
    at_host: Vec<UdpSocket>,
    pub host: Host,
}

impl Stage {
    #[track_caller]
    pub fn build(name: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
        let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").bridged();
        let db = host.workload("db").at("10.3.0.5/24").at("2001:db8:3::5/64").routed();
        let tool = host.workload("tool").at("10.4.0.9/24").at("2001:db8:4::9/64").bridged();
        let beyond = Beyond::of(&host);
        for netns in [web.netns(), api.netns(), db.netns(), tool.netns(), &beyond.far] {
            hush(netns);
        }
        // One that NAT gives an address of the host, towards one other.
        let masquerade = "add table ip nat\n\
                          add chain ip nat post { type nat hook postrouting priority srcnat; }\n\
                          add rule ip nat post ip saddr 10.2.0.5 ip daddr 10.4.0.9 masquerade\n";
        host.netns().nft(masquerade);
        let at_host = host.netns().enter(|| {
            HOST_PORTS.map(|port| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("the port is free"))
        });
        for socket in &at_host {
            socket.set_nonblocking(true).expect("sockets can be nonblocking");
        }
        Self { web, api, db, tool, beyond, at_host: at_host.into(), host }
    }

    /// Plays the script from its first scene to its last, as often as is usual, and waits for what arrives.
    pub fn play(&self, script: &[Scene]) -> Arrivals {
        let places = self.places().map(|(place, netns)| (place, Capture::start(netns)));
        let senders = By::ALL.map(|by| self.sender(by));
        for number in 0..TIMES {
            for (index, scene) in script.iter().enumerate() {
                let (sender, macs) = &senders[scene.by as usize];
                let mut frame = scene.packet.bytes();
                frame[..12].copy_from_slice(&macs.concat());
                mark::put(Mark { index, number }, &mut frame);
                sender.send(&frame);
            }
        }
        let mut arrived = Arrivals::new();
        wait::until("nothing more arrives", Duration::from_secs(10), || {
            let before = arrived.len();
            let silent = wait::within(SILENCE, || {
                self.gather(&places, script, &mut arrived);
                (arrived.len() > before).then_some(())
            });
            silent.is_none().then_some(())
        });
        arrived
    }

    fn gather(&self, places: &[(&'static str, Capture)], script: &[Scene], arrived: &mut Arrivals) {
        for (place, capture) in places {
            let marks = capture.find(&[&mark::FILLER[..4]]);
            let marks = marks.iter().filter_map(|frame| mark::of(frame));
            // A sender sees what it sends itself.
            arrived.extend(
                marks.filter(|mark| script[mark.index].by.place() != *place).map(|mark| (*place, mark)),
            );
        }
        let mut payload = [0; 256];
        for socket in &self.at_host {
            while let Ok(length) = socket.recv(&mut payload) {
                arrived.extend(mark::of(&payload[..length]).map(|mark| ("host", mark)));
            }
        }
    }

    fn places(&self) -> [(&'static str, &NetNs); 5] {
        [
            ("web", self.web.netns()),
            ("api", self.api.netns()),
            ("db", self.db.netns()),
            ("tool", self.tool.netns()),
            ("far", &self.beyond.far),
        ]
    }

    /// Where frames are sent, and the MACs of the next hop and the sender.
    fn sender(&self, by: By) -> (Injector, [[u8; 6]; 2]) {
        let host = self.host.netns();
        let (netns, interface, next): (&NetNs, _, _) = match by {
            By::Web => (self.web.netns(), INSIDE, host.mac(self.web.interface())),
            By::Api => (self.api.netns(), INSIDE, host.mac("br-10.2.0")),
            By::Db => (self.db.netns(), INSIDE, host.mac(self.db.interface())),
            By::Far => (&self.beyond.far, "eth0", self.beyond.router.mac("far")),
            By::Router => (&self.beyond.router, "near", host.mac(UPLINK)),
        };
        (Injector::open(netns, interface), [next, netns.mac(interface)])
    }
}

/// Nobody there answers what it hears, but for neighbours; numbered streams are heard and not answered.
fn hush(netns: &NetNs) {
    netns.nft(
        "add table inet hush\n\
         add chain inet hush in { type filter hook input priority 0; policy drop; }\n\
         add rule inet hush in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n\
         add rule inet hush in udp dport >= 32768 accept\n",
    );
}
