//! What counts as changed. That nothing else does is shown where rulings are, in `compile/ruling_tests.rs`.

use enforcer_common::{
    address::Address,
    prefix_trie::Key,
    since::{bucket, is_later},
};

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
    assert_eq!(changed(&old, &new), Some(vec![0x00ff_ff0a_0900; 2]));
}

#[test]
fn another_rule_changes_all() {
    let old = policy(r#""10.1.0.0/24""#, "");
    let mut new = old.clone();
    let rule = r#"{"from": {"ends": ["blue"]}, "to": {"ends": ["green"]}, "action": "allow", "services": ["tcp/1"]}"#;
    new.rules.insert("one".parse().unwrap(), serde_json::from_str(rule).unwrap());
    assert_eq!(changed(&old, &new), None);
}
