//! A prefix of either family as a policy may write it: canonical, and able to hold members.
//!
//! On the policy's way: the smallest unit of the spec, refused here with a fix when it is written in
//! a way that two readers could understand differently.

use std::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use enforcer_common::address::{Address, V4_PREFIX_OFFSET};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// An IPv4 or IPv6 prefix without host bits, never written in the v4-mapped form.
///
/// Ordered as the kernel's trie is: by address in the 128-bit v4-mapped space, then by length, so
/// that an enclosing prefix comes directly before what it encloses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(IpNet);

/// Why a text is not a prefix of a policy; each message says what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum PrefixError {
    /// Neither an address nor a prefix.
    #[error("`{text}` is not a prefix; write one such as 10.1.0.0/24 or 2001:db8:1::/64")]
    NotAnAddress { text: String },
    /// An address without a length.
    #[error("{address} is an address; write {address}/{}", family_bits(*.address))]
    MissingLength { address: IpAddr },
    /// Something that is no number behind the slash.
    #[error("`{length}` is not a prefix length; write a number from 0 to {max}")]
    NotALength { length: String, max: u8 },
    /// A length beyond the family's.
    #[error("/{length} is too long for {address}; at most /{max} is possible")]
    TooLong { address: IpAddr, length: String, max: u8 },
    /// An octet or a length that some readers take for octal.
    #[error("`{text}` has leading zeros; write {fixed}")]
    LeadingZeros { text: String, fixed: String },
    /// Bits set beyond the length.
    #[error("{address}/{length} has host bits set; did you mean {canonical}?")]
    HostBits { address: IpAddr, length: u8, canonical: Prefix },
    /// An IPv4 prefix in IPv6 clothes.
    #[error("`{text}` is an IPv4 prefix in its v4-mapped form; write {v4}")]
    V4Mapped { text: String, v4: Ipv4Net },
    /// No address of it can ever be a member of a network.
    #[error("{net} is {range}, which no network can hold; remove it or write a unicast prefix")]
    NeverMember { net: IpNet, range: &'static str },
}

/// Ranges whose packets are judged before any policy is asked, so nothing in them can be a member;
/// agrees with [`enforcer_common::address::Scope`].
const NEVER_MEMBERS: [(IpNet, &str); 11] = [
    (v4(169, 254, 16), LINK_LOCAL),
    (v4(127, 0, 8), "loopback"),
    (v4(0, 0, 8), "reserved"),
    (v4(224, 0, 4), "multicast"),
    (v4(240, 0, 4), "reserved"),
    (v4(224, 0, 3), "multicast and reserved"),
    (v6(0xfe80, 0, 10), LINK_LOCAL),
    (v6(0xff00, 0, 8), "multicast"),
    (v6(0, 0, 128), "unspecified"),
    (v6(0, 1, 128), "loopback"),
    (v6(0, 0, 127), "unspecified and loopback"),
];

/// Members of no network, but a rule may name them.
const LINK_LOCAL: &str = "link-local";

const fn v4(first: u8, second: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), length))
}

const fn v6(first: u16, last: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), length))
}

const fn family_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl Prefix {
    /// The whole of IPv4: where the family lies in the kernel's trie.
    pub const ALL_V4: Self = Self(v4(0, 0, 0));
    /// The whole of IPv6.
    pub const ALL_V6: Self = Self(v6(0, 0, 0));
    /// Where an address means another machine on every link: nothing around these ranges covers them.
    pub const LINK_LOCAL: [Self; 2] = [Self(v4(169, 254, 16)), Self(v6(0xfe80, 0, 10))];

    /// The prefix of addresses that a workload owns; `None` where no network can hold them.
    pub fn owned(net: IpNet) -> Option<Self> {
        net.trunc().to_string().parse().ok()
    }

    /// The first address, as the kernel's tables write it.
    pub fn address(&self) -> Address {
        self.0.network().into()
    }

    /// Length in the 128-bit v4-mapped space.
    pub const fn bits(&self) -> u8 {
        match self.0 {
            IpNet::V4(net) => V4_PREFIX_OFFSET + net.prefix_len(),
            IpNet::V6(net) => net.prefix_len(),
        }
    }

    /// Whether this is an IPv4 prefix.
    pub const fn is_v4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether `address` lies in it; an address of the other family never does.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether `other` lies in it; one of the other family never does.
    pub fn encloses(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// This prefix and every one that encloses it, longest first.
    pub fn enclosing(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |prefix| prefix.0.supernet().map(Self))
    }

    /// The first address as a number in the v4-mapped space.
    pub(super) fn start(&self) -> u128 {
        number(self.0.addr())
    }

    /// The last address as a number in the v4-mapped space.
    pub(super) fn end(&self) -> u128 {
        number(self.0.broadcast())
    }

    /// Leading bits that the prefix and `address` have in common, at most the prefix's length.
    pub(super) fn common_bits(&self, address: IpAddr) -> u8 {
        let differing = self.start() ^ number(address);
        self.bits().min(differing.leading_zeros() as u8)
    }
}

/// An address as a number in the v4-mapped space.
pub(super) const fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.start(), self.bits()).cmp(&(other.start(), other.bits()))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for IpNet {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl Prefix {
    /// A prefix as a rule may name it: also a link-local one, so that a metadata service can be allowed.
    pub fn in_rule(text: &str) -> Result<Self, PrefixError> {
        Self::parse(text, |range| range == LINK_LOCAL)
    }

    fn parse(text: &str, tolerates: impl Fn(&str) -> bool) -> Result<Self, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address = parse_address(text, address, length)?;
        let length = length.map(|length| parse_length(text, address, length)).transpose()?;
        refuse_mapped(text, address, length)?;
        let length = length.ok_or(PrefixError::MissingLength { address })?;
        let net = IpNet::new_assert(address, length).trunc();
        if net.addr() != address {
            return Err(PrefixError::HostBits { address, length, canonical: Self(net) });
        }
        match NEVER_MEMBERS.iter().find(|(never, range)| never.contains(&net) && !tolerates(range)) {
            Some(&(_, range)) => Err(PrefixError::NeverMember { net, range }),
            None => Ok(Self(net)),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        Self::parse(text, |_| false)
    }
}

fn parse_address(text: &str, address: &str, length: Option<&str>) -> Result<IpAddr, PrefixError> {
    if let Ok(parsed) = address.parse() {
        return Ok(parsed);
    }
    // The standard parser refuses octets such as `010`, which C libraries read as octal.
    let octets: Vec<&str> = address.split('.').map(without_leading_zeros).collect();
    match octets.join(".").parse::<Ipv4Addr>() {
        Ok(fixed) => Err(PrefixError::LeadingZeros {
            text: text.to_owned(),
            fixed: format!("{fixed}/{}", length.unwrap_or("32")),
        }),
        Err(_) => Err(PrefixError::NotAnAddress { text: text.to_owned() }),
    }
}

fn parse_length(text: &str, address: IpAddr, length: &str) -> Result<u8, PrefixError> {
    let max = family_bits(address);
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PrefixError::NotALength { length: length.to_owned(), max });
    }
    let significant = without_leading_zeros(length);
    let Some(value) = significant.parse().ok().filter(|&value| value <= max) else {
        return Err(PrefixError::TooLong { address, length: significant.to_owned(), max });
    };
    if significant != length {
        let fixed = format!("{address}/{significant}");
        return Err(PrefixError::LeadingZeros { text: text.to_owned(), fixed });
    }
    Ok(value)
}

fn without_leading_zeros(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" if !digits.is_empty() => "0",
        significant => significant,
    }
}

/// Two spellings of one address would make duplicates invisible, and the kernel drops packets that
/// carry the mapped one.
fn refuse_mapped(text: &str, address: IpAddr, length: Option<u8>) -> Result<(), PrefixError> {
    let IpAddr::V6(v6) = address else { return Ok(()) };
    let length = length.unwrap_or(128).checked_sub(V4_PREFIX_OFFSET);
    match (v6.to_ipv4_mapped(), length) {
        (Some(v4), Some(length)) => {
            Err(PrefixError::V4Mapped { text: text.to_owned(), v4: Ipv4Net::new_assert(v4, length).trunc() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::address::Scope;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::host_bits("10.1.2.3/16", "10.1.2.3/16 has host bits set; did you mean 10.1.0.0/16?")]
    #[case::host_bits_v6("2001:db8::1/64", "2001:db8::1/64 has host bits set; did you mean 2001:db8::/64?")]
    #[case::octal("010.1.0.0/16", "`010.1.0.0/16` has leading zeros; write 10.1.0.0/16")]
    #[case::octal_zero("10.1.00.0/16", "`10.1.00.0/16` has leading zeros; write 10.1.0.0/16")]
    #[case::octal_length("10.1.0.0/016", "`10.1.0.0/016` has leading zeros; write 10.1.0.0/16")]
    #[case::octal_length_v6("2001:db8::/064", "`2001:db8::/064` has leading zeros; write 2001:db8::/64")]
    #[case::too_long("10.1.0.0/33", "/33 is too long for 10.1.0.0; at most /32 is possible")]
    #[case::too_long_v6("2001:db8::/129", "/129 is too long for 2001:db8::; at most /128 is possible")]
    #[case::far_too_long(
        "10.1.0.0/9999999999",
        "/9999999999 is too long for 10.1.0.0; at most /32 is possible"
    )]
    #[case::no_length("10.1.0.5", "10.1.0.5 is an address; write 10.1.0.5/32")]
    #[case::no_length_v6("2001:db8::5", "2001:db8::5 is an address; write 2001:db8::5/128")]
    #[case::empty_length("10.1.0.0/", "`` is not a prefix length; write a number from 0 to 32")]
    #[case::signed_length("10.1.0.0/+8", "`+8` is not a prefix length; write a number from 0 to 32")]
    #[case::netmask(
        "10.1.0.0/255.255.0.0",
        "`255.255.0.0` is not a prefix length; write a number from 0 to 32"
    )]
    #[case::mapped(
        "::ffff:10.1.2.0/120",
        "`::ffff:10.1.2.0/120` is an IPv4 prefix in its v4-mapped form; write 10.1.2.0/24"
    )]
    #[case::all_mapped(
        "::ffff:0:0/96",
        "`::ffff:0:0/96` is an IPv4 prefix in its v4-mapped form; write 0.0.0.0/0"
    )]
    #[case::mapped_address(
        "::ffff:10.1.2.3",
        "`::ffff:10.1.2.3` is an IPv4 prefix in its v4-mapped form; write 10.1.2.3/32"
    )]
    #[case::mapped_host_bits(
        "::ffff:10.1.2.3/64",
        "::ffff:10.1.2.3/64 has host bits set; did you mean ::/64?"
    )]
    #[case::name("web-1", "`web-1` is not a prefix; write one such as 10.1.0.0/24 or 2001:db8:1::/64")]
    #[case::empty("", "`` is not a prefix; write one such as 10.1.0.0/24 or 2001:db8:1::/64")]
    #[case::blank(
        " 10.0.0.0/8",
        "` 10.0.0.0/8` is not a prefix; write one such as 10.1.0.0/24 or 2001:db8:1::/64"
    )]
    #[case::zone(
        "fe80::1%eth0/64",
        "`fe80::1%eth0/64` is not a prefix; write one such as 10.1.0.0/24 or 2001:db8:1::/64"
    )]
    #[case::short("10.1/16", "`10.1/16` is not a prefix; write one such as 10.1.0.0/24 or 2001:db8:1::/64")]
    #[case::octet(
        "10.1.0.256/32",
        "`10.1.0.256/32` is not a prefix; write one such as 10.1.0.0/24 or 2001:db8:1::/64"
    )]
    #[case::metadata(
        "169.254.169.254/32",
        "169.254.169.254/32 is link-local, which no network can hold; remove it or write a unicast prefix"
    )]
    #[case::reserved(
        "224.0.0.0/3",
        "224.0.0.0/3 is multicast and reserved, which no network can hold; remove it or write a unicast prefix"
    )]
    fn a_mistake_is_told_with_its_fix(#[case] text: &str, #[case] message: &str) {
        assert_eq!(text.parse::<Prefix>().unwrap_err().to_string(), message);
    }

    #[rstest]
    #[case("10.1.0.0/16", 112)]
    #[case("0.0.0.0/0", 96)]
    #[case("10.1.0.5/32", 128)]
    #[case("2001:db8:1::/64", 64)]
    #[case("::/0", 0)]
    #[case("::/64", 64)]
    #[case("128.0.0.0/1", 97)]
    fn a_good_prefix_round_trips(#[case] text: &str, #[case] bits: u8) {
        let prefix: Prefix = text.parse().unwrap();
        assert_eq!(prefix.to_string(), text);
        assert_eq!(prefix.bits(), bits);
        let json = serde_json::to_string(&prefix).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Prefix>(&json).unwrap(), prefix);
        assert_eq!(
            prefix.enclosing().count(),
            1 + text.rsplit('/').next().unwrap().parse::<usize>().unwrap()
        );
    }

    #[test]
    fn ranges_without_members_agree_with_the_kernels_scopes() {
        for (net, range) in NEVER_MEMBERS {
            assert!(
                matches!(net.to_string().parse::<Prefix>(), Err(PrefixError::NeverMember { .. })),
                "{net}"
            );
            for address in [net.network(), net.broadcast()] {
                assert_ne!(Address::from(address).scope(), Scope::Global, "{address} of {range}");
            }
        }
    }

    #[test]
    fn families_are_apart() {
        let (all_v4, all_v6) = (Prefix::ALL_V4, "::/0".parse::<Prefix>().unwrap());
        let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert!(all_v4.contains(v4) && !all_v4.contains(v6));
        assert!(all_v6.contains(v6) && !all_v6.contains(v4));
        assert!(all_v4.contains("::ffff:10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_enclosing_prefix_comes_first() {
        let texts =
            ["::/0", "0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.1.0/24", "11.0.0.0/8", "2001:db8::/32"];
        let prefixes: Vec<Prefix> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert!(prefixes.is_sorted());
    }
}
