//! An enforcer of another version: its very programs, as they were compiled then.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
use enforcer::datapath::load::DEFAULT_MARK_MASK;
use enforcer::datapath::migrate::tables_of;
use enforcer::datapath::pins::Pins;

/// The layout version of the [`OBJECT`].
pub const VERSION: u32 = 3;

/// The datapath of version 3, stripped of debug information. Never to be built again: this is what runs on
/// hosts.
const OBJECT: &[u8] = include_bytes!("../fixtures/abi-3.o.gz");

/// What a daemon of version 3 does first: takes over the tables of its layout and replaces the programs on all
/// links.
///
/// Returns the ids of its programs.
#[track_caller]
pub fn take_over(bpffs: &Path) -> Vec<u32> {
    let pins = Pins::new(bpffs.to_owned());
    let mut programs = load(&pins.maps_of(VERSION));
    for (_, name, path) in pins.list_links().expect("the links are listed") {
        replace(&mut programs, &name, &path);
    }
    let programs = programs.programs().filter_map(|(_, program)| Some(program.info().ok()?.id()));
    programs.collect()
}

fn load(maps: &Path) -> Ebpf {
    let mut loader = EbpfLoader::new();
    for name in tables_of(VERSION) {
        let pin: PathBuf = maps.join(name);
        assert!(pin.exists(), "the tables of version {VERSION} lack {name}");
        loader.map_pin_path(name, pin);
    }
    let (mask, coarse_clock, log_level) = (DEFAULT_MARK_MASK, 1_u32, 0_u8);
    loader
        .override_global("MARK_MASK", &mask, true)
        .override_global("COARSE_CLOCK", &coarse_clock, true)
        .override_global("AYA_LOG_LEVEL", &log_level, true);
    let object = unpacked();
    assert_layouts(maps, &object);
    let mut ebpf = loader.load(&object).expect("the kernel takes the tables of version 3 for its object");
    for name in ["from_endpoint", "to_endpoint"] {
        let program = classifier(&mut ebpf, name);
        program.load().unwrap_or_else(|error| panic!("{name} of version {VERSION} loads: {error}"));
    }
    guard(&mut ebpf).load().expect("the guard of version 3 loads");
    ebpf
}

fn unpacked() -> Vec<u8> {
    let mut object = Vec::new();
    flate2::read::GzDecoder::new(OBJECT).read_to_end(&mut object).expect("the fixture unpacks");
    object
}

/// It takes no table of another size.
fn assert_layouts(maps: &Path, object: &[u8]) {
    let object = Object::parse(object).expect("the fixture is an object");
    for name in tables_of(VERSION) {
        let found =
            MapInfo::from_pin(maps.join(name)).unwrap_or_else(|error| panic!("{name} opens: {error}"));
        let wanted = &object.maps[name];
        assert_eq!(
            (found.key_size(), found.value_size(), found.max_entries(), found.map_flags()),
            (wanted.key_size(), wanted.value_size(), wanted.max_entries(), wanted.map_flags()),
            "version {VERSION} refuses {name}"
        );
    }
}

fn replace(programs: &mut Ebpf, name: &str, pin: &Path) {
    let link = PinnedLink::from_pin(pin).unwrap_or_else(|error| panic!("{name} opens: {error}"));
    let link = FdLink::from(link);
    let replaced = if name.starts_with("xdp_guard") {
        let program = guard(programs);
        let link = link.try_into().expect("it is an XDP link");
        program.attach_to_link(link).and_then(|id| program.take_link(id)).map(drop)
    } else {
        let program = classifier(programs, name);
        let link = link.try_into().expect("it is a tcx link");
        program.attach_to_link(link).and_then(|id| program.take_link(id)).map(drop)
    };
    replaced.unwrap_or_else(|error| panic!("{name} is replaced: {error}"));
    assert!(fs::exists(pin).expect("the pins can be read"), "the pin stays");
}

fn classifier<'e>(programs: &'e mut Ebpf, name: &str) -> &'e mut SchedClassifier {
    let program = programs.program_mut(name).unwrap_or_else(|| panic!("{name} is in the fixture"));
    program.try_into().expect("it is a classifier")
}

fn guard(programs: &mut Ebpf) -> &mut Xdp {
    programs.program_mut("xdp_guard").expect("the guard is in the fixture").try_into().expect("it is XDP")
}
