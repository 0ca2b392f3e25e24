//! Tables of one ABI version become those of another, while the programs of both run: no packet waits.
//!
//! ```text
//! maps-v3 ──▶ maps-v4-new ──rename──▶ maps-v4 ──▶ programs replaced link by link ──▶ maps-v3 goes
//! ```
//!
//! A table of the same layout is shared: it gets a second name, and both versions count, remember and judge
//! by it until the last link has changed. Only what says which policy decides is copied: the old programs
//! end their life under the policy that was in force, whatever is published for the new ones.
//!
//! A table that the other version does not know begins empty, and is left out on the way back. So does one of another
//! layout, or of a size that version 3 does not take: such tables only remember and count. Conversations are copied into a
//! table of the size that it takes: those of that moment.
//!
//! The same is done backwards for the version before, which cannot know ours.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::maps::MapInfo;
use aya_obj::{Object, generated::bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS};
use bytemuck::Zeroable;
use enforcer_common::{
    ABI_VERSION,
    control::{Control, ControlWord, Generation},
    limits::DENIED,
};

use super::{
    bank::BANKED,
    bpf::{self, MapShape},
    conversations,
    pins::{PinError, Pins},
    prefixes,
    sizes::TableKind,
    tables::{NAMES, boottime},
};

/// The oldest version whose tables can be taken over and given back.
const OLDEST: u32 = 3;

/// Why tables cannot be taken over, or given back.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// Too old, or newer than this.
    #[error(
        "the tables at {path} are of version {found}; this enforcer knows versions {OLDEST} to {ABI_VERSION}: {}",
        if *found < OLDEST {
            "an enforcer in between has to take them over first"
        } else {
            "use the version that made them, `enforcer upgrade --to` there prepares the way to this one"
        }
    )]
    Unknown {
        /// Where they are.
        path: PathBuf,
        /// Their version.
        found: u32,
    },
    /// There is nothing that could be given back.
    #[error("there are no tables of version {ABI_VERSION} to give back")]
    Nothing,
    /// What is carried over has no fallback.
    #[error(
        "generation {number} awaits confirmation for {seconds} s more: `enforcer confirm` it or `enforcer rollback` first, \
         with the enforcer of table layout {version}, or wait for its end: then the policy before it is carried over"
    )]
    Unconfirmed {
        /// Its number.
        number: u64,
        /// Whose tables it is in.
        version: u32,
        /// Until it ends by itself.
        seconds: u64,
    },
    /// A table could not be carried over.
    #[error("failed to {operation} table {name}")]
    Table {
        /// What was tried.
        operation: &'static str,
        /// On which table.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Needs more than a running daemon keeps.
    #[error(
        "the policy's tables can only be carried over with CAP_SYS_ADMIN: run `enforcer upgrade` as root, once"
    )]
    Privileges,
}

/// Takes over the tables of another version where ours are not there yet; returns which version's. The newest are the
/// true ones: what lies beside them is what the last interface that could not be attached to is left with.
pub fn upgrade(pins: &Pins, object: &Object) -> Result<Option<u32>, MigrateError> {
    finish_rename(pins)?;
    let versions = pins.versions()?;
    let found = match versions.last() {
        None | Some(&ABI_VERSION) => return Ok(None),
        Some(&found) => found,
    };
    if !(OLDEST..ABI_VERSION).contains(&found) {
        return Err(MigrateError::Unknown { path: pins.maps_of(found), found });
    }
    let staging = stage(pins, object, found, ABI_VERSION)?;
    rename(&staging, &pins.maps_of(ABI_VERSION))?;
    Ok(Some(found))
}

/// Every link runs our programs: what other versions left goes.
pub fn forget_others(pins: &Pins) -> Result<(), MigrateError> {
    for version in pins.versions()?.into_iter().filter(|version| *version != ABI_VERSION) {
        pins.remove_maps(version)?;
    }
    Ok(())
}

/// Makes tables of version `to` for its programs to take over. Ours run on until they are replaced.
pub fn downgrade(pins: &Pins, object: &Object, to: u32) -> Result<(), MigrateError> {
    finish_rename(pins)?;
    let newest = pins.versions()?.last().copied().unwrap_or_default();
    if newest < ABI_VERSION {
        return Err(MigrateError::Nothing);
    }
    let unknown = |found| MigrateError::Unknown { path: pins.maps_of(found), found };
    if newest > ABI_VERSION {
        return Err(unknown(newest));
    }
    if !(OLDEST..ABI_VERSION).contains(&to) {
        return Err(unknown(to));
    }
    let staging = stage(pins, object, ABI_VERSION, to)?;
    give_back(pins, &staging, to)
}

/// Puts staged tables of version `to` in the place of ours. In this order nobody ever finds tables of two versions, of
/// which one is stale: neither beside those that are given back, nor in their place.
fn give_back(pins: &Pins, staging: &Path, to: u32) -> Result<(), MigrateError> {
    forget_others(pins)?;
    let left = left(pins);
    rename(&pins.maps_of(ABI_VERSION), &left)?;
    rename(staging, &pins.maps_of(to))?;
    pins.remove_directory(&left)?;
    Ok(())
}

fn left(pins: &Pins) -> PathBuf {
    pins.directory().join(format!("maps-v{ABI_VERSION}-left"))
}

/// A downgrade that was interrupted half-way did not happen.
fn finish_rename(pins: &Pins) -> Result<(), MigrateError> {
    let (left, versions) = (left(pins), pins.versions()?);
    match (left.exists(), versions.is_empty()) {
        (true, true) => rename(&left, &pins.maps_of(ABI_VERSION)),
        (true, false) => Ok(pins.remove_directory(&left)?),
        (false, _) => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), MigrateError> {
    fs::rename(from, to).map_err(|source| table("rename", &from.display().to_string())(source))
}

/// Fills a directory with the tables of version `to`, from those of version `from`.
fn stage(pins: &Pins, object: &Object, from: u32, to: u32) -> Result<PathBuf, MigrateError> {
    let staging = pins.directory().join(format!("maps-v{to}-new"));
    if staging.exists() {
        pins.remove_directory(&staging)?;
    }
    fs::create_dir(&staging).map_err(table("make", "directory"))?;
    let mut copied = BTreeMap::new();
    for name in tables_of(to) {
        let (old, new) = (pins.maps_of(from).join(name), staging.join(name));
        if since(name) > from || is_remade(name) || has_another_size(name, &old, object)? {
            let made = create(object, name, to).map_err(table("create", name))?;
            bpf::pin(&made, &new).map_err(table("pin", name))?;
            if name == "STATE" {
                let sets = object.maps.get(name).map_or(1, aya_obj::Map::max_entries);
                conversations::carry(&pins.maps_of(from), &made, sets).map_err(table("carry over", name))?;
            }
            continue;
        }
        if !is_own(name) {
            fs::hard_link(&old, &new).map_err(table("share", name))?;
            continue;
        }
        let old = bpf::open_pin(&old).map_err(table("open", name))?;
        let made = create(object, name, to).map_err(table("create", name))?;
        bpf::pin(&made, &new).map_err(table("pin", name))?;
        copied.insert(name, (old, made));
    }
    carry(&copied, &pins.maps_of(from), from)?;
    Ok(staging)
}

/// Whether each version has a table for itself: what says which policy decides.
fn is_own(name: &str) -> bool {
    matches!(name, "CONTROL" | "GENERATIONS") || BANKED.contains(&name)
}

/// The tables that a version knows.
pub fn tables_of(version: u32) -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(move |name| since(name) <= version)
}

/// The version that a table came with.
fn since(name: &str) -> u32 {
    if matches!(name, "FLOWS4" | "FLOWS6" | "DENIED_SETS" | "PREFIXES") { 4 } else { OLDEST }
}

/// Whether version 4 has given a table another layout: flow records became shorter.
fn is_remade(name: &str) -> bool {
    matches!(name, "FLOWS" | "DENIED")
}

/// Value and entries of a table that is remade for version 3.
fn remade_for_v3(name: &str) -> (u32, u32) {
    (72, if name == "FLOWS" { 262_144 } else { DENIED })
}

/// Whether conversations or counters have another size than version 3 takes, which knew only the one of the object.
fn has_another_size(name: &str, old: &Path, object: &Object) -> Result<bool, MigrateError> {
    let Some(map) =
        object.maps.get(name).filter(|_| matches!(name, "STATE" | "NETWORK_COUNTERS" | "RULE_COUNTERS"))
    else {
        return Ok(false);
    };
    let info = MapInfo::from_pin(old).map_err(|error| table("open", name)(io::Error::other(error)))?;
    Ok(info.max_entries() != map.max_entries())
}

fn create(object: &Object, name: &str, version: u32) -> io::Result<OwnedFd> {
    let missing = || io::Error::other("it is not in the object");
    let map = object.maps.get(name).ok_or_else(missing)?;
    let mut shape = MapShape::of(map);
    if version < 4 && is_remade(name) {
        (shape.value, shape.entries) = remade_for_v3(name);
    }
    if shape.kind != BPF_MAP_TYPE_ARRAY_OF_MAPS as u32 {
        return bpf::create_map(name, shape, None);
    }
    let inner = map.inner().ok_or_else(missing)?;
    let template = bpf::create_map("template", MapShape::of(&inner), None)?;
    bpf::create_map(name, shape, Some(template.as_fd()))
}

type Copied = BTreeMap<&'static str, (OwnedFd, OwnedFd)>;

/// Carries over what decides, and nothing else: its record, its bank, its word. `from` is where the tables of the old
/// version are.
fn carry(tables: &Copied, from: &Path, version: u32) -> Result<(), MigrateError> {
    let (old_control, new_control) = &tables["CONTROL"];
    let mut control = Control::zeroed();
    bpf::read_entry(old_control, 0, bytemuck::bytes_of_mut(&mut control))
        .map_err(table("read", "CONTROL"))?;
    let (old_records, new_records) = &tables["GENERATIONS"];
    let recorded = |word: ControlWord| {
        let mut record = Generation::zeroed();
        let read = bpf::read_entry(old_records, word.slot(), bytemuck::bytes_of_mut(&mut record));
        read.map(|()| record).map_err(table("read", "GENERATIONS"))
    };
    control.active = deciding(control.active, &recorded(control.active)?, version, boottime())?;
    if control.active.generation() > 0 {
        let (mut record, slot) = (recorded(control.active)?, control.active.slot());
        let known = record.maps != Generation::default().maps;
        for (name, map) in BANKED.into_iter().zip(&mut record.maps) {
            let Some(outer) = tables.get(name) else {
                *map = 0;
                continue;
            };
            let id =
                carry_bank(name, outer, from, record.bank).map_err(|source| match source.raw_os_error() {
                    Some(libc::EPERM) => MigrateError::Privileges,
                    _ => table("carry over", name)(source),
                })?;
            *map = if known { id } else { 0 };
        }
        let record = Generation { fallback: ControlWord::default(), deadline: 0, ..record };
        bpf::write_entry(new_records, slot, bytemuck::bytes_of(&record))
            .map_err(table("write", "GENERATIONS"))?;
    }
    bpf::write_entry(new_control, 0, bytemuck::bytes_of(&control)).map_err(table("write", "CONTROL"))
}

/// What decides at `now`. A trial that is over has ended; one that is not ends by what it falls back to, which is not
/// carried over.
fn deciding(
    active: ControlWord,
    record: &Generation,
    version: u32,
    now: u64,
) -> Result<ControlWord, MigrateError> {
    if active.is_unconfirmed() && now < record.deadline {
        let seconds = (record.deadline - now).div_ceil(1_000_000_000);
        return Err(MigrateError::Unconfirmed { number: active.generation(), version, seconds });
    }
    Ok(record.in_force(active, now))
}

/// Returns the id of the inner table. Version 3 has prefixes in the kernel's kind of table only.
fn carry_bank(name: &str, (old, new): &(OwnedFd, OwnedFd), from: &Path, bank: u32) -> io::Result<u32> {
    match bpf::lookup(old, &bank)? {
        Some(id) => bpf::update(new, &bank, &bpf::map_by_id(id)?.as_raw_fd())?,
        None if name == TableKind::Kernel.prefixes() => {
            let ours = bpf::open_pin(&from.join(TableKind::Own.prefixes()))?;
            prefixes::convert(TableKind::Kernel, ours, new, bank)?;
        }
        None => return Err(io::ErrorKind::NotFound.into()),
    }
    Ok(bpf::lookup(new, &bank)?.unwrap_or_default())
}

fn table(operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> MigrateError + use<> {
    let name = name.to_owned();
    move |source| MigrateError::Table { operation, name, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::load;

    /// A pin directory with something in each of `directories`.
    fn pins(directories: &[&str]) -> (tempfile::TempDir, Pins) {
        let root = tempfile::tempdir().unwrap();
        for name in directories {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("CONTROL"), name).unwrap();
        }
        let pins = Pins::new(root.path().to_owned());
        (root, pins)
    }

    #[test]
    fn tables_given_back_take_the_place_of_stale_ones() {
        let (root, pins) = pins(&["maps-v3", "maps-v3-new", "maps-v4"]);
        give_back(&pins, &root.path().join("maps-v3-new"), 3).unwrap();
        assert_eq!(fs::read_to_string(pins.maps_of(3).join("CONTROL")).unwrap(), "maps-v3-new");
        assert_eq!(pins.ours(), [pins.maps_of(3)]);
    }

    #[test]
    fn an_interrupted_way_back_did_not_happen() {
        let (_root, pins) = pins(&["maps-v3-new", "maps-v4-left"]);
        finish_rename(&pins).unwrap();
        assert_eq!(fs::read_to_string(pins.map("CONTROL")).unwrap(), "maps-v4-left");
    }

    #[test]
    fn of_a_trial_only_its_end_is_carried_over() {
        let (word, fallback) = (ControlWord::new(5, 5), ControlWord::new(4, 4));
        let record = Generation { number: 5, fallback, deadline: 3_000_000_000, ..Generation::default() };
        assert_eq!(deciding(word, &record, 3, 1).unwrap(), word, "confirmed");
        assert_eq!(deciding(word.unconfirmed(), &record, 3, record.deadline).unwrap(), fallback);
        let nothing = Generation { fallback: ControlWord::default(), ..record };
        assert_eq!(deciding(word.unconfirmed(), &nothing, 3, u64::MAX).unwrap().generation(), 0);
        let error = deciding(word.unconfirmed(), &record, 3, 1_500_000_000).unwrap_err().to_string();
        assert!(error.starts_with("generation 5 awaits confirmation for 2 s more"), "{error}");
        assert!(error.contains("the enforcer of table layout 3"), "{error}");
    }

    #[test]
    fn tables_beside_newer_ones_are_stale() {
        let (_root, pins) = pins(&["maps-v4", "maps-v9"]);
        let object = load::object().unwrap();
        for outcome in [upgrade(&pins, &object).map(drop), downgrade(&pins, &object, 3)] {
            assert!(matches!(outcome, Err(MigrateError::Unknown { found: 9, .. })), "{outcome:?}");
        }
    }
}
