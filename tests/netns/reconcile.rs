//! What somebody else does to ours in the kernel is noticed, mended, and told; nobody is fought.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::MapData;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use enforcer::datapath::attach::{Mechanism, link_ifindex};
use enforcer::datapath::bpf::{detach_link, open_pin, update};
use enforcer::datapath::guard::Mode;
use enforcer::datapath::pins::Pins;
use enforcer::datapath::tables::Tables;
use enforcer_common::address::Address;
use enforcer_common::control::{ControlWord, Generation};
use enforcer_common::endpoint::{AddressOwner, Endpoint, EndpointId};
use enforcer_common::prefix_trie::Line;
use enforcer_tests::daemon::{DEFAULT_CONFIG, attaching_by};
use enforcer_tests::hooks::programs;
use enforcer_tests::kernel::require_tcx;
use enforcer_tests::traffic::{ECHO_PORT, tcp_soon};
use enforcer_tests::{Daemon, Workload, wait};
use serde_json::Value;

use crate::town::{POLICY, Town};

/// How long a repair may take: inspections are 200 ms apart, and the machine may be busy.
const BOUND: Duration = Duration::from_secs(3);
/// `BPF_F_INNER_MAP`, which the kernel demands of an array of another size in a bank.
const INNER_MAP: u32 = 1 << 12;

fn watched(name: &str, config: &str) -> Town {
    let town = Town::build_with(name, &format!("inspection = \"200ms\"\n{config}"));
    town.daemon.apply(POLICY);
    town
}

fn pins(daemon: &Daemon) -> Pins {
    Pins::new(daemon.bpffs())
}

fn tables(daemon: &Daemon) -> Tables {
    Tables::open_writable(&pins(daemon)).unwrap()
}

fn ifindex(town: &Town, workload: &Workload) -> u32 {
    town.host.netns().enter(|| nix::net::if_::if_nametoindex(workload.interface())).unwrap()
}

/// What the daemon says of its repairs: how many, and which was the last.
fn repairs(daemon: &Daemon) -> (u64, Option<String>) {
    let status = daemon.json(&["status"]);
    (status["repairs"].as_u64().unwrap(), status["last_repair"].as_str().map(str::to_owned))
}

/// Breaks something and waits until it is whole, counted and told as `what`.
#[track_caller]
fn mended(town: &Town, what: &str, break_it: impl FnOnce(), is_whole: impl Fn() -> bool) {
    let (before, _) = repairs(&town.daemon);
    break_it();
    let broken = Instant::now();
    wait::until(&format!("{what}: whole again"), BOUND, || is_whole().then_some(()));
    println!("{what}: whole again after {:?}", broken.elapsed());
    wait::until(&format!("{what}: told by status"), BOUND, || {
        (repairs(&town.daemon) == (before + 1, Some(what.to_owned()))).then_some(())
    });
    let told = format!("somebody else changed {what}; mended");
    assert!(town.daemon.log().contains(&told), "the log does not say: {told}");
    let text = town.daemon.cli(&["status"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains(&format!("the last one: {what}")));
    assert_governed(town);
}

#[track_caller]
fn assert_governed(town: &Town) {
    wait::until("web reaches api", BOUND, || tcp_soon(&town.web, town.api.ipv4(), ECHO_PORT).then_some(()));
    assert!(!tcp_soon(&town.web, town.db.ipv6(), ECHO_PORT), "web does not reach db");
}

/// Whether one program is on each tc hook of the interface.
fn is_attached(town: &Town, ifindex: u32) -> bool {
    programs(town.host.netns(), ifindex) == [1, 1]
}

#[test]
fn programs_come_back() {
    // Without links there is nothing to detach; `filters_come_back` is the same there.
    require_tcx();
    let town = watched("detach", DEFAULT_CONFIG);
    let web = ifindex(&town, &town.web);
    let pin = |program: &str| pins(&town.daemon).link(web, program);
    let detach = |program: &str| detach_link(open_pin(&pin(program)).unwrap()).unwrap();
    let whole = || is_attached(&town, web);
    mended(&town, "the programs of veth-web", || detach("from_endpoint"), whole);
    mended(&town, "the programs of veth-web", || detach("to_endpoint"), whole);
    mended(
        &town,
        "the programs of veth-web",
        || fs::remove_file(pin("from_endpoint")).unwrap(),
        || whole() && pin("from_endpoint").exists(),
    );
}

#[test]
fn filters_come_back() {
    let town = watched("filters", &attaching_by("clsact"));
    let tc = |arguments: &str| {
        let output = town.host.netns().run("tc", &arguments.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "tc {arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = || {
        ["ingress", "egress"]
            .map(|hook| tc(&format!("filter show dev veth-web {hook}")).matches("handle 0xe4f0").count())
            == [1, 1]
    };
    let delete = |hook: &str| drop(tc(&format!("filter del dev veth-web {hook} pref 1")));
    mended(&town, "the programs of veth-web", || delete("ingress"), whole);
    mended(&town, "the programs of veth-web", || delete("egress"), whole);
    mended(&town, "the programs of veth-web", || drop(tc("qdisc del dev veth-web clsact")), whole);
}

#[test]
fn facts_come_back() {
    let town = watched("facts", DEFAULT_CONFIG);
    let web = ifindex(&town, &town.web);
    let record = |found: &Tables| found.endpoints().unwrap().into_iter().collect::<Vec<_>>();
    let before = record(&tables(&town.daemon));
    let (_, good) = before.iter().find(|(ifindex, _)| *ifindex == web).copied().unwrap();
    let whole = || {
        let now: BTreeSet<_> = record(&tables(&town.daemon)).into_iter().map(|(index, _)| index).collect();
        let (_, found) =
            record(&tables(&town.daemon)).into_iter().find(|(index, _)| *index == web).unwrap_or_default();
        found == good && now.len() == before.len()
    };
    let forged = Endpoint { flags: 0, ..good };
    mended(
        &town,
        "the record of veth-web",
        || tables(&town.daemon).write_endpoint(web, &forged).unwrap(),
        whole,
    );
    mended(&town, "the record of veth-web", || tables(&town.daemon).remove_endpoint(web).unwrap(), whole);

    let addresses = || {
        let mut found = tables(&town.daemon).addresses().unwrap();
        found.sort_by_key(|(address, bits, _)| (*address, *bits));
        found
    };
    let before = addresses();
    let whole = || addresses() == before;
    let mine: Address = town.web.ipv4().into();
    let forged = AddressOwner { endpoint: EndpointId(4000), ifindex: 4_000_000, ..AddressOwner::default() };
    let write =
        |address, owner: &AddressOwner| tables(&town.daemon).write_address(address, 128, owner).unwrap();
    mended(&town, "the owner of 10.1.0.5", || write(mine, &forged), whole);
    mended(&town, "the owner of 10.1.0.5", || tables(&town.daemon).remove_address(mine, 128).unwrap(), whole);
    let nobodys: Address = "10.1.0.66".parse::<std::net::IpAddr>().unwrap().into();
    mended(&town, "the owner of 10.1.0.66", || write(nobodys, &forged), whole);
}

#[test]
fn the_control_word_and_its_record_come_back() {
    let town = watched("word", DEFAULT_CONFIG);
    let good = tables(&town.daemon).control().active;
    let record = tables(&town.daemon).generation().unwrap().unwrap();
    let whole = || tables(&town.daemon).control().active == good;
    for word in [ControlWord(0), ControlWord::new(99, good.slot() + 1), good.unconfirmed()] {
        let what = "the word that says which policy decides";
        mended(&town, what, || tables(&town.daemon).publish(word), whole);
    }
    let forged = Generation { bank: record.bank + 1, ..record };
    let overwrite = || tables(&town.daemon).write_generation(good.slot(), forged).unwrap();
    let whole = || tables(&town.daemon).generation().unwrap() == Some(record);
    mended(&town, "the record of a policy", overwrite, whole);
    assert_eq!(town.daemon.json(&["status"])["generation"], 1);
}

/// The trie of prefixes in the bank that decides.
fn prefixes(daemon: &Daemon) -> MapData {
    let record = tables(daemon).generation().unwrap().unwrap();
    let [.., prefixes] = record.maps;
    MapData::from_id(prefixes).unwrap()
}

#[test]
fn the_tables_of_a_policy_cannot_be_changed_and_come_back_when_replaced() {
    let own = DEFAULT_CONFIG.replace("[datapath]\n", "[datapath]\ntables = \"own\"\n");
    let town = watched("bank", &own);
    let refused = update(prefixes(&town.daemon).fd(), &0_u32, &Line::default()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "{refused}");

    let outer = MapData::from_pin(pins(&town.daemon).map("PREFIXES")).unwrap();
    let (key, value) = (size_of::<u32>() as u32, size_of::<Line>() as u32);
    let empty = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, value, 1, INNER_MAP);
    let empty = MapData::create(empty, "empty", None).unwrap();
    let bank = tables(&town.daemon).generation().unwrap().unwrap().bank;
    let replace = || update(outer.fd(), &bank, &empty.fd().as_fd().as_raw_fd()).unwrap();
    let whole = || tables(&town.daemon).generation().unwrap().unwrap().number == 2;
    mended(&town, "the tables of the policy", replace, whole);
    let generations = town.daemon.json(&["generations"]);
    let numbers: Vec<&Value> =
        generations.as_array().unwrap().iter().map(|kept| &kept["generation"]).collect();
    assert_eq!(numbers, [&Value::from(2)], "the same policy is in the history once");
}

#[test]
fn guards_come_back() {
    let town = watched("guards", "[guard]\nmatch = [\"veth-web\"]\n");
    let web = ifindex(&town, &town.web);
    let pin = || {
        let modes = [Mode::Native, Mode::Generic].map(|mode| pins(&town.daemon).guard(web, mode));
        modes.into_iter().find(|pin| pin.exists())
    };
    let whole = || pin().is_some_and(|pin| link_ifindex(&pin).is_ok_and(|ifindex| ifindex == web));
    wait::until("the guard runs", BOUND, || whole().then_some(()));
    let detach = || detach_link(open_pin(&pin().unwrap()).unwrap()).unwrap();
    mended(&town, "the guard of veth-web", detach, whole);
    mended(&town, "the guard of veth-web", || fs::remove_file(pin().unwrap()).unwrap(), whole);
}

#[test]
fn a_gate_that_somebody_flushed_comes_back() {
    let town = watched("gate", DEFAULT_CONFIG);
    let whole = || town.daemon.json(&["status"])["gate"]["state"] == "on";
    let flush = || {
        let output = town.host.netns().run("nft", &["flush", "ruleset"]);
        assert!(output.status.success(), "{output:?}");
    };
    mended(&town, "the gate", flush, whole);
}

#[test]
fn a_restart_repairs_nothing_that_is_whole() {
    let mut town = watched("whole", DEFAULT_CONFIG);
    town.daemon.restart();
    let started = Instant::now();
    wait::until("some inspections have passed", BOUND, || {
        (started.elapsed() > Duration::from_secs(1)).then_some(())
    });
    assert_eq!(repairs(&town.daemon), (0, None));
    assert_eq!(town.daemon.json(&["status"])["generation"], 1);
}

/// Takes the program off whenever it is there; returns how often it was.
fn detach_again_and_again(take_off: impl Fn() -> bool, stop: &AtomicBool) -> u32 {
    let mut detached = 0;
    while !stop.load(Ordering::Acquire) {
        detached += u32::from(take_off());
        thread::sleep(Duration::from_millis(20));
    }
    detached
}

#[test]
fn who_detaches_again_and_again_is_named_and_not_fought() {
    let town = watched("fight", DEFAULT_CONFIG);
    let web = ifindex(&town, &town.web);
    let pin = pins(&town.daemon).link(web, "from_endpoint");
    let host = town.host.netns();
    let take_off = || match Mechanism::best() {
        Mechanism::Tcx => open_pin(&pin).is_ok_and(|link| {
            link_ifindex(&pin).is_ok_and(|ifindex| ifindex != 0) && detach_link(link).is_ok()
        }),
        Mechanism::Clsact => {
            host.run("tc", &["filter", "del", "dev", "veth-web", "ingress", "pref", "1"]).status.success()
        }
    };
    let stop = AtomicBool::new(false);
    let detached = thread::scope(|scope| {
        let fighter = scope.spawn(|| detach_again_and_again(take_off, &stop));
        let found = wait::within(Duration::from_secs(6), || {
            let warnings = town.daemon.json(&["status"])["warnings"].to_string();
            warnings.contains("the programs of veth-web: mended").then_some(warnings)
        });
        let begun = Instant::now();
        // The fight goes on for a while, to see that it gets no hotter.
        wait::until("twenty more inspections", 2 * BOUND, || {
            (begun.elapsed() > Duration::from_secs(4)).then_some(())
        });
        stop.store(true, Ordering::Release);
        let warnings = found.expect("status does not name who is fought over");
        assert!(warnings.contains("somebody else keeps changing it"), "{warnings}");
        fighter.join().unwrap()
    });
    println!("attached again {detached} times");
    assert!((3..=16).contains(&detached), "attached {detached} times, in more than twenty inspections");
    wait::until("it comes back when the fight is over", Duration::from_secs(15), || {
        is_attached(&town, web).then_some(())
    });
}
