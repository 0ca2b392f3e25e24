//! Who listens at an interface of the host (`tcpdump`) hears all that would pass there, also what goes straight while
//! nobody listens.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use enforcer_tests::capture::Capture;
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{Conversation, ECHO_PORT};
use enforcer_tests::{NetNs, wait};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socket};
use rstest::rstest;
use serde_json::Value;

use crate::street::{Layout, PATIENCE, QUESTIONS, Street};

/// Several looks of the daemon.
const LOOKS: Duration = Duration::from_secs(2);

/// The host side of the one who is asked, and the bridge that it hangs on.
const PORT: &str = "veth-answering";
const BRIDGE: &str = "br-10.2.0";

/// A street whose packets go straight.
struct Lane(Street);

impl Lane {
    #[track_caller]
    fn build(name: &str, layout: Layout) -> Self {
        let lane = Self(Street::build(name, layout));
        // As `tcpdump` has it, so that the bridge hears what it only bridges.
        lane.host().ip(&format!("link set {BRIDGE} promisc on\n"));
        lane.wait_straight();
        lane
    }

    fn host(&self) -> &NetNs {
        self.0.host.netns()
    }

    #[track_caller]
    fn wait_straight(&self) {
        self.0.wait_straight(Family::V4);
    }

    #[track_caller]
    fn wait_told(&self, what: &str) {
        wait::until("`status` tells who listens", PATIENCE, || {
            let shown = String::from_utf8(self.0.daemon.cli(&["status"]).stdout).unwrap();
            shown.contains(what).then_some(())
        });
    }

    #[track_caller]
    fn converse(&self) -> Conversation {
        Conversation::open(&self.0.asking, self.0.answering.ipv4(), ECHO_PORT).expect("they talk")
    }

    /// What a packet to the one who is asked has in its header.
    fn addresses(&self) -> Vec<u8> {
        match (self.0.asking.ipv4(), self.0.answering.ipv4()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
            _ => unreachable!("both are of IPv4"),
        }
    }

    /// What is in anybody's way, if something is.
    fn barriers(&self) -> Option<Value> {
        let fastpath = self.0.fastpath();
        let is_empty = |list: &str| fastpath[list].as_array().is_some_and(Vec::is_empty);
        let is_free = is_empty("barriers") && is_empty("barred");
        (!is_free).then_some(fastpath)
    }
}

/// A packet socket at one interface.
struct Tap(OwnedFd);

impl Tap {
    #[track_caller]
    fn open(netns: &NetNs, interface: &str, protocol: libc::c_int) -> Self {
        let opened = netns.enter(|| {
            let tap = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            bind(&tap, if_nametoindex(interface)?, protocol)?;
            Ok::<_, io::Error>(Self(tap))
        });
        opened.unwrap_or_else(|error| panic!("failed to listen at {interface}: {error}"))
    }

    /// How many of the frames since the last time have this sequence in them.
    fn heard(&self, sequence: &[u8]) -> usize {
        let mut buffer = [0; 256];
        let mut heard = 0;
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            let is_in = buffer[..length].windows(sequence.len()).any(|window| window == sequence);
            heard += usize::from(is_in);
        }
        heard
    }
}

fn bind(tap: &OwnedFd, ifindex: u32, protocol: libc::c_int) -> io::Result<()> {
    // SAFETY: all of `sockaddr_ll` is plain numbers, for which zero is a value.
    let mut link: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_protocol = (protocol as u16).to_be();
    link.sll_ifindex = ifindex as libc::c_int;
    let (address, length) = ((&raw const link).cast(), size_of_val(&link) as libc::socklen_t);
    // SAFETY: the address is live and as long as is said.
    let bound = unsafe { libc::bind(tap.as_raw_fd(), address, length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[rstest]
#[case::at_a_routers_port(Layout::Routed, PORT, "its interface")]
#[case::at_a_routers_bridge(Layout::Routed, BRIDGE, "its bridge")]
#[case::at_a_bridges_port(Layout::Bridged, PORT, "its interface")]
#[case::at_a_bridge(Layout::Bridged, BRIDGE, "its bridge")]
fn who_listens_on_the_way_hears_the_running_conversation(
    #[case] layout: Layout,
    #[case] interface: &str,
    #[case] place: &str,
) {
    let lane = Lane::build("tap", layout);
    let (mut conversation, addresses) = (lane.converse(), lane.addresses());
    let tap = Tap::open(lane.host(), interface, libc::ETH_P_ALL);
    lane.wait_told(&format!("{PORT} not: somebody listens at {place} (packet socket)"));
    tap.heard(&addresses);
    assert!((0..QUESTIONS).all(|_| conversation.goes_on()), "TCP goes on by the stack");
    let heard = tap.heard(&addresses);
    assert!(heard >= QUESTIONS as usize, "each line is heard: {heard}");
    drop(tap);
    lane.wait_straight();
    assert!(conversation.goes_on(), "and straight again");
}

#[test]
fn who_listens_everywhere_hears_each_packet_at_each_interface() {
    let lane = Lane::build("tap-any", Layout::Routed);
    let (mut conversation, addresses) = (lane.converse(), lane.addresses());
    let capture = Capture::start(lane.host());
    lane.wait_told("not: somebody listens at all interfaces (packet socket)");
    capture.find(&[&addresses]);
    assert!((0..QUESTIONS).all(|_| conversation.goes_on()), "TCP goes on by the stack");
    let heard = capture.find(&[&addresses]).len();
    assert!(heard >= 3 * QUESTIONS as usize, "it comes in, goes to the bridge, and out by its port: {heard}");
    drop(capture);
    lane.wait_straight();
    assert!(conversation.goes_on(), "and straight again");
}

/// DHCP clients, LLDP daemons and whoever only sends have their sockets for life.
#[test]
fn who_does_not_listen_to_everything_or_elsewhere_is_in_nobodys_way() {
    let lane = Lane::build("tap-other", Layout::Routed);
    let others = [
        (PORT, libc::ETH_P_IP),
        (BRIDGE, libc::ETH_P_IPV6),
        (PORT, libc::ETH_P_LLDP),
        (PORT, 0),
        ("lo", libc::ETH_P_ALL),
    ];
    let _others = others.map(|(interface, protocol)| Tap::open(lane.host(), interface, protocol));
    let barriers = wait::within(LOOKS, || lane.barriers());
    assert!(barriers.is_none(), "{barriers:?}");
    lane.wait_straight();
}
