//! What the running kernel lacks, and the tests that want it.

use std::fs;
use std::process;
use std::sync::Mutex;

use enforcer::datapath::probe;
pub use enforcer_guest::feature::Feature;

use crate::command::transcript;
use crate::netns::NetNs;

/// Ends the test that wants this, because the kernel lacks it: every test has a process of its own.
///
/// Panics on a kernel that should have it: then something else is wrong. Of what a kernel may be built without, the
/// caller has tried; a virtual machine whose kernel has it calls that a failure nevertheless.
#[track_caller]
pub fn skip(feature: Feature) -> ! {
    leave_out(feature);
    process::exit(0)
}

/// Says, once, that the test leaves something out, because the kernel lacks this. Panics as [`skip`] does.
#[track_caller]
pub fn leave_out(feature: Feature) {
    static SAID: Mutex<Vec<Feature>> = Mutex::new(Vec::new());
    assert!(feature.is_optional() || may_lack(feature), "this kernel should have: {}", feature.name());
    let mut said = SAID.lock().expect("nobody panics with it");
    if !said.contains(&feature) {
        said.push(feature);
        println!("\n{}{}", enforcer_guest::SKIPPED, feature.name());
    }
}

/// Whether the running kernel is too old to be sure that it has this.
pub fn may_lack(feature: Feature) -> bool {
    feature.may_be_missing(&release()) == Some(true)
}

/// Major and minor number of the running kernel.
pub fn version() -> (u32, u32) {
    let release = release();
    let mut numbers = release.split(['.', '-', '+']).map(|number| number.parse().expect("a number"));
    (numbers.next().expect("a major one"), numbers.next().expect("a minor one"))
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Ends the test where there is no tcx.
pub fn require_tcx() {
    if !probe::tcx() {
        skip(Feature::Tcx);
    }
}

/// The kinds of devices that not every kernel is built with, and how one is made.
const DEVICES: [(Feature, &str); 11] = [
    (Feature::Vlan, "link base type vlan id 5"),
    (Feature::Ipip, "type ipip local 192.0.2.1 remote 192.0.2.2"),
    (Feature::Sit, "type sit local 192.0.2.1 remote 192.0.2.2"),
    (Feature::Gre, "type gre local 192.0.2.1 remote 192.0.2.2"),
    (Feature::Gre, "type gretap local 192.0.2.1 remote 192.0.2.2"),
    (Feature::Ip6Tunnel, "type ip6tnl local 2001:db8::1 remote 2001:db8::2"),
    (Feature::Ip6Gre, "type ip6gre local 2001:db8::1 remote 2001:db8::2"),
    (Feature::Geneve, "type geneve id 5 remote 192.0.2.2"),
    (Feature::Dummy, "type dummy"),
    (Feature::Ipvlan, "link base type ipvlan"),
    (Feature::Macvlan, "link base type macvlan"),
];

/// Ends the test where the kernel knows one of these kinds of devices not: each is made once.
#[track_caller]
pub fn require_devices(features: &[Feature]) {
    let netns = NetNs::create("kinds");
    netns.ip("link add base type veth peer name other\n");
    let wanted = DEVICES.iter().filter(|(feature, _)| features.contains(feature));
    let missing = wanted.filter(|(_, device)| !can_make(&netns, device)).map(|(feature, _)| *feature).next();
    // Nothing is tidied up when the process ends.
    drop(netns);
    if let Some(feature) = missing {
        skip(feature);
    }
}

/// Makes a device; whether the kernel knows its kind. Panics when it does not succeed for any other reason.
#[track_caller]
fn can_make(netns: &NetNs, device: &str) -> bool {
    let words: Vec<&str> = ["link", "add", "name", "kind"].into_iter().chain(device.split(' ')).collect();
    let made = netns.run("ip", &words);
    let said = transcript(&made);
    let is_unknown = said.contains("Unknown device type");
    assert!(made.status.success() || is_unknown, "{device}: {said}");
    if made.status.success() {
        netns.ip("link delete kind\n");
    }
    !is_unknown
}
