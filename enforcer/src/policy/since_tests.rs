//! What counts as changed. That nothing else does is shown where rulings are, in `compile/edit_tests.rs`.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::{
    address::Address,
    prefix_trie::Key,
    since::{bucket, is_later},
};
use rstest::rstest;

use super::*;

fn policy(blue: &str, rest: &str) -> Policy {
    let json = format!(
        r#"{{"networks": {{"blue": {{"prefixes": [{blue}]}}, "green": {{"prefixes": ["10.9.0.0/24"]{rest}}}}}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

fn blocks(old: &Policy, new: &Policy) -> Option<usize> {
    changed(old, new).map(|blocks| blocks.len())
}

#[test]
fn a_prefix_changes_its_blocks_alone() {
    let old = policy(r#""10.1.0.0/24""#, "");
    assert_eq!(blocks(&old, &old), Some(0));
    for (prefix, count) in [
        ("10.2.0.0/24", Some(1)),
        ("10.2.0.7/32", Some(1)),
        ("10.2.0.0/22", Some(4)),
        ("10.0.0.0/8", None),
        ("2001:db8::/64", Some(1)),
        ("2001:db8::1/128", Some(1)),
        ("2001:db8::/60", Some(16)),
        ("2001:db8::/32", None),
        ("::5/128", None),
    ] {
        let new = policy(&format!(r#""10.1.0.0/24", "{prefix}""#), "");
        assert_eq!(blocks(&old, &new), count, "{prefix} came");
        assert_eq!(blocks(&new, &old), count, "{prefix} went");
    }
}

#[test]
fn the_bucket_of_each_address_of_a_changed_prefix_is_marked() {
    let old = policy(r#""10.1.0.0/24""#, "");
    let new = policy(r#""10.1.0.0/24", "10.2.4.0/23", "2001:db8:0:3::/64""#, "");
    let since = Since::new(7).then(8, &changed(&old, &new).unwrap());
    let mark = |address: &str| {
        let address: std::net::IpAddr = address.parse().unwrap();
        since.marks()[bucket(&Key::new(Address::from(address))) as usize]
    };
    for address in ["10.2.4.0", "10.2.5.255", "2001:db8:0:3::", "2001:db8:0:3:ffff:ffff:ffff:ffff"] {
        assert!(is_later(7, mark(address)), "{address}");
    }
    for address in ["10.1.0.5", "10.2.3.255", "10.2.6.0", "2001:db8:0:2::1", "2001:db8:0:4::1"] {
        assert!(!is_later(7, mark(address)), "{address}");
    }
}

#[test]
fn another_mode_changes_all_of_a_network() {
    let old = policy(r#""10.1.0.0/24""#, "");
    let new = policy(r#""10.1.0.0/24""#, r#", "mode": "audit""#);
    assert_eq!(changed(&old, &new), Some(BTreeSet::from(GREEN)));
}

fn with_rule(from: &str, to: &str) -> Policy {
    let mut policy = policy(r#""10.1.0.0/24", "10.2.0.0/23""#, "");
    let wide = r#"{"prefixes": ["10.0.0.0/8"]}"#;
    policy.groups.insert("wide".parse().unwrap(), serde_json::from_str(wide).unwrap());
    let (action, services) = (r#""action": "allow""#, r#""services": ["tcp/1"]"#);
    let rule = format!(r#"{{"from": {{"ends": [{from}]}}, "to": {{"ends": [{to}]}}, {action}, {services}}}"#);
    policy.rules.insert("one".parse().unwrap(), serde_json::from_str(&rule).unwrap());
    policy
}

const BLUE: [u64; 3] = [0x00ff_ff0a_0100, 0x00ff_ff0a_0200, 0x00ff_ff0a_0201];
const GREEN: [u64; 1] = [0x00ff_ff0a_0900];

#[rstest]
#[case::the_narrower_side(r#""blue""#, r#""green""#, Some(GREEN.into()))]
#[case::whichever_that_is(r#""green""#, r#""blue""#, Some(GREEN.into()))]
#[case::all_ends_of_a_side(r#""blue", "green""#, r#""any""#, Some([BLUE[0], BLUE[1], BLUE[2], GREEN[0]].into()))]
#[case::a_prefix(r#""world""#, r#""192.0.2.7/32""#, Some([0x00ff_ffc0_0002].into()))]
#[case::the_host(r#""host""#, r#""green""#, Some(GREEN.into()))]
#[case::one_end_is_anywhere(r#""any""#, r#""green", "world""#, None)]
#[case::names_that_a_pattern_tells(r#""blue*""#, r#""host""#, None)]
#[case::too_many_addresses(r#""wide""#, r#""10.0.0.0/8""#, None)]
fn a_rule_changes_all_of_a_side(
    #[case] from: &str,
    #[case] to: &str,
    #[case] expected: Option<BTreeSet<u64>>,
) {
    let with = with_rule(from, to);
    let without = Policy { rules: BTreeMap::new(), ..with.clone() };
    for (old, new) in [(&without, &with), (&with, &without)] {
        assert_eq!(changed(old, new), expected);
    }
    assert_eq!(changed(&with, &with), Some(BTreeSet::new()));
}

/// Whom a rule was about, and whom it is about.
#[test]
fn another_rule_of_the_same_name_changes_both() {
    let (old, new) = (with_rule(r#""blue""#, r#""green""#), with_rule(r#""10.3.0.5/32""#, r#""any""#));
    assert_eq!(changed(&old, &new), Some(BTreeSet::from([0x00ff_ff0a_0300, GREEN[0]])));
}
