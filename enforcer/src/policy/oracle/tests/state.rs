//! Conversations: who opened what, who may answer, and for how long.

use super::*;

const RULE: &str = "r allow blue db tcp/5432,udp/53,ping,proto/47,icmp/13";

fn ask(town: &mut Town, body: Body) -> String {
    town.sent("web", &ip(WEB, DB, body))
}

fn answer(town: &mut Town, body: Body) -> String {
    town.sent("db", &ip(DB, WEB, body))
}

#[test]
fn an_answer_needs_a_question() {
    let mut town = Town::new(RULE);
    assert_eq!(answer(&mut town, udp(53, 4000)), "default-deny");
    assert_eq!(ask(&mut town, udp(4000, 53)), "allowed-by-rule r");
    assert_eq!(answer(&mut town, udp(53, 4000)), "reply");
    assert_eq!(answer(&mut town, udp(53, 4001)), "default-deny");
    assert_eq!(town.delivered("web", Some("db"), &ip(DB, WEB, udp(53, 4000))), "reply");
}

#[test]
fn a_question_opens_where_it_is_delivered_too() {
    let mut town = Town::new("r allow world db udp/53");
    assert_eq!(town.delivered("db", None, &ip(STRANGER, DB, udp(4000, 53))), "allowed-by-rule r");
    assert_eq!(town.sent("db", &ip(DB, STRANGER, udp(53, 4000))), "reply");
}

#[test]
fn tcp_answers_with_an_acknowledgement_or_a_reset() {
    let mut town = Town::new(RULE);
    ask(&mut town, tcp(4000, 5432, SYN));
    assert_eq!(answer(&mut town, tcp(5432, 4000, SYN)), "default-deny");
    assert_eq!(answer(&mut town, tcp(5432, 4000, SYN | ACK)), "reply");
    assert_eq!(answer(&mut town, tcp(5432, 4000, RST)), "reply");
}

#[test]
fn of_icmp_only_an_echo_is_answered() {
    let mut town = Town::new(RULE);
    assert_eq!(ask(&mut town, ping()), "allowed-by-rule r");
    assert_eq!(answer(&mut town, pong()), "reply");
    assert_eq!(answer(&mut town, ping()), "default-deny");
    assert_eq!(ask(&mut town, icmp(13, &[])), "allowed-by-rule r");
    assert_eq!(answer(&mut town, icmp(13, &[])), "default-deny");
    ask(&mut town, (47, vec![]));
    assert_eq!(answer(&mut town, (47, vec![])), "reply");
}

#[test]
fn an_answer_passes_only_while_its_question_would() {
    let mut town = Town::new(RULE);
    ask(&mut town, udp(4000, 53));
    town.world.apply(policy("s allow blue db tcp"));
    assert_eq!(answer(&mut town, udp(53, 4000)), "default-deny");
    town.world.apply(policy("s allow blue db udp\nt deny db blue any"));
    assert_eq!(answer(&mut town, udp(53, 4000)), "reply");
    town.world.apply(policy("s allow blue db udp\nt deny blue db any"));
    assert_eq!(answer(&mut town, udp(53, 4000)), "default-deny");
}

/// How long a conversation may be silent behind these packets of *web* and *db*, in turn.
fn lives(packets: &[u8], seconds: u64) -> bool {
    let mut town = Town::new(RULE);
    for (index, &flags) in packets.iter().enumerate() {
        match index % 2 {
            0 => assert_eq!(ask(&mut town, tcp(4000, 5432, flags)), "allowed-by-rule r"),
            _ => assert_eq!(answer(&mut town, tcp(5432, 4000, flags)), "reply"),
        }
    }
    town.wait(seconds);
    answer(&mut town, tcp(5432, 4000, ACK)) == "reply"
}

#[test]
fn tcp_is_silent_as_long_as_its_flags_allow() {
    for (packets, seconds) in [
        (&[SYN][..], 60),
        (&[SYN, SYN | ACK], 7440),
        (&[SYN, FIN | ACK], 120),
        (&[SYN, SYN | ACK, FIN | ACK], 120),
        (&[SYN, RST], 10),
        (&[SYN, SYN | ACK, RST], 10),
        // Who goes on talking does not believe in the reset; a new connection knows nothing of it.
        (&[SYN, RST, ACK], 7440),
        (&[SYN, RST, SYN], 60),
        (&[SYN, FIN | ACK, SYN], 60),
    ] {
        assert!(lives(packets, seconds - 1), "{packets:?} {seconds}");
        assert!(!lives(packets, seconds), "{packets:?} {seconds}");
    }
}

#[test]
fn other_protocols_are_silent_for_as_long_as_theirs_allows() {
    for (question, reply, unanswered, answered) in [
        (udp(4000, 53), udp(53, 4000), 30, 180),
        (ping(), pong(), 30, 30),
        ((47, vec![]), (47, vec![]), 60, 3600),
    ] {
        let mut town = Town::new(RULE);
        ask(&mut town, question.clone());
        town.wait(unanswered - 1);
        assert_eq!(answer(&mut town, reply.clone()), "reply");
        town.wait(answered - 1);
        assert_eq!(answer(&mut town, reply.clone()), "reply");
        town.wait(answered);
        assert_eq!(answer(&mut town, reply.clone()), "default-deny");
        ask(&mut town, question.clone());
        town.wait(unanswered);
        assert_eq!(answer(&mut town, reply), "default-deny");
    }
}
