//! How seriously a drop is taken: what goes on in which mode, what its stamp says from then on, and that it
//! is counted once.

use enforcer::datapath::tables::boottime;
use enforcer_common::{
    counter::Counter,
    mode::{Mode, ModeRecord},
    verdict::{DropReason, DropReason::*, PassReason::*, Verdict},
};
use enforcer_tests::{
    packet::{
        BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, Packet, arp_reply, from,
        neighbor_advertisement, router_advertisement,
    },
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, between, lab, ruled, without_policy};

const HOUR: u64 = 3_600_000_000_000;

/// What `a` sends that the policy, or what is right, forbids.
fn forbidden(family: Family) -> [(Packet, DropReason); 5] {
    [
        (between(family, BLUE_A, DB), DefaultDeny),
        (between(family, BLUE_A, DB).fragment(185, false), DefaultDeny),
        (between(family, BLUE_A, HOST), DefaultDeny),
        (between(family, BLUE_B, BLUE_A), SpoofedSource),
        (between(family, BLUE_A, BLUE_B).declaring(4), Truncated),
    ]
}

#[rstest]
fn enforce_drops_and_audit_only_what_is_not_what_it_claims(
    mut lab: Lab,
    #[values(V4, V6)] family: Family,
    #[values(true, false)] of_host: bool,
) {
    for mode in [Mode::Enforce, Mode::Audit, Mode::Observe, Mode::Enforce] {
        if of_host {
            lab.host_mode(mode);
        } else {
            lab.endpoint_mode("a", Some(mode));
        }
        for (packet, reason) in forbidden(family) {
            let proven = !matches!(reason, SpoofedSource | Truncated);
            for _ in 0..2 {
                let run = lab.sent_by("a", &packet);
                if mode == Mode::Observe || (mode == Mode::Audit && proven) {
                    run.would_drop(reason).bears(if proven { Lab::RELAXED } else { Lab::DOUBTFUL });
                } else {
                    run.drops(reason).is_not_stamped();
                }
            }
        }
        lab.sent_by("a", between(family, BLUE_A, BLUE_B)).passes(SharedNetwork).is_stamped_as("a");
        if !of_host {
            lab.sent_by("db", between(family, DB, BLUE_A)).drops(DefaultDeny);
        }
    }
}

#[rstest]
fn an_endpoints_mode_comes_before_the_hosts(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.host_mode(Mode::Observe);
    lab.endpoint_mode("a", Some(Mode::Enforce));
    lab.sent_by("a", between(family, BLUE_A, DB)).drops(DefaultDeny);
    lab.sent_by("db", between(family, DB, BLUE_A)).would_drop(DefaultDeny);
    // Who is delivered to is asked for its own.
    lab.delivered_to("a", between(family, OUTSIDER, BLUE_A)).drops(DefaultDeny);
    lab.delivered_to("b", between(family, OUTSIDER, BLUE_B)).would_drop(DefaultDeny);
}

#[rstest]
fn nobody_known_has_the_hosts_mode(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.interface("stray");
    let packet = between(family, BLUE_A, BLUE_B);
    lab.endpoint("new");
    for (mode, relaxed) in [(Mode::Audit, false), (Mode::Observe, true)] {
        lab.host_mode(mode);
        for (who, reason) in [("stray", NoEndpoint), ("new", Quarantined)] {
            let run = lab.sent_by(who, &packet);
            if relaxed {
                run.would_drop(reason).bears(Lab::DOUBTFUL);
            } else {
                run.drops(reason);
            }
        }
    }
    lab.delivered_to("stray", &packet).stamped_by("a").would_drop(NoEndpoint);
    lab.delivered_to("stray", &packet).relaxed_by("a", Lab::RELAXED).passes_counted_before();
}

#[rstest]
fn an_order_ends_by_itself(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, DB);
    let ordered = |until| ModeRecord { until, ordered: Mode::Observe as u8, ..ModeRecord::default() };
    for endpoint in [None, Some("a")] {
        lab.set_mode(endpoint, ordered(boottime() + HOUR));
        lab.sent_by("a", &packet).would_drop(DefaultDeny);
        lab.set_mode(endpoint, ordered(boottime()));
        lab.sent_by("a", &packet).drops(DefaultDeny);
        lab.set_mode(endpoint, ordered(0));
        lab.sent_by("a", &packet).would_drop(DefaultDeny);
        lab.set_mode(endpoint, ModeRecord::default());
        lab.sent_by("a", &packet).drops(DefaultDeny);
    }
}

#[rstest]
fn each_packet_is_counted_once(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.host_mode(Mode::Observe);
    let packet = between(family, BLUE_A, DB);
    for _ in 0..3 {
        lab.sent_by("a", &packet).would_drop(DefaultDeny).bears(Lab::RELAXED);
        lab.delivered_to("db", &packet).relaxed_by("a", Lab::RELAXED).passes_counted_before();
    }
    let flow = lab.flow(&packet);
    assert_eq!((flow.verdict.as_str(), flow.reason.as_str()), ("would-drop", "default-deny"));
    assert_eq!((flow.packets_fwd, flow.endpoint_src.as_deref()), (3, Some("a")));
    let counted = Counter { packets: 3, bytes: 3 * packet.bytes().len() as u64 };
    assert_eq!(lab.reason(Verdict::WouldDrop(DefaultDeny)), counted);
    assert_eq!(lab.reason(Verdict::Drop(DefaultDeny)), Counter::default());
    // Endpoints have sent and received it.
    assert_eq!((lab.counters_of("a").sent, lab.counters_of("db").received), (counted, counted));
    assert_eq!(lab.counters_of("a").sent_dropped, Counter::default());
}

#[rstest]
fn a_pass_where_it_is_delivered_is_no_news_of_what_was_let_go_on(
    mut lab: Lab,
    #[values(V4, V6)] family: Family,
) {
    // The policy has changed in between.
    let packet = between(family, BLUE_A, BLUE_B);
    lab.delivered_to("b", &packet).relaxed_by("a", Lab::RELAXED).passes_counted_before();
    assert!(lab.flows_of(&packet).is_empty());
}

#[rstest]
fn who_is_taken_seriously_gets_nothing_from_who_is_not(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.endpoint_mode("a", Some(Mode::Observe));
    let packet = between(family, BLUE_A, DB);
    lab.sent_by("a", &packet).would_drop(DefaultDeny).bears(Lab::RELAXED);
    lab.delivered_to("db", &packet).relaxed_by("a", Lab::RELAXED).drops(DefaultDeny);
    let (would, did) = (Verdict::WouldDrop(DefaultDeny), Verdict::Drop(DefaultDeny));
    assert_eq!((lab.reason(would).packets, lab.reason(did).packets), (1, 1));
    // Each hook has a record of its own.
    let mut verdicts: Vec<_> = lab.flows_of(&packet).into_iter().map(|flow| flow.verdict).collect();
    verdicts.sort_unstable();
    assert_eq!(verdicts, ["drop", "would-drop"]);
    // The other way round only the receiver tells.
    lab.sent_by("db", packet.answer()).drops(DefaultDeny);
    lab.delivered_to("a", packet.answer()).stamped_by("db").would_drop(DefaultDeny);
}

#[rstest]
fn a_doubtful_stamp_proves_nothing(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.endpoint_mode("a", Some(Mode::Observe));
    let spoofed = between(family, BLUE_B, DB);
    lab.sent_by("a", &spoofed).would_drop(SpoofedSource).bears(Lab::DOUBTFUL);
    for (source, reason) in
        [(BLUE_A, UnstampedSource), (DB, UnstampedSource), (BLUE_FAR, MaskedSource), (HOST, MaskedSource)]
    {
        let packet = between(family, source, BLUE_B);
        for _ in 0..2 {
            lab.delivered_to("b", &packet).relaxed_by("a", Lab::DOUBTFUL).drops(reason);
        }
    }
    lab.endpoint_mode("b", Some(Mode::Observe));
    // Counted where it entered.
    lab.delivered_to("b", between(family, BLUE_A, BLUE_B))
        .relaxed_by("a", Lab::DOUBTFUL)
        .passes_counted_before();
}

#[rstest]
fn a_relaxed_stamp_proves_that_a_local_source_is_its_own(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.delivered_to("b", between(family, BLUE_A, BLUE_B))
        .relaxed_by("a", Lab::RELAXED)
        .passes_counted_before();
    lab.delivered_to("b", between(family, BLUE_FAR, BLUE_B))
        .relaxed_by("a", Lab::RELAXED)
        .drops(MaskedSource);
    lab.delivered_to("b", between(family, HOST, BLUE_B)).relaxed_by("a", Lab::RELAXED).drops(MaskedSource);
}

#[rstest]
fn what_is_on_a_link_only_is_doubted_too(mut lab: Lab) {
    lab.apply(&format!(
        "{TENANTS}[[rule]]\nname = \"all\"\nfrom = [\"any\"]\nto = [\"any\"]\nallow = [\"any\"]\n"
    ));
    let packet = from("fe80::7".parse::<std::net::Ipv6Addr>().unwrap()).to(BLUE_B.v6).udp(9);
    lab.delivered_to("b", &packet).relaxed_by("a", Lab::DOUBTFUL).drops(MaskedSource);
    lab.delivered_to("b", &packet).relaxed_by("a", Lab::RELAXED).passes_counted_before();
}

#[rstest]
fn a_record_starts_anew_under_another_verdict(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, DB);
    let seen = |lab: &mut Lab, verdict: &str, packets| {
        let flow = lab.flow(&packet);
        assert_eq!((flow.verdict.as_str(), flow.packets_fwd), (verdict, packets));
    };
    for _ in 0..3 {
        lab.sent_by("a", &packet).drops(DefaultDeny);
    }
    seen(&mut lab, "drop", 3);
    lab.host_mode(Mode::Audit);
    for _ in 0..2 {
        lab.sent_by("a", &packet).would_drop(DefaultDeny);
    }
    seen(&mut lab, "would-drop", 2);
    lab.host_mode(Mode::Enforce);
    lab.sent_by("a", &packet).drops(DefaultDeny);
    seen(&mut lab, "drop", 1);
    // And whatever the record remembers, judged anew.
    lab.host_mode(Mode::Observe);
    lab.forget_flows();
    lab.sent_by("a", &packet).would_drop(DefaultDeny);
    seen(&mut lab, "would-drop", 1);
}

#[rstest]
fn the_fragments_of_what_is_let_go_on_go_on(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.endpoint_mode("a", Some(Mode::Observe));
    let datagram = || between(family, DB, BLUE_B).udp(53);
    ruled.endpoint_mode("db", Some(Mode::Audit));
    ruled.sent_by("db", datagram().fragment(0, true)).would_drop(DefaultDeny);
    ruled.sent_by("db", datagram().fragment(185, false)).would_drop(DefaultDeny);
    // Of a first one with a wrong source nobody learns the ports.
    ruled.sent_by("a", datagram().id(7).fragment(0, true)).would_drop(SpoofedSource);
    ruled.sent_by("db", datagram().id(7).fragment(185, false)).would_drop(Fragment);
}

#[rstest]
fn to_all_speaks_only_who_says_who_it_is(mut lab: Lab) {
    let group = "239.1.2.3".parse::<std::net::Ipv4Addr>().unwrap();
    lab.host_mode(Mode::Audit);
    let of = |source: std::net::Ipv4Addr| from(source).to(group).udp(5353);
    lab.sent_by("a", of(BLUE_A.v4)).would_drop(Multicast).bears(Lab::RELAXED);
    lab.sent_by("a", of(BLUE_B.v4)).drops(SpoofedSource);
    lab.delivered_to("b", of(BLUE_A.v4)).relaxed_by("a", Lab::RELAXED).passes_counted_before();
    lab.delivered_to("b", of(BLUE_A.v4)).drops(UnstampedSource);
    lab.delivered_to("b", of(OUTSIDER.v4)).would_drop(Multicast);
}

#[rstest]
fn neighbours_who_lie_are_heard_only_by_who_observes(mut lab: Lab) {
    let stolen = arp_reply(BLUE_B.v4, BLUE_A.v4);
    lab.host_mode(Mode::Audit);
    lab.sent_by("a", &stolen).drops(SpoofedNeighbor);
    lab.endpoint_mode("a", Some(Mode::Observe));
    lab.sent_by("a", &stolen).would_drop(SpoofedNeighbor).bears(Lab::DOUBTFUL);
    lab.delivered_to("db", &stolen).relaxed_by("a", Lab::DOUBTFUL).drops(SpoofedNeighbor);
    // Not even for an address of nobody here.
    let router = router_advertisement("fe80::99".parse().unwrap());
    for claim in [router, arp_reply(OUTSIDER.v4, BLUE_A.v4), neighbor_advertisement(BLUE_FAR.v6, BLUE_FAR.v6)]
    {
        lab.delivered_to("db", &claim).relaxed_by("a", Lab::DOUBTFUL).drops(SpoofedNeighbor);
        lab.delivered_to("db", &claim).passes(Neighbor);
    }
}

/// What was let go on makes nobody the one who asked: it ends with the mode.
#[rstest]
fn what_was_let_go_on_opens_nothing_in_the_other_direction(#[values(V4, V6)] family: Family) {
    let mut lab = lab();
    lab.apply(&format!(
        "{TENANTS}[[rule]]\nname = \"web\"\nfrom = [\"blue\"]\nto = [\"db\"]\nallow = [\"tcp/80\"]\n"
    ));
    let to_host = between(family, DB, HOST).tcp(22);
    // From the port that db itself may be asked at.
    let to_blue = between(family, DB, BLUE_A).tcp(22).from_port(80);
    lab.host_mode(Mode::Audit);
    lab.sent_by("db", &to_host).would_drop(DefaultDeny);
    lab.delivered_to("db", to_host.answer()).locally_generated().passes(HostOpen);
    lab.sent_by("db", &to_blue).would_drop(DefaultDeny);
    lab.sent_by("a", to_blue.answer()).passes(AllowedByRule);
    for packet in [&to_host, &to_blue] {
        lab.sent_by("db", packet.clone().ack()).would_drop(DefaultDeny);
    }
    lab.host_mode(Mode::Enforce);
    for packet in [&to_host, &to_blue] {
        lab.sent_by("db", packet.clone().ack()).drops(DefaultDeny);
    }
}

#[rstest]
fn what_the_host_may_unpack_proves_nothing(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.endpoint_mode("a", Some(Mode::Audit));
    let to_host = || between(family, BLUE_A, HOST);
    for packet in [to_host().udp(4789), to_host().protocol(4), to_host().protocol(47)] {
        lab.sent_by("a", packet).would_drop(DefaultDeny).bears(Lab::DOUBTFUL);
    }
    lab.sent_by("a", to_host().tcp(22)).would_drop(DefaultDeny).bears(Lab::RELAXED);
}

#[rstest]
fn a_guard_lets_go_on_what_its_hook_would(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.uplink("uplink");
    let (sent, arriving) = (between(family, BLUE_A, OUTSIDER), between(family, OUTSIDER, BLUE_A));
    let spoofed = between(family, BLUE_B, BLUE_A);
    ruled.guarded_by("a", &sent).drops(DefaultDeny);
    ruled.guarded_by("uplink", &arriving).drops(DefaultDeny);
    ruled.endpoint_mode("a", Some(Mode::Audit));
    ruled.guarded_by("a", &sent).passes_uncounted();
    ruled.guarded_by("uplink", &arriving).passes_uncounted();
    ruled.guarded_by("a", &spoofed).drops(SpoofedSource);
    // Whose the mode is where nobody is known.
    ruled.guarded_by("uplink", &spoofed).drops(SpoofedOutside);
    ruled.host_mode(Mode::Observe);
    ruled.guarded_by("uplink", &spoofed).passes_uncounted();
    assert_eq!(ruled.reason(Verdict::WouldDrop(DefaultDeny)), Counter::default());
}

#[rstest]
fn before_the_first_policy_a_mode_holds_already(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.sent_by("a", between(family, BLUE_A, BLUE_B)).drops(NoPolicy);
    lab.host_mode(Mode::Audit);
    lab.sent_by("a", between(family, BLUE_A, BLUE_B)).would_drop(NoPolicy);
}
