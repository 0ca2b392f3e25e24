//! A bank's longest-prefix table: a trie of our own, or the kernel's. Programs look into tables of one kind; where they
//! are replaced by some of the other, the other is made of what is there.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya::maps::{Array, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LPM_TRIE;
use enforcer_common::{
    address::Address,
    control::Generation,
    limits::{BANKS, GENERATION_SLOTS},
    policy::Membership,
    prefix_trie::Line,
};

use super::{
    bank::{NO_PREALLOC, array, inner_map},
    bpf,
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

/// A table for a bank, filled and closed to writing. `since` is as [`trie::build`] takes it; the kernel's has none.
pub(super) fn make(kind: TableKind, table: &[TableEntry], since: &[u32]) -> io::Result<OwnedFd> {
    match kind {
        TableKind::Own => array(&trie::build(table, since)),
        TableKind::Kernel => {
            let keys: Vec<Key<Address>> =
                table.iter().map(|entry| Key::new(u32::from(entry.bits), entry.address)).collect();
            let memberships: Vec<Membership> = table.iter().map(|entry| entry.membership).collect();
            inner_map(BPF_MAP_TYPE_LPM_TRIE, NO_PREALLOC, &keys, &memberships)
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
    /// The banks with prefixes, but not of `kind`.
    pub fn banks_without(&self, kind: TableKind) -> Result<Vec<u32>, TableError> {
        let has = |kind: TableKind, bank: u32| -> Result<bool, TableError> {
            let (name, outer) = (kind.prefixes(), self.prefixes(kind));
            let id: Option<u32> = bpf::lookup(outer.fd(), &bank).map_err(|source| TableError::Io {
                operation: "look into",
                name,
                source,
            })?;
            Ok(id.is_some())
        };
        let mut lacking = Vec::new();
        for bank in 0..BANKS {
            if !has(kind, bank)? && has(kind.other(), bank)? {
                lacking.push(bank);
            }
        }
        Ok(lacking)
    }

    /// Makes prefixes of the kind that our programs look into, wherever they are only of the other. Returns whether there
    /// was anything to do.
    pub(super) fn complete_banks(&mut self) -> Result<bool, TableError> {
        let lacking = self.banks_without(self.kind)?;
        let name = self.kind.prefixes();
        for &bank in &lacking {
            convert(self.kind, self.prefixes(self.kind.other()).fd(), self.prefixes(self.kind).fd(), bank)
                .map_err(|source| TableError::Io { operation: "make", name, source })?;
            let maps = self.bank_maps(bank)?;
            let records = self.generations()?;
            for slot in (0..GENERATION_SLOTS).filter(|slot| records[*slot as usize].bank == bank) {
                let record = records[slot as usize];
                // Who did not note which tables there were does not now either.
                if record.number > 0 && record.maps != Generation::default().maps {
                    self.write_generation(slot, Generation { maps, ..record })?;
                }
            }
        }
        Ok(!lacking.is_empty())
    }

    pub(super) const fn prefixes(&self, kind: TableKind) -> &MapData {
        match kind {
            TableKind::Own => &self.prefixes,
            TableKind::Kernel => &self.memberships,
        }
    }
}
