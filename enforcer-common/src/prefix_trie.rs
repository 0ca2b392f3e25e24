//! Address → membership: a bank's multibit trie as it lies in the kernel, and the walk through it.
//!
//! The trie is an array of [`Line`]s. What leads from line to line is a [`Node`], a reference that says itself what
//! it leads to:
//!
//! - a *branch*: the next few bits of the address pick one of the nodes that lie there, four to a line;
//! - a *check*: does the address lie in one prefix? The line holds the prefix and a node for each answer;
//! - a *leaf*: the membership.
//!
//! Where prefixes are dense, branches find one among thousands in a step; where they are sparse, a check passes over
//! all bits that they have in common, and costs one line however many those are. Line 0 holds the two roots, and
//! where the table of [`crate::since`] begins. User space builds it.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, forgotten::Forgotten, map_layout, policy::Membership};

/// Four nodes of a branch; or a check: the first 64 bits of its prefix, the other 64, the node for who lies in it, the
/// node for who does not; or a leaf: a [`Membership`] in the first 20 bytes; or line 0; or a line of [`crate::since`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Line(pub [u64; NODES_PER_LINE]);

map_layout!(Line, 32);

impl Line {
    /// A leaf.
    pub fn leaf(membership: &Membership) -> Self {
        let mut line = Self::default();
        bytemuck::bytes_of_mut(&mut line)[..size_of::<Membership>()]
            .copy_from_slice(bytemuck::bytes_of(membership));
        line
    }

    /// What a leaf holds.
    #[inline(always)]
    pub const fn membership(&self) -> Membership {
        // SAFETY: any bits are a membership; a line is larger, and aligned for more.
        unsafe { *(&raw const *self).cast() }
    }
}

/// Nodes of a branch that share a line.
pub const NODES_PER_LINE: usize = 4;

/// The least bits that a branch or a check on the way to one takes; but a branch ends where a half of the address does.
pub const MIN_STRIDE: u8 = 4;

/// Most checks in a row of prefixes that are too few for a branch.
pub const MAX_ROW: usize = 4;

/// Steps of the longest walk: through 128 bits, [`MIN_STRIDE`] at a time but for the ends of the halves, then through a
/// row, to a leaf.
pub const MAX_STEPS: u32 = 128 / MIN_STRIDE as u32 + 2 + MAX_ROW as u32 + 1;

/// A reference: the line in bits 0–31, the kind in bits 56–57, and between them
///
/// - of a branch: in bits 32–39 where in the address those bits begin that pick from it, in bits 40–47 how many they are;
/// - of a check: in bits 32–39 how many of the first 64 bits do not count, in bits 40–47 and 48–55 how many of the others,
///   in two parts because a number of 64 bits cannot be shifted by as many.
///
/// Zero is a leaf without a line: members of nothing.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
pub struct Node(pub u64);

/// What a [`Node`] leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A membership.
    Leaf,
    /// One node for each value of some bits.
    Branch,
    /// One node for yes and one for no.
    Check,
}

impl Node {
    /// Members of nothing.
    pub const NOTHING: Self = Self(0);
    const BRANCH: u64 = 1 << 56;
    const CHECK: u64 = 2 << 56;

    /// To a membership.
    pub const fn leaf(line: u32) -> Self {
        Self(line as u64)
    }

    /// To 2^`stride` nodes, for the bits of the address from `at` on, which lie in one half of it.
    pub const fn branch(line: u32, at: u8, stride: u8) -> Self {
        Self(Self::BRANCH | (stride as u64) << 40 | (at as u64) << 32 | line as u64)
    }

    /// To a prefix of `bits`, from 1 to 128.
    pub const fn check(line: u32, bits: u8) -> Self {
        let others = 128 - bits as u64;
        let low = if others < 64 { others } else { 64 };
        let (most, one) = (if low < 64 { low } else { 63 }, low / 64);
        Self(Self::CHECK | one << 48 | most << 40 | (others - low) << 32 | line as u64)
    }

    /// What it leads to.
    #[inline(always)]
    pub const fn kind(self) -> Kind {
        match self.0 & (Self::BRANCH | Self::CHECK) {
            0 => Kind::Leaf,
            Self::BRANCH => Kind::Branch,
            _ => Kind::Check,
        }
    }

    /// The first line there.
    #[inline(always)]
    pub const fn line(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn byte(self, at: u32) -> u8 {
        (self.0 >> at) as u8
    }

    /// Where the bits begin that pick from a branch, and how many they are.
    pub const fn picked_by(self) -> (u8, u8) {
        (self.byte(32), self.byte(40))
    }

    /// How long the prefix of a check is.
    pub const fn checked(self) -> u8 {
        128 - self.byte(32) - self.byte(40) - self.byte(48)
    }

    /// Which node of a branch is for `key`.
    #[inline(always)]
    const fn pick(self, key: &Key) -> u32 {
        let (at, stride) = self.picked_by();
        // From memory, and not one or the other: that would be two ways for the verifier.
        let half = key.0[at as usize / 64 % 2];
        ((half << (at & 63)) >> ((64 - stride) & 63)) as u32
    }

    /// What `key` has otherwise than the prefix of a check: zero for one that lies in it.
    #[inline(always)]
    const fn difference(self, key: &Key, line: &Line) -> u64 {
        let high = (key.0[0] ^ line.0[0]) >> (self.byte(32) & 63);
        let low = (key.0[1] ^ line.0[1]) >> (self.byte(40) & 63) >> (self.byte(48) & 63);
        high | low
    }
}

/// An address as two numbers.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Key([u64; 2]);

impl Key {
    /// Of an address.
    #[inline(always)]
    pub const fn new(address: Address) -> Self {
        let [a, b, c, d] = address.0;
        Self([joined(a, b), joined(c, d)])
    }

    /// Of an address as a number in the v4-mapped space.
    pub const fn of(address: u128) -> Self {
        Self([(address >> 64) as u64, address as u64])
    }

    /// Its first and its last 64 bits.
    #[inline(always)]
    pub const fn halves(&self) -> [u64; 2] {
        self.0
    }
}

#[inline(always)]
const fn joined(high: u32, low: u32) -> u64 {
    (u32::from_be(high) as u64) << 32 | u32::from_be(low) as u64
}

/// A walk, in the kernel's memory: which address is looked for, and where it stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    key: Key,
    node: Forgotten<u64>,
}

impl Walk {
    /// For `address`, from its root on; of line 0 where that can be read.
    #[inline(always)]
    pub fn start(&mut self, address: Address, roots: &Line) {
        self.from(Key::new(address), Node(roots.0[root(address)]));
    }

    /// From any node on.
    #[inline(always)]
    pub fn from(&mut self, key: Key, node: Node) {
        self.key = key;
        self.node.set(node.0);
    }

    /// To the leaf: its line, or 0 for members of nothing, and where a line is missing.
    #[inline(always)]
    pub fn finish<'l>(&mut self, line_at: impl Fn(u32) -> Option<&'l Line>) -> u32 {
        for _ in 0..MAX_STEPS {
            let node = Node(self.node.get());
            let next = match node.kind() {
                Kind::Leaf => return node.line(),
                Kind::Branch => {
                    let pick = node.pick(&self.key);
                    let line = line_at(node.line().wrapping_add(pick / NODES_PER_LINE as u32));
                    line.map(|line| line.0[pick as usize % NODES_PER_LINE])
                }
                Kind::Check => line_at(node.line()).map(|line| {
                    let difference = node.difference(&self.key, line);
                    // 0 or 1, without a branch.
                    let outside = (difference | difference.wrapping_neg()) >> 63;
                    line.0[2 + outside as usize]
                }),
            };
            let Some(next) = next else { return 0 };
            self.node.set(next);
        }
        0
    }
}

/// Which word of line 0 says of the table of [`crate::since`] which line it begins with, in its lower half, and in its
/// upper half what a mark of 0 stands for; 0 where there is none. Word 2 is that of a table without such marks: who looks
/// there finds none.
pub const SINCE: usize = 3;

/// Which node of line 0 is the root for an address.
#[inline(always)]
pub const fn root(address: Address) -> usize {
    address.is_v4() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(high: u64, low: u64) -> Address {
        let [a, b] = [(high >> 32) as u32, high as u32];
        let [c, d] = [(low >> 32) as u32, low as u32];
        Address([a.to_be(), b.to_be(), c.to_be(), d.to_be()])
    }

    fn found(lines: &[Line], address: Address) -> u32 {
        let mut walk = Walk::default();
        let Some(roots) = lines.first() else { return 0 };
        walk.start(address, roots);
        walk.finish(|line| lines.get(line as usize))
    }

    #[test]
    fn a_node_says_what_it_leads_to() {
        let branch = Node::branch(u32::MAX, 127, 16);
        assert_eq!((branch.kind(), branch.line(), branch.picked_by()), (Kind::Branch, u32::MAX, (127, 16)));
        for bits in 1..=128 {
            let check = Node::check(7, bits);
            assert_eq!((check.kind(), check.line(), check.checked()), (Kind::Check, 7, bits));
        }
        assert_eq!((Node::leaf(9).kind(), Node::leaf(9).line()), (Kind::Leaf, 9));
        assert_eq!(Node::NOTHING.kind(), Kind::Leaf);
    }

    #[test]
    fn a_check_compares_as_many_bits_as_it_says() {
        let prefix = 0x2001_0db8_0000_0000_8000_0000_0000_0001_u128;
        let line = Line([(prefix >> 64) as u64, prefix as u64, 0, 0]);
        for bits in 1..=128 {
            let last = 1_u128 << (128 - u32::from(bits));
            let inside = prefix ^ (last - 1);
            let difference = |address| Node::check(1, bits).difference(&Key::of(address), &line);
            assert_eq!(difference(inside), 0, "inside, {bits} bits");
            assert_ne!(difference(inside ^ last), 0, "outside, {bits} bits");
        }
    }

    #[test]
    fn a_branch_picks_by_its_bits() {
        let key = Key::new(v6(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210));
        let picks = [
            (0, 16, 0x0123),
            (48, 16, 0xcdef),
            (60, 4, 0xf),
            (64, 8, 0xfe),
            (124, 4, 0),
            (116, 12, 0x210),
            (40, 24, 0xab_cdef),
        ];
        for (at, stride, picked) in picks {
            assert_eq!(Node::branch(1, at, stride).pick(&key), picked, "{stride} bits from {at}");
        }
    }

    #[test]
    fn each_family_has_its_root() {
        let leaf = Line::default();
        let lines = [Line([Node::leaf(1).0, Node::leaf(2).0, 0, 0]), leaf, leaf];
        assert_eq!(found(&lines, v6(0, 1)), 1);
        assert_eq!(found(&lines, Address::from_v4(1)), 2);
    }

    #[test]
    fn what_leads_nowhere_is_a_member_of_nothing() {
        assert_eq!(found(&[], v6(0, 1)), 0);
        let around = [
            Line([Node::check(1, 1).0, Node::branch(7, 0, 4).0, 0, 0]),
            Line([0, 0, Node::check(1, 1).0, 0]),
        ];
        assert_eq!(found(&around, v6(0, 1)), 0, "a circle");
        assert_eq!(found(&around, Address::from_v4(1)), 0, "a line that is not there");
    }
}
