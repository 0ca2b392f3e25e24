//! The longest-prefix table as the kernel walks it: lines of [`enforcer_common::prefix_trie`], and back.
//!
//! On the policy's way: behind the tables, for a bank. Built once, never changed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use enforcer_common::{
    address::{Address, V4_PREFIX_OFFSET},
    policy::Membership,
    prefix_trie::{Key, Kind, Line, MAX_ROW, MIN_STRIDE, NODES_PER_LINE, Node, SINCE, Walk, root},
    since::{PER_LINE, Table, is_later},
};
use foldhash::{HashMap, HashMapExt};

use super::{prefix::number, tables::TableEntry};

/// Most bits that pick from one branch: its nodes take 128 MB then.
const MAX_STRIDE: u8 = 24;

/// A branch grows while one in so many of its nodes leads to longer prefixes.
const SPARSENESS: usize = 4;

/// All of IPv4.
const ALL_V4: Block = Block { start: 0xffff << 32, bits: V4_PREFIX_OFFSET };

/// All of IPv6.
const ALL_V6: Block = Block { start: 0, bits: 0 };

/// The trie of a table, which is sorted by (address, bits). `since` are the buckets of [`enforcer_common::since`], or none.
pub fn build(table: &[TableEntry], since: &[u32]) -> Vec<Line> {
    let mut builder = Builder { lines: vec![Line::default()], leaves: HashMap::new() };
    let entries: Vec<Entry> = table.iter().map(|entry| builder.entry(entry)).collect();
    let (v4, v6): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| ALL_V4.holds(entry.block));
    // An IPv6 prefix may lie around all of IPv4.
    let around = v6.iter().rfind(|entry| entry.block.holds(ALL_V4)).map_or(Node::NOTHING, |entry| entry.leaf);
    // In the order of `root`.
    let roots = [builder.subtree(&v6, 0, Node::NOTHING), builder.subtree(&v4, V4_PREFIX_OFFSET, around)];
    for (to, Node(root)) in builder.lines[0].0.iter_mut().zip(roots) {
        *to = root;
    }
    // A table with a 0 that is no sign would be misread; that happens once in four billion generations.
    if let Some(usual) = earliest(since)
        && !since.contains(&0)
    {
        builder.lines[0].0[SINCE] = Table { first: builder.lines.len() as u32, usual }.word();
        builder.lines.extend(since.chunks(PER_LINE).map(|buckets| marks(buckets, usual)));
    }
    builder.lines
}

/// The one of all marks that came first: most are, for they were there when all began anew.
fn earliest(since: &[u32]) -> Option<u32> {
    since.iter().copied().reduce(|first, mark| if is_later(first, mark) { first } else { mark })
}

fn marks(buckets: &[u32], usual: u32) -> Line {
    let mut line = Line::default();
    let shown = |mark: u32| if mark == usual { 0 } else { u64::from(mark) };
    for (word, pair) in line.0.iter_mut().zip(buckets.chunks(2)) {
        *word = pair.iter().rev().fold(0, |word, mark| word << 32 | shown(*mark));
    }
    line
}

/// Addresses with the same first `bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Block {
    start: u128,
    bits: u8,
}

impl Block {
    const fn holds(self, other: Self) -> bool {
        self.bits <= other.bits && first_bits(self.start ^ other.start, self.bits) == 0
    }

    /// Without bits behind its own.
    const fn trimmed(self) -> Self {
        let others = 128 - self.bits as u32;
        let start = if others == 128 { 0 } else { self.start >> others << others };
        Self { start, ..self }
    }
}

/// The first `bits` of an address as a number.
const fn first_bits(address: u128, bits: u8) -> u128 {
    if bits == 0 { 0 } else { address >> (128 - bits as u32) }
}

/// An entry of the table.
#[derive(Clone, Copy)]
struct Entry {
    block: Block,
    leaf: Node,
}

struct Builder {
    lines: Vec<Line>,
    leaves: HashMap<Membership, Node>,
}

impl Builder {
    fn entry(&mut self, entry: &TableEntry) -> Entry {
        let block = Block { start: number(entry.address.into()), bits: entry.bits };
        Entry { block, leaf: self.leaf(entry.membership) }
    }

    fn leaf(&mut self, membership: Membership) -> Node {
        if membership == Membership::default() {
            return Node::NOTHING;
        }
        let lines = &mut self.lines;
        *self.leaves.entry(membership).or_insert_with(|| {
            lines.push(Line::leaf(&membership));
            Node::leaf(lines.len() as u32 - 1)
        })
    }

    fn push(&mut self, line: [u64; NODES_PER_LINE]) -> u32 {
        self.lines.push(Line(line));
        self.lines.len() as u32 - 1
    }

    /// What leads to those `entries`, which all lie in one block of `bits`; `around` is for who lies in none of them.
    fn subtree(&mut self, entries: &[Entry], bits: u8, mut around: Node) -> Node {
        let mut inner = entries;
        if let Some((first, rest)) = entries.split_first().filter(|(first, _)| first.block.bits == bits) {
            (around, inner) = (first.leaf, rest);
        }
        if inner.len() <= MAX_ROW {
            return self.row(inner, around);
        }
        let common = common(inner);
        if common.bits >= bits + MIN_STRIDE {
            let inside = self.subtree(inner, common.bits, around);
            return self.check(common, inside, around);
        }
        self.branch(inner, bits, around)
    }

    /// A check for each of a few, the longest first.
    fn row(&mut self, entries: &[Entry], around: Node) -> Node {
        let mut sorted: Vec<&Entry> = entries.iter().collect();
        sorted.sort_by_key(|entry| entry.block.bits);
        sorted.iter().fold(around, |shorter, entry| self.check(entry.block, entry.leaf, shorter))
    }

    fn check(&mut self, block: Block, inside: Node, outside: Node) -> Node {
        let line = self.push([(block.start >> 64) as u64, block.start as u64, inside.0, outside.0]);
        Node::check(line, block.bits)
    }

    fn branch(&mut self, entries: &[Entry], bits: u8, around: Node) -> Node {
        let stride = stride(entries, bits);
        let end = bits + stride;
        let slot = |entry: &Entry| (first_bits(entry.block.start, end) as usize) % (1 << stride);
        let mut nodes = vec![around; 1 << stride];
        // What is shorter than the branch is deep fills several places; inner ones come after those around them.
        for entry in entries.iter().filter(|entry| entry.block.bits < end) {
            nodes[slot(entry)..][..1 << (end - entry.block.bits)].fill(entry.leaf);
        }
        let first = self.lines.len();
        self.lines.resize(first + nodes.len().div_ceil(NODES_PER_LINE), Line::default());
        for place in entries.chunk_by(|a, b| slot(a) == slot(b)) {
            let longer = &place[place.partition_point(|entry| entry.block.bits < end)..];
            if let [entry, ..] = longer {
                let node = &mut nodes[slot(entry)];
                *node = self.subtree(longer, end, *node);
            }
        }
        for (line, nodes) in self.lines[first..].iter_mut().zip(nodes.chunks(NODES_PER_LINE)) {
            for (to, Node(node)) in line.0.iter_mut().zip(nodes) {
                *to = *node;
            }
        }
        Node::branch(first as u32, bits, stride)
    }
}

/// The smallest block that holds all of them.
fn common(entries: &[Entry]) -> Block {
    let [first, .., last] = entries else { unreachable!("a branch is for more than a few") };
    let same = (first.block.start ^ last.block.start).leading_zeros() as u8;
    // A block around all the others comes first.
    Block { start: first.block.start, bits: same.min(first.block.bits) }.trimmed()
}

/// How many bits from `bits` on pick from a branch: as many as its sparseness allows, within a half of the address.
fn stride(entries: &[Entry], bits: u8) -> u8 {
    let room = 64 - bits % 64;
    let is_dense = |stride: &u8| {
        let end = bits + stride;
        let longer = entries.iter().filter(|entry| entry.block.bits >= end);
        let mut places: Vec<u128> = longer.map(|entry| first_bits(entry.block.start, end)).collect();
        places.dedup();
        places.len() * SPARSENESS >= 1 << stride
    };
    let wider = (MIN_STRIDE + 1..=MAX_STRIDE.min(room)).take_while(is_dense);
    wider.last().unwrap_or(MIN_STRIDE.min(room))
}

/// A table that answers like the trie.
pub fn entries(lines: &[Line]) -> Vec<TableEntry> {
    let Some(roots) = lines.first() else { return Vec::new() };
    let mut reader = Reader { lines, leaves: BTreeMap::new() };
    reader.subtree(Node(roots.0[root(Address::default())]), ALL_V6, Node::NOTHING);
    // Of what is around IPv4 its own root speaks.
    reader.leaves.retain(|_, (block, _)| !ALL_V4.holds(*block));
    reader.add(ALL_V4, Node::NOTHING);
    reader.subtree(Node(roots.0[root(Address::from_v4(0))]), ALL_V4, Node::NOTHING);
    reader.leaves.values().map(|(block, leaf)| reader.entry(*block, *leaf)).collect()
}

struct Reader<'l> {
    lines: &'l [Line],
    /// In the order of a table.
    leaves: BTreeMap<(u128, u8), (Block, Node)>,
}

impl Reader<'_> {
    fn entry(&self, block: Block, leaf: Node) -> TableEntry {
        let membership = match leaf {
            Node::NOTHING => Membership::default(),
            leaf => self.line(leaf.line()).membership(),
        };
        TableEntry {
            address: IpAddr::from(Ipv6Addr::from_bits(block.start)).into(),
            bits: block.bits,
            membership,
        }
    }

    fn line(&self, line: u32) -> Line {
        self.lines.get(line as usize).copied().unwrap_or_default()
    }

    fn add(&mut self, block: Block, leaf: Node) {
        self.leaves.insert((block.start, block.bits), (block, leaf));
    }

    /// Adds what `node` says of a block whose answer is `around` by what was added before.
    fn subtree(&mut self, node: Node, block: Block, around: Node) {
        match node.kind() {
            Kind::Leaf if node == around => {}
            Kind::Leaf => self.add(block, node),
            Kind::Check => {
                let Line([high, low, inside, outside]) = self.line(node.line());
                self.subtree(Node(outside), block, around);
                let inner = Block { start: u128::from(high) << 64 | u128::from(low), bits: node.checked() };
                self.subtree(Node(inside), inner, self.answer(Node(outside), inner.start));
            }
            Kind::Branch => {
                let (at, stride) = node.picked_by();
                let bits = at + stride;
                for slot in 0..1_u32 << stride {
                    let nodes = self.line(node.line() + slot / NODES_PER_LINE as u32).0;
                    let start = block.start | u128::from(slot) << (128 - u32::from(bits));
                    self.subtree(Node(nodes[slot as usize % NODES_PER_LINE]), Block { start, bits }, around);
                }
            }
        }
    }

    fn answer(&self, from: Node, address: u128) -> Node {
        let mut walk = Walk::default();
        walk.from(Key::of(address), from);
        Node::leaf(walk.finish(|line| self.lines.get(line as usize)))
    }
}

#[cfg(test)]
#[path = "trie_tests.rs"]
mod tests;
