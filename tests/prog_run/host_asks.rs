//! The host as an end that a host file describes: what workloads may ask of it is a list of the operator's, and
//! it may have to ask by rules itself.

use enforcer::host_end;
use enforcer_common::{
    host::HostEnd,
    mode::Mode,
    verdict::{DropReason::*, PassReason::*},
};
use enforcer_tests::{
    packet::{
        BLUE_A, DB, Family, Family::*, HOST, Packet, Party, from, neighbor_advertisement,
        neighbor_solicitation,
    },
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, between, without_policy};

/// The host may scrape *blue*.
const SCRAPE: &str = r#"
[[rule]]
name = "scrape"
from = ["host"]
to = ["blue"]
allow = ["tcp/9100", "udp/9100", "ping"]
"#;

fn to(family: Family, src: Party, dst: Party) -> Packet {
    from(src.on(family)).to(dst.on(family))
}

/// A host that opens nothing without a rule.
fn asking_by_rules(rules: &str) -> Lab {
    let mut lab = without_policy();
    lab.host_is(&HostEnd { flags: HostEnd::ASKS_BY_RULES, ..host_end::builtin() });
    lab.apply(&format!("{TENANTS}{rules}"));
    lab
}

#[rstest]
fn the_host_file_says_what_workloads_may_ask(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.apply(TENANTS);
    let services = ["tcp/8000-8010", "udp/123", "sctp/7"].map(|service| service.parse().unwrap());
    lab.host_is(&HostEnd { allow: host_end::ranges(&services).unwrap(), ..host_end::builtin() });
    let ask = || to(family, BLUE_A, HOST);
    for _ in 0..2 {
        for packet in [ask().tcp(8000), ask().tcp(8005), ask().tcp(8010), ask().udp(123), ask().sctp(7)] {
            lab.sent_by("a", packet).passes(HostAllowed);
        }
        for packet in [ask().tcp(7999), ask().tcp(8011), ask().udp(8000), ask().udp(53), ask().ping()] {
            lab.sent_by("a", packet).drops(DefaultDeny);
        }
    }
    // Another list holds with the next packet, for known flows, too.
    lab.host_is(&HostEnd { allow: host_end::ranges(&services[1..]).unwrap(), ..host_end::builtin() });
    lab.sent_by("a", ask().tcp(8000)).drops(DefaultDeny);
    lab.sent_by("a", ask().udp(123)).passes(HostAllowed);
    // What stays open from outside is no workload's.
    lab.sent_by("a", ask().tcp(22)).drops(DefaultDeny);
}

/// Whoever has lost the table, or has an older daemon, lets nobody ask for anything.
#[rstest]
fn an_empty_list_admits_nothing(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.apply(TENANTS);
    lab.host_is(&HostEnd::default());
    for packet in [to(family, BLUE_A, HOST).udp(53), to(family, BLUE_A, HOST).ping()] {
        lab.sent_by("a", packet).drops(DefaultDeny);
    }
}

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(9100))]
#[case::udp(|packet: Packet| packet.udp(9100))]
#[case::ping(Packet::ping)]
fn a_host_that_asks_by_rules_does(#[case] make: fn(Packet) -> Packet, #[values(V4, V6)] family: Family) {
    let mut lab = asking_by_rules(SCRAPE);
    let question = make(to(family, HOST, BLUE_A));
    lab.sent_by("a", question.answer()).drops(DefaultDeny);
    for _ in 0..2 {
        lab.delivered_to("a", &question).locally_generated().passes(AllowedByRule);
        lab.sent_by("a", question.answer()).passes(Reply);
    }
    let unasked = make(to(family, HOST, DB));
    for _ in 0..2 {
        lab.delivered_to("db", &unasked).locally_generated().drops(DefaultDeny);
        // What was denied opened nothing.
        lab.sent_by("db", unasked.answer()).drops(DefaultDeny);
    }
    // A new policy ends what the old one admitted.
    lab.apply(TENANTS);
    lab.sent_by("a", question.answer()).drops(DefaultDeny);
    lab.delivered_to("a", &question).locally_generated().drops(DefaultDeny);
}

#[rstest]
fn it_answers_what_workloads_may_ask(#[values(V4, V6)] family: Family) {
    const ASKED: &str = "[[rule]]\nname = 'api'\nfrom = ['db']\nto = ['host']\nallow = ['tcp/6443']\n";
    let mut lab = asking_by_rules(ASKED);
    // By the allow list without any state: also what was asked before the programs were there.
    for question in
        [to(family, BLUE_A, HOST).udp(53), to(family, BLUE_A, HOST).tcp(53), to(family, BLUE_A, HOST).ping()]
    {
        lab.delivered_to("a", question.answer()).locally_generated().passes(HostOpen);
    }
    // By a rule only who asked.
    let question = to(family, DB, HOST).tcp(6443);
    lab.delivered_to("db", question.answer()).locally_generated().drops(DefaultDeny);
    lab.sent_by("db", &question).passes(AllowedByRule);
    lab.delivered_to("db", question.answer()).locally_generated().passes(HostOpen);
    lab.delivered_to("db", question.answer().from_port(6444)).locally_generated().drops(DefaultDeny);
}

#[rstest]
fn it_still_gives_addresses_away() {
    let mut lab = asking_by_rules("");
    lab.delivered_to("a", to(V4, HOST, BLUE_A).udp(68).from_port(67)).locally_generated().passes(HostOpen);
    lab.delivered_to("a", to(V6, HOST, BLUE_A).udp(546).from_port(547)).locally_generated().passes(HostOpen);
    let all = from(HOST.v4).to("255.255.255.255".parse::<std::net::IpAddr>().unwrap());
    lab.delivered_to("a", all.clone().udp(68).from_port(67)).locally_generated().passes(HostOpen);
    lab.delivered_to("a", all.udp(9)).locally_generated().drops(Multicast);
    lab.delivered_to("a", to(V4, HOST, BLUE_A).udp(67).from_port(68)).locally_generated().drops(DefaultDeny);
}

#[rstest]
fn it_tells_of_errors_and_finds_its_neighbours(#[values(V4, V6)] family: Family) {
    const OUT: &str = "[[rule]]\nname = 'out'\nfrom = ['blue']\nto = ['db']\nallow = ['udp/53']\n";
    let mut lab = asking_by_rules(OUT);
    let question = to(family, BLUE_A, DB).udp(53);
    let error = |about: &Packet| to(family, HOST, BLUE_A).too_big(about);
    lab.delivered_to("a", error(&question)).locally_generated().drops(DefaultDeny);
    lab.sent_by("a", &question).passes(AllowedByRule);
    lab.delivered_to("a", error(&question)).locally_generated().passes(IcmpError);
    // About what somebody else sent it says nothing.
    lab.delivered_to("a", error(&between(family, DB, BLUE_A))).locally_generated().drops(DefaultDeny);
    lab.delivered_to("a", neighbor_solicitation(HOST.v6, BLUE_A.v6)).locally_generated().passes(Neighbor);
    lab.delivered_to("a", neighbor_advertisement(HOST.v6, HOST.v6)).locally_generated().passes(Neighbor);
}

#[rstest]
fn it_reaches_no_group_and_no_fragment_without_a_rule(#[values(V4, V6)] family: Family) {
    let mut lab = asking_by_rules(SCRAPE);
    let group: std::net::IpAddr = if family == V4 { "224.0.0.251" } else { "ff02::fb" }.parse().unwrap();
    lab.delivered_to("a", from(HOST.on(family)).to(group).udp(5353)).locally_generated().drops(Multicast);
    let datagram = to(family, HOST, BLUE_A).udp(9100);
    lab.delivered_to("a", datagram.clone().fragment(185, false)).locally_generated().drops(Fragment);
    lab.delivered_to("a", datagram.clone().fragment(0, true)).locally_generated().passes(AllowedByRule);
    lab.delivered_to("a", datagram.fragment(185, false)).locally_generated().passes(AllowedByRule);
}

/// Somebody whom NAT gives the host's address has asked: that is no question of the host.
#[rstest]
fn who_is_behind_its_address_may_be_answered(#[values(V4, V6)] family: Family) {
    let mut lab = asking_by_rules("");
    let masked = between(family, HOST, enforcer_tests::packet::BLUE_B);
    lab.sent_by("b", masked.answer()).drops(DefaultDeny);
    lab.delivered_to("b", &masked).stamped_by("a").passes_counted_before();
    lab.sent_by("b", masked.answer()).passes(Reply);
    lab.delivered_to("b", &masked).locally_generated().drops(DefaultDeny);
}

#[rstest]
fn modes_and_denials_hold_for_the_host_too(#[values(V4, V6)] family: Family) {
    let mut lab = asking_by_rules("");
    let question = between(family, HOST, BLUE_A);
    lab.endpoint_mode("a", Some(Mode::Audit));
    lab.delivered_to("a", &question).locally_generated().would_drop(DefaultDeny);
    lab.endpoint_mode("a", None);
    lab.delivered_to("a", &question).locally_generated().drops(DefaultDeny);
    lab.apply(&format!("{TENANTS}[[rule]]\nname = 'n'\nfrom = ['host']\nto = ['blue']\ndeny = ['any']\n"));
    lab.delivered_to("a", &question).locally_generated().drops(DeniedByRule);
}
