//! What `status` says that the tables take is what the kernel says of each of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsRawFd;

use aya::maps::{MapInfo, MapType};
use aya::programs::loaded_programs;
use enforcer::datapath::bpf;
use enforcer::datapath::pins::Pins;
use enforcer_common::limits::BANKS;
use enforcer_tests::Daemon;

use crate::pair::Pair;

/// Of a hundred: tables of which only programs know are small.
const UNTOLD: u64 = 2;

/// The maps that the daemon's programs have, those in maps of maps included: whatever a table is called, and whether or
/// not it is pinned.
fn maps_of(daemon: &Daemon) -> BTreeSet<u32> {
    let control = MapInfo::from_pin(Pins::new(daemon.bpffs()).map("CONTROL")).expect("it is pinned").id();
    let of_programs = loaded_programs().flatten().filter_map(|program| program.map_ids().ok()?);
    let mut maps: BTreeSet<_> = of_programs.filter(|maps| maps.contains(&control)).flatten().collect();
    let outer = maps.iter().filter(|id| {
        let info = MapInfo::from_id(**id).expect("a program has it");
        info.map_type().is_ok_and(|kind| kind == MapType::ArrayOfMaps)
    });
    let inner: Vec<_> = outer
        .flat_map(|outer| {
            let outer = bpf::map_by_id(*outer).expect("a program has it");
            (0..BANKS).filter_map(move |bank| bpf::lookup::<u32, u32>(&outer, &bank).expect("it is an array"))
        })
        .collect();
    maps.extend(inner);
    maps
}

fn bytes_of(map: u32) -> u64 {
    let map = bpf::map_by_id(map).expect("somebody has it");
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).expect("it is open");
    let line = told.lines().find_map(|line| line.strip_prefix("memlock:")).expect("the kernel tells");
    line.trim().parse().expect("a number")
}

/// Of root, who may open what the daemon may not any more: the tables of a policy.
#[test]
fn status_tells_of_all_memory_that_the_tables_take() {
    let pair = Pair::build("memory");
    pair.daemon.apply(&networks(10_000));
    let told = pair.daemon.json(&["status"])["memory"].clone();
    let bytes = told.as_object().expect("bytes by what they are for").values();
    let sum: u64 = bytes.map(|bytes| bytes.as_u64().expect("a number")).sum();
    let held: u64 = maps_of(&pair.daemon).into_iter().map(bytes_of).sum();
    assert!(sum <= held && held - sum <= held * UNTOLD / 100, "{sum} bytes of {held} are told: {told}");
    assert!(told["policies"].as_u64() > Some(held * UNTOLD / 100), "and a policy is no small part: {told}");
}

/// A policy that takes much.
fn networks(count: usize) -> String {
    (0..count).fold("version = 1\n".to_owned(), |mut policy, number| {
        let (high, low) = (number >> 8, number & 255);
        write!(policy, "[network.n{number}]\nprefixes = [\"10.{high}.{low}.0/24\"]\n").unwrap();
        policy
    })
}
