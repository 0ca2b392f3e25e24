//! What an edit leaves alone: random policies, random edits, and packets that none of them is about.

use enforcer_common::{
    prefix_trie::Key,
    since::{bucket, bucket_of},
};

use super::*;
use crate::policy::{Name, since};

#[derive(Clone, Debug)]
enum Edit {
    Set(SetEdit),
    Rule(Option<Rule>),
}

#[derive(Clone, Copy, Debug)]
enum SetEdit {
    Only(Prefix),
    Prefix(Prefix),
    Except(Prefix),
    Mode,
    Gone,
}

/// Of several blocks, or of one.
fn narrow_prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (0..64_u8, 20..=32_u8).prop_map(|(third, bits)| format!("10.0.{third}.0/{bits}"));
    let v6 = (0..64_u8, 56..=64_u8).prop_map(|(fourth, bits)| format!("2001:db8:0:{fourth:x}::/{bits}"));
    let net = |text: String| Prefix::owned(text.parse::<ipnet::IpNet>().unwrap()).unwrap();
    prop_oneof![v4, v6].prop_map(net)
}

/// Of one of the networks and groups, or of a rule.
fn any_edit() -> impl Strategy<Value = (Index, Edit)> {
    let set = prop_oneof![
        3 => narrow_prefix().prop_map(SetEdit::Only),
        2 => any_prefix().prop_map(SetEdit::Prefix),
        3 => narrow_prefix().prop_map(SetEdit::Prefix),
        1 => any_prefix().prop_map(SetEdit::Except),
        1 => narrow_prefix().prop_map(SetEdit::Except),
        1 => Just(SetEdit::Mode),
        1 => Just(SetEdit::Gone),
    ];
    let rule = prop_oneof![
        3 => narrow_rule().prop_map(Some),
        1 => any_rule().prop_map(Some),
        1 => Just(None),
    ];
    let edit = prop_oneof![2 => set.prop_map(Edit::Set), 1 => rule.prop_map(Edit::Rule)];
    (any::<Index>(), edit)
}

/// With names or a few blocks at one side.
fn narrow_rule() -> impl Strategy<Value = Rule> {
    let named = prop::sample::select(SETS.as_slice()).prop_map(|name| name.parse::<End>().unwrap());
    let end = prop_oneof![narrow_prefix().prop_map(End::Prefix), named];
    let narrow = prop::collection::btree_set(end, 1..4);
    (any_rule(), narrow, any::<bool>()).prop_map(|(rule, narrow, from)| {
        let side = |side: &Side, is_it| {
            if is_it { Side { ends: narrow.clone(), except: side.except.clone() } } else { side.clone() }
        };
        let (mode, services) = (rule.mode(), rule.services().clone());
        let rule = Rule::new(side(rule.from(), from), side(rule.to(), !from), rule.action(), services);
        rule.unwrap().in_mode(mode).unwrap()
    })
}

/// Another one of its rules, or one less; a set of which what is there goes, and what is not comes; `None` if that is no
/// policy.
fn edited(policy: &Policy, (index, edit): (Index, Edit)) -> Option<Policy> {
    let mut policy = policy.clone();
    match edit {
        Edit::Set(edit) => edit_set(&mut policy, index, edit)?,
        Edit::Rule(rule) => {
            let name = format!("rule {}", index.index(policy.rules.len() + 1)).parse().unwrap();
            policy.rules.remove(&name);
            policy.rules.extend(rule.map(|rule| (name, rule)));
        }
    }
    Policy::new(policy.networks, policy.groups, policy.rules).ok()
}

fn edit_set(policy: &mut Policy, index: Index, edit: SetEdit) -> Option<()> {
    let names: Vec<Name> = policy.names().cloned().collect();
    let name = names.get(index.index(names.len().max(1)))?.clone();
    let sets = if policy.networks.contains_key(&name) { &mut policy.networks } else { &mut policy.groups };
    let set = sets.remove(&name)?;
    let toggled = |prefixes: &BTreeSet<Prefix>, prefix| prefixes ^ &BTreeSet::from([prefix]);
    let of = |prefixes, except| Some(AddressSet::new(prefixes, except).ok()?.in_mode(set.mode()));
    let set = match edit {
        SetEdit::Only(prefix) => Some(of(BTreeSet::from([prefix]), BTreeSet::new())?),
        SetEdit::Prefix(prefix) => Some(of(toggled(set.prefixes(), prefix), set.except().clone())?),
        SetEdit::Except(prefix) => Some(of(set.prefixes().clone(), toggled(set.except(), prefix))?),
        SetEdit::Mode => {
            Some(set.clone().in_mode(if set.mode() == Mode::Audit { Mode::Enforce } else { Mode::Audit }))
        }
        SetEdit::Gone => None,
    };
    sets.extend(set.map(|set| (name, set)));
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What lets the judgement of an earlier generation stand.
    #[test]
    fn where_an_edit_changed_nothing_the_tables_say_the_same(
        (policy, ids) in any_policy(),
        before in prop::collection::vec(any_edit(), 0..4),
        edits in prop::collection::vec(any_edit(), 1..4),
        packets in prop::collection::vec(any_packet(), 64),
    ) {
        let all = |policy: Policy, edits: Vec<(Index, Edit)>| {
            edits.into_iter().fold(policy, |policy, edit| edited(&policy, edit).unwrap_or(policy))
        };
        let policy = all(policy, before);
        let ids = ids.assign(&policy).unwrap();
        let edited = all(policy.clone(), edits);
        let Some(blocks) = since::changed(&policy, &edited) else { return Ok(()) };
        let changed: BTreeSet<u32> = blocks.into_iter().map(bucket_of).collect();
        let new_ids = ids.assign(&edited).unwrap();
        prop_assert!(new_ids.agree(&ids, &policy));
        let [old, new] = [(&policy, &ids), (&edited, &new_ids)]
            .map(|(policy, ids)| compile(policy, ids, Capacity::default()).unwrap());
        let addresses: Vec<IpAddr> = addresses(&policy).into_iter().chain(addresses(&edited)).collect();
        for (peers, key) in packets {
            let [src, dst] = peers.map(|(index, owner)| Peer { address: *index.get(&addresses), owner });
            if [src, dst].iter().any(|peer| changed.contains(&bucket(&Key::new(peer.address.into())))) {
                continue;
            }
            let said = |tables: &Tables| {
                let (ruling, rules) = ruled(tables, src, dst, &key);
                let [a, b] = [src, dst].map(|peer| party(tables, peer).membership);
                (ruling, rules.first(RuleWord::deny(0).audited()), a.audits(&b))
            };
            prop_assert_eq!(said(&old), said(&new), "{:?} to {:?}: {:?}", src, dst, key);
        }
    }
}
