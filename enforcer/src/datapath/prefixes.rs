//! A bank's longest-prefix table: a trie of our own, or the kernel's. Programs look into tables of one kind; where they
//! are replaced by some of the other, the other is made of what is there.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya::maps::{Array, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LPM_TRIE;
use enforcer_common::{
    address::Address,
    control::Generation,
    limits::{BANK_TABLES, BANKS},
    policy::Membership,
    prefix_trie::Line,
};

use super::{
    bank::{BANKED, NO_PREALLOC, array, inner_map, remove},
    bpf,
    install::inner_id,
    sizes::TableKind,
    tables::{TableError, Tables},
};
use crate::policy::{TableEntry, trie};

impl TableKind {
    /// The outer table of a bank's prefixes.
    pub(super) const fn prefixes(self) -> &'static str {
        match self {
            Self::Own => "PREFIXES",
            Self::Kernel => "MEMBERSHIPS",
        }
    }

    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Own => Self::Kernel,
            Self::Kernel => Self::Own,
        }
    }
}

fn is_of_prefixes(name: &str) -> bool {
    [TableKind::Own, TableKind::Kernel].iter().any(|kind| kind.prefixes() == name)
}

/// A table for a bank, filled and closed to writing. `since` is as [`trie::build`] takes it; the kernel's has none.
pub(super) fn make(kind: TableKind, table: &[TableEntry], since: &[u32]) -> io::Result<OwnedFd> {
    match kind {
        TableKind::Own => array(&trie::build(table, since)),
        TableKind::Kernel => {
            let keys: Vec<Key<Address>> =
                table.iter().map(|entry| Key::new(u32::from(entry.bits), entry.address)).collect();
            let memberships: Vec<Membership> = table.iter().map(|entry| entry.membership).collect();
            inner_map(BPF_MAP_TYPE_LPM_TRIE, NO_PREALLOC, keys.len(), &keys, &memberships)
        }
    }
}

/// What a bank's table holds.
fn read(kind: TableKind, map: OwnedFd) -> Result<Vec<TableEntry>, MapError> {
    let map = Map::from_map_data(MapData::from_fd(map)?)?;
    match kind {
        TableKind::Own => {
            let lines: Vec<Line> = Array::<_, Line>::try_from(map)?.iter().collect::<Result<_, _>>()?;
            Ok(trie::entries(&lines))
        }
        TableKind::Kernel => {
            let entries = LpmTrie::<_, Address, Membership>::try_from(map)?;
            let entries = entries.iter().map(|entry| {
                let (key, membership) = entry?;
                Ok(TableEntry { address: key.data(), bits: key.prefix_len() as u8, membership })
            });
            let mut table: Vec<TableEntry> = entries.collect::<Result<_, MapError>>()?;
            table.sort_by_key(TableEntry::key);
            Ok(table)
        }
    }
}

/// Puts a table of `kind` into `bank` of `to`, made of the one of the other kind in `from`. Needs `CAP_SYS_ADMIN`:
/// tables are found by their ids.
pub(super) fn convert(kind: TableKind, from: impl AsFd, to: impl AsFd, bank: u32) -> io::Result<()> {
    let mut id = 0_u32;
    bpf::read_entry(from, bank, bytemuck::bytes_of_mut(&mut id))?;
    let table = read(kind.other(), bpf::map_by_id(id)?).map_err(io::Error::other)?;
    bpf::update(to, &bank, &make(kind, &table, &[])?.as_raw_fd())
}

impl Tables {
    /// The banks with prefixes of a kind.
    fn banks_with(&self, kind: TableKind) -> Result<BTreeSet<u32>, TableError> {
        let mut banks = BTreeSet::new();
        for bank in 0..BANKS {
            if inner_id(self.prefixes(kind), kind.prefixes(), bank)?.is_some() {
                banks.insert(bank);
            }
        }
        Ok(banks)
    }

    /// The banks with prefixes, but not of `kind`.
    pub fn banks_without(&self, kind: TableKind) -> Result<BTreeSet<u32>, TableError> {
        Ok(&self.banks_with(kind.other())? - &self.banks_with(kind)?)
    }

    /// Makes prefixes of the kind that our programs look into, wherever they are only of the other. Returns whether any
    /// are of the other: then programs may run that look there, until [`Tables::forget_other_kind`].
    pub(super) fn complete_banks(&mut self) -> Result<bool, TableError> {
        let name = self.kind.prefixes();
        for bank in self.banks_without(self.kind)? {
            convert(self.kind, self.prefixes(self.kind.other()).fd(), self.prefixes(self.kind).fd(), bank)
                .map_err(|source| TableError::Io { operation: "make", name, source })?;
        }
        let others = self.banks_with(self.kind.other())?;
        let records = self.generations()?;
        for (slot, record) in (0..).zip(records).filter(|(_, record)| others.contains(&record.bank)) {
            let found = self.bank_maps(record.bank)?;
            let mut maps = record.maps;
            for at in (0..BANK_TABLES).filter(|at| is_of_prefixes(BANKED[*at])) {
                maps[at] = found[at];
            }
            // Who did not note which tables there were does not now either.
            let is_noted = record.number > 0 && record.maps != Generation::default().maps;
            if is_noted && maps != record.maps {
                self.write_generation(slot, Generation { maps, ..record })?;
            }
        }
        Ok(!others.is_empty())
    }

    /// No program runs any more that looks into prefixes of the other kind.
    pub fn forget_other_kind(&mut self) -> Result<(), TableError> {
        self.both = false;
        let other = self.kind.other();
        (0..BANKS).try_for_each(|bank| remove(self.prefixes(other), other.prefixes(), bank))
    }

    pub(super) const fn prefixes(&self, kind: TableKind) -> &MapData {
        match kind {
            TableKind::Own => &self.prefixes,
            TableKind::Kernel => &self.memberships,
        }
    }
}
