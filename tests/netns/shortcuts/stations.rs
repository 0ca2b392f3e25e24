//! A bridge that hears nothing of somebody forgets where he is, and floods what is for him: it hears enough of who takes
//! shortcuts.

use std::time::{Duration, Instant};

use enforcer_common::shortcut::Shortcut;
use enforcer_tests::command::transcript;
use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{Conversation, ECHO_PORT};
use enforcer_tests::{Workload, wait};
use serde_json::Value;

use crate::street::{Layout, QUESTIONS, Street};

const BRIDGE: &str = "br-10.2.0";

/// A street in which a bridge hears of its workloads only what they send each other; it forgets after so many seconds.
#[track_caller]
fn build(name: &str, ageing: u64) -> Street {
    // An inspection writes all shortcuts anew, after which a frame of each goes by the bridge.
    let config = format!("inspection = \"10m\"\n{DEFAULT_CONFIG}");
    let street = Street::build_with(name, Layout::Bridged, &config);
    street.on_host(&format!("ip link set {BRIDGE} type bridge ageing_time {}", ageing * 100));
    for (workload, other) in [(&street.asking, &street.answering), (&street.answering, &street.asking)] {
        let neighbour =
            format!("neigh replace {} lladdr {} nud permanent dev eth0\n", other.ipv4(), mac(other));
        workload.netns().ip(&neighbour);
        // Routers are asked for again and again, by way of the bridge (RFC 7559).
        workload.netns().sysctls(&[("net/ipv6/conf/eth0/accept_ra", "0")]);
    }
    street
}

fn mac(workload: &Workload) -> String {
    workload.netns().mac("eth0").map(|byte| format!("{byte:02x}")).join(":")
}

/// Seconds since the bridge heard of each of the two at its port; panics where it does not know one.
#[track_caller]
fn silences(street: &Street) -> [u64; 2] {
    let shown = street.host.netns().run("bridge", &["-s", "-j", "fdb", "show", "br", BRIDGE, "dynamic"]);
    let stations: Value = serde_json::from_slice(&shown.stdout).expect("bridge writes JSON");
    [&street.asking, &street.answering].map(|workload| {
        let mut stations = stations.as_array().expect("a list").iter();
        let station = stations
            .find(|station| station["mac"] == mac(workload) && station["ifname"] == workload.interface());
        let silence = station.and_then(|station| station["updated"].as_u64());
        silence.unwrap_or_else(|| panic!("{} is forgotten: {}", workload.name(), transcript(&shown)))
    })
}

/// Straight goes what is long between the few frames that it hears.
#[test]
fn a_bridge_does_not_forget_who_takes_shortcuts() {
    const LONG: u64 = 10;
    let street = build("fdb", Shortcut::LEAST_AGEING);
    street.wait_straight(Family::V4);
    let mut silent = [0; 2];
    wait::until("the bridge hears of both, after a long silence", Duration::from_mins(1), || {
        let frames = street.by_stack(Family::V4)?;
        let silences = silences(&street);
        // A daemon that a busy machine kept from looking around lets all of them go by the stack.
        if frames.iter().any(|frames| *frames >= QUESTIONS / 2) {
            silent = [0; 2];
            return None;
        }
        let is_known_again = |at: usize| {
            silent[at] = silences[at].max(silent[at]);
            silent[at] >= LONG && silences[at] < LONG / 2
        };
        ([0, 1].map(is_known_again) == [true; 2]).then_some(())
    });
}

/// By the bridge goes all that is between them.
#[test]
fn a_bridge_that_forgets_soon_hears_all_of_who_talk() {
    let ageing = wait::scaled(Duration::from_secs(2));
    let street = build("fdb-soon", ageing.as_secs());
    street.wait_by_stack(Family::V4);
    let mut conversation =
        Conversation::open(&street.asking, street.address(Family::V4), ECHO_PORT).expect("they talk");
    let begin = Instant::now();
    while begin.elapsed() < 4 * ageing {
        assert!(conversation.goes_on(), "TCP goes on");
        silences(&street);
    }
}
