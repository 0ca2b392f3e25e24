//! A new policy or new facts decide from the next packet on, whatever flows remember.

use std::{collections::BTreeMap, time::Duration};

use enforcer::datapath::{sizes::TableKind, tables::boottime};
use enforcer_common::{
    limits::{BANKS, GENERATION_SLOTS},
    verdict::{DropReason::*, PassReason::*},
};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST},
    prog_run::Lab,
    wait,
};
use rstest::rstest;

use crate::{DIRECTION, TENANTS, between, lab, populated};

/// Everybody in one network.
const FLAT: &str = r#"
version = 1
[network.flat]
prefixes = ["10.0.0.0/8", "2001:db8::/32"]
"#;

/// Nobody in any.
const EMPTY: &str = "version = 1";

#[rstest]
fn loosening_decides_at_once_in_both_directions(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, DB);
    lab.sent_by("a", &packet).drops(DefaultDeny);
    lab.sent_by("db", packet.answer()).drops(DefaultDeny);
    lab.delivered_to("db", &packet).stamped_by("a").drops(DefaultDeny);
    lab.apply(FLAT);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.delivered_to("db", &packet).stamped_by("a").passes_counted_before();
    lab.sent_by("db", packet.answer()).passes(SharedNetwork);
    lab.delivered_to("a", packet.answer()).stamped_by("db").passes_counted_before();
}

#[rstest]
fn tightening_cuts_what_flows(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    let remote = between(family, BLUE_FAR, BLUE_A);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.sent_by("b", packet.answer()).passes(SharedNetwork);
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    lab.delivered_to("a", &remote).passes(SharedNetwork);
    lab.apply(EMPTY);
    lab.sent_by("a", &packet).drops(DefaultDeny).is_not_stamped();
    lab.sent_by("b", packet.answer()).drops(DefaultDeny);
    // On its way while the policy changed.
    lab.delivered_to("b", &packet).stamped_by("a").drops(DefaultDeny);
    lab.delivered_to("a", &remote).drops(DefaultDeny);
}

#[rstest]
fn a_flow_names_the_generation_that_judged_its_latest_packet(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    assert_eq!((lab.flow(&packet).generation, lab.flow(&packet).network.as_deref()), (1, Some("blue")));
    lab.apply(FLAT);
    assert_eq!(lab.flow(&packet).generation, 1, "no packet came since");
    lab.sent_by("a", &packet).passes(SharedNetwork);
    let flow = lab.flow(&packet);
    assert_eq!((flow.generation, flow.network.as_deref(), flow.packets_fwd), (2, Some("flat"), 2));
}

#[rstest]
fn the_same_policy_again_changes_no_verdict(mut lab: Lab, #[values(V4, V6)] family: Family) {
    for generation in 1..=5 {
        lab.sent_by("a", between(family, BLUE_A, BLUE_B)).passes(SharedNetwork);
        lab.sent_by("a", between(family, BLUE_A, DB)).drops(DefaultDeny);
        assert_eq!(lab.generation(), generation);
        lab.apply(TENANTS);
    }
}

/// An edit of a prefix in all banks, then once more: what lies there of rules is the same.
#[rstest]
fn rules_that_an_edit_leaves_alone_are_not_made_again(#[values(V4, V6)] family: Family) {
    // Prefixes in tables of ours have a name in each bank.
    let mut lab = populated(Lab::with_tables(TableKind::Own));
    let networks = |member: bool| {
        if member {
            TENANTS.replacen("10.9.0.0/24", "10.9.0.0/24\", \"10.9.1.0/24", 1)
        } else {
            TENANTS.to_owned()
        }
    };
    let question = between(family, BLUE_A, DB);
    let mut earlier = BTreeMap::new();
    let mut again = 0;
    for edit in 0..3 * BANKS {
        lab.apply(&format!("{}{DIRECTION}", networks(edit % 2 == 0)));
        lab.sent_by("a", &question).passes(AllowedByRule);
        let (bank, [pairs, prefixes]) = lab.deciding_tables();
        if let Some([pairs_before, prefixes_before]) = earlier.insert(bank, [pairs, prefixes]) {
            assert_eq!(pairs, pairs_before, "rules in bank {bank}");
            assert_ne!(prefixes, prefixes_before, "prefixes in bank {bank}");
            again += 1;
        }
    }
    assert!(again > 0, "some bank was built in twice: {earlier:?}");
    lab.apply(TENANTS);
    lab.sent_by("a", &question).drops(DefaultDeny);
    let (bank, [pairs, _]) = lab.deciding_tables();
    assert_ne!(pairs, earlier[&bank][0], "no rules in bank {bank}");
    lab.apply(&format!("{TENANTS}{DIRECTION}"));
    lab.sent_by("a", &question).passes(AllowedByRule);
}

/// Far more generations than banks and records: each decides while it is the active one.
#[rstest]
fn two_hundred_policies_in_a_row(mut lab: Lab) {
    const APPLIES: u64 = 200;
    assert!(APPLIES > 10 * u64::from(BANKS.max(GENERATION_SLOTS)));
    for _ in 0..APPLIES {
        let open = lab.generation() % 2 == 1;
        lab.apply(if open { FLAT } else { TENANTS });
        for family in Family::BOTH {
            let run = lab.sent_by("a", between(family, BLUE_A, DB));
            if open {
                run.passes(SharedNetwork)
            } else {
                run.drops(DefaultDeny)
            };
            lab.sent_by("a", between(family, BLUE_A, BLUE_B)).passes(SharedNetwork);
        }
    }
    assert_eq!(lab.generation(), 1 + APPLIES);
}

#[rstest]
fn a_bank_that_is_only_built_decides_nothing(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let allowed = between(family, BLUE_A, BLUE_B);
    // Also where it replaces what an earlier attempt left there.
    for text in [EMPTY, FLAT, EMPTY] {
        lab.build(text);
        lab.sent_by("a", &allowed).passes(SharedNetwork);
        lab.sent_by("b", between(family, BLUE_B, BLUE_FAR)).passes(SharedNetwork);
        lab.sent_by("a", between(family, BLUE_A, DB)).drops(DefaultDeny);
        lab.sent_by("db", between(family, DB, BLUE_FAR)).drops(DefaultDeny);
    }
    assert_eq!(lab.generation(), 1);
    assert_eq!(lab.flow(&allowed).packets_fwd, 3);
}

#[rstest]
fn an_address_that_moves_takes_its_flows_with_it(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_FAR);
    lab.sent_by("a", &packet).passes(SharedNetwork).is_stamped_as("a");
    lab.delivered_to("a", packet.answer()).passes(SharedNetwork);
    lab.endpoint("db").owns([BLUE_A]);
    lab.sent_by("a", &packet).drops(SpoofedSource);
    lab.delivered_to("a", packet.answer()).drops(NotOwner);
    lab.sent_by("db", &packet).passes(SharedNetwork).is_stamped_as("db");
    lab.delivered_to("db", packet.answer()).passes(SharedNetwork);
}

#[rstest]
fn an_address_that_the_host_takes_is_a_workloads_no_more(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.host_owns([BLUE_B]);
    lab.sent_by("a", &packet).drops(DefaultDeny);
    lab.delivered_to("b", &packet).stamped_by("a").drops(NotOwner);
}

#[rstest]
fn a_remote_that_becomes_local_needs_its_stamp(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_FAR, BLUE_A);
    lab.delivered_to("a", &packet).passes(SharedNetwork);
    lab.endpoint("new").owns([BLUE_FAR]);
    lab.delivered_to("a", &packet).drops(UnstampedSource);
    lab.delivered_to("a", &packet).stamped_by("new").passes_counted_before();
}

#[rstest]
fn a_policy_does_not_close_what_the_host_opened(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, HOST, BLUE_A);
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    lab.sent_by("a", question.answer()).passes(Reply);
    lab.apply(EMPTY);
    lab.sent_by("a", question.answer()).passes(Reply);
}

/// Long enough for a packet, however busy the machine.
const MINUTE: u64 = 60_000_000_000;

#[rstest]
fn an_unconfirmed_policy_decides_until_its_deadline(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let tenants = between(family, BLUE_A, BLUE_B);
    let everybody = between(family, BLUE_A, DB);
    lab.apply_until(FLAT, boottime() + MINUTE);
    lab.sent_by("a", &everybody).passes(SharedNetwork);
    assert_eq!(lab.flow(&everybody).generation, 2);
    // Nobody comes back to say so: the kernel sees the time by itself.
    lab.apply_until(EMPTY, boottime() - 1);
    lab.sent_by("a", &everybody).drops(DefaultDeny);
    lab.sent_by("a", &tenants).passes(SharedNetwork);
    assert_eq!(lab.flow(&tenants).generation, 1, "the last confirmed one");
}

#[rstest]
fn a_flow_that_passed_is_judged_anew_when_the_deadline_passes(
    mut lab: Lab,
    #[values(V4, V6)] family: Family,
) {
    let packet = between(family, BLUE_A, DB);
    // With what takes long behind it: the programs are loaded for the first packet.
    lab.sent_by("a", &packet).drops(DefaultDeny);
    let deadline = boottime() + wait::scaled(Duration::from_secs(2)).as_nanos() as u64;
    lab.apply_until(FLAT, deadline);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    while boottime() < deadline {
        std::hint::spin_loop();
    }
    lab.sent_by("a", &packet).drops(DefaultDeny);
    lab.delivered_to("db", &packet).stamped_by("a").drops(DefaultDeny);
}

#[rstest]
fn a_first_policy_that_is_not_confirmed_leaves_nothing(#[values(V4, V6)] family: Family) {
    let mut lab = Lab::new();
    lab.endpoint("a").owns([BLUE_A]);
    lab.apply_until(FLAT, boottime() - 1);
    lab.sent_by("a", between(family, BLUE_A, BLUE_FAR)).drops(NoPolicy);
}

#[rstest]
fn a_confirmed_policy_has_no_deadline(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.apply_until(FLAT, boottime() - 1);
    lab.confirm();
    lab.sent_by("a", between(family, BLUE_A, DB)).passes(SharedNetwork);
}
