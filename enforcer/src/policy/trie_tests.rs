//! The trie answers as the table that it was made of, and so does the table that is made of it.

use enforcer_common::{prefix_trie::MAX_STEPS, since::BUCKETS};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::policy::tables::Tables;

fn entry(start: u128, bits: u8, set: u32) -> TableEntry {
    let block = Block { start, bits }.trimmed();
    let address = IpAddr::from(Ipv6Addr::from_bits(block.start)).into();
    TableEntry { address, bits, membership: Membership { set, ..Membership::default() } }
}

/// As a compiler would have sorted them; of one prefix the last counts.
fn table(entries: impl IntoIterator<Item = TableEntry>) -> Vec<TableEntry> {
    let key = |entry: &TableEntry| (number(entry.address.into()), entry.bits);
    let sorted: BTreeMap<_, _> = entries.into_iter().map(|entry| (key(&entry), entry)).collect();
    sorted.into_values().collect()
}

fn answer(lines: &[Line], address: IpAddr) -> Membership {
    let mut walk = Walk::default();
    walk.start(address.into(), &lines[0]);
    let line = walk.finish(|line| lines.get(line as usize));
    let reader = Reader { lines, leaves: BTreeMap::new() };
    reader.entry(ALL_V6, Node::leaf(line)).membership
}

/// Around each end of each entry, where answers change.
fn interesting(table: &[TableEntry]) -> impl Iterator<Item = IpAddr> {
    table.iter().flat_map(|entry| {
        let start = number(entry.address.into());
        let end = start | u128::MAX.checked_shr(u32::from(entry.bits)).unwrap_or(0);
        let ends = [start, start.wrapping_sub(1), end, end.wrapping_add(1), start ^ ((start ^ end) / 3)];
        ends.map(|address| IpAddr::from(Ipv6Addr::from_bits(address)).to_canonical())
    })
}

#[track_caller]
fn assert_same(table: Vec<TableEntry>, others: &[u128]) {
    let lines = build(&table, &[]);
    let expected = Tables { prefixes: table, ..Tables::default() };
    let again = Tables { prefixes: entries(&lines), ..Tables::default() };
    let others = others.iter().map(|address| IpAddr::from(Ipv6Addr::from_bits(*address)).to_canonical());
    for address in interesting(&expected.prefixes).chain(others) {
        let membership = expected.membership(address);
        assert_eq!(answer(&lines, address), membership, "{address} in the trie of {:?}", expected.prefixes);
        assert_eq!(
            again.membership(address),
            membership,
            "{address} in the table of the trie of {:?}",
            expected.prefixes
        );
    }
}

#[test]
fn no_prefixes_make_a_trie_that_knows_nobody() {
    assert_eq!(build(&[], &[]), [Line::default()]);
    assert_same(Vec::new(), &[0, 1, 0xffff << 32, u128::MAX]);
    assert_eq!(entries(&[]), []);
}

#[test]
fn what_lies_around_ipv4_is_around_its_members_too() {
    for bits in [0, 1, 64, 80, 90, 95] {
        let around = entry(0xffff << 32, bits, 1);
        assert_same(table([around]), &[0xffff_0a01_0203]);
        let beside = (0..6).map(|at| entry(0xfffe << 32 | at << 8, 120, 7 + at as u32));
        assert_same(
            table(beside.chain([around, entry(0xffff_0a01_0000, 112, 2)])),
            &[0xffff_0a01_0203, 0xffff_0a02_0203],
        );
    }
}

/// The deepest: each bit of an address with a prefix of its own.
#[test]
fn a_walk_is_as_long_as_its_bound_says() {
    let deep = (1..=128).map(|bits| entry(0x2001_0db8 << 96 | 0x5555_5555, bits, u32::from(bits)));
    let wide = (1..=128)
        .map(|bits| entry(0x2001_0db8 << 96 | 0x5555_5555 ^ 1 << (128 - bits), bits as u8, 500 + bits));
    let v4 = (96..=128).map(|bits| entry(0xffff_0a55_5555, bits, 900 + u32::from(bits)));
    let table = table(deep.chain(wide).chain(v4));
    let lines = build(&table, &[]);
    let steps = |address: u128| {
        let taken = std::cell::Cell::new(0);
        let mut walk = Walk::default();
        walk.start(IpAddr::from(Ipv6Addr::from_bits(address)).to_canonical().into(), &lines[0]);
        walk.finish(|line| {
            taken.set(taken.get() + 1);
            lines.get(line as usize)
        });
        taken.get()
    };
    let longest = interesting(&table).map(|address| steps(number(address))).max().unwrap();
    assert!((30..=MAX_STEPS).contains(&longest), "{longest} lines were read");
    assert_same(table, &[]);
}

#[test]
fn dense_prefixes_take_one_branch_and_sparse_ones_a_line_each() {
    let dense = build(&table((0..1024).map(|at| entry(0xffff_0a00_0000 | at << 8, 120, 1))), &[]);
    assert!(dense.len() <= 2 + 1 + 1024 / NODES_PER_LINE, "{} lines", dense.len());
    let sparse = build(&table((0..3).map(|at| entry(0x2001_0db8 << 96 | at << 70, 64, 1))), &[]);
    assert_eq!(sparse.len(), 2 + 3);
}

fn family() -> impl Strategy<Value = (u128, u8)> {
    prop_oneof![
        Just((0xffff << 32, 96)),
        Just((0xffff_0a00_0000, 104)),
        Just((0x2001_0db8 << 96, 32)),
        Just((0xfd00 << 112, 8)),
        Just((0, 0)),
        Just((0xfffe << 32, 90)),
    ]
}

/// Few bits set, so that prefixes meet, and some wherever.
fn address() -> impl Strategy<Value = u128> {
    let few =
        vec(0..128_u32, 0..4).prop_map(|bits| bits.iter().fold(0, |address, bit| address | 1_u128 << bit));
    prop_oneof![3 => few, 2 => (0..64_u128).prop_map(|low| low), 1 => any::<u128>()]
}

prop_compose! {
    fn some_entry()((base, least) in family(), address in address(), bits in 0..=128_u8, set in 0..5_u32) -> TableEntry {
        let bits = bits.max(least);
        entry(base | address & (u128::MAX.checked_shr(u32::from(least)).unwrap_or(0)), bits, set)
    }
}

proptest! {
    #[test]
    fn a_trie_answers_as_its_table(entries in vec(some_entry(), 0..120), others in vec((family(), address()), 0..40)) {
        let others: Vec<u128> = others.into_iter().map(|((base, least), address)| {
            base | address & u128::MAX.checked_shr(u32::from(least)).unwrap_or(0)
        }).collect();
        assert_same(table(entries), &others);
    }
}

#[test]
fn marks_are_read_as_they_were_given_and_lines_of_usual_ones_are_empty() {
    for usual in [7_u32, u32::MAX - 1] {
        let mut since = vec![usual; BUCKETS];
        (since[5], since[BUCKETS - 1]) = (usual + 1, usual + 1);
        let lines = build(&[], &since);
        let table = Table::of(lines[0].0[SINCE]).expect("there is one");
        let mark = |bucket: usize| table.mark(bucket as u32, |line| lines.get(line as usize)).unwrap();
        assert!((0..BUCKETS).all(|bucket| mark(bucket) == since[bucket]), "from {usual} on");
        assert_eq!(lines[1..].iter().filter(|line| **line != Line::default()).count(), 2);
    }
}

#[test]
fn a_mark_that_would_be_misread_leaves_no_table() {
    let mut since = vec![u32::MAX; BUCKETS];
    since[5] = 0;
    assert_eq!(build(&[], &since), [Line::default()]);
}
