//! What another policy would do to the conversations of this moment.

use std::time::{Duration, SystemTime};

use enforcer_common::{
    flow::FlowKey,
    policy::{Party, Point, Ruling},
    verdict::{DropReason, PassReason},
};

use crate::{
    datapath::flows::{Flow, protocol_number},
    policy::Tables,
    report::Impact,
};

/// A conversation that was silent for longer is over, as far as one can tell.
const LATELY: Duration = Duration::from_mins(5);

/// Judges every conversation that was seen lately by `policy`.
pub fn impact(flows: Vec<Flow>, policy: &Tables) -> Impact {
    let now = SystemTime::now();
    let mut impact = Impact::default();
    for flow in flows.into_iter().filter(|flow| is_recent(flow, now)) {
        let passes = |slug: &str| flow.reason == slug;
        let rests_on_policy =
            [PassReason::SharedNetwork, PassReason::AllowedByRule, PassReason::Reply].map(PassReason::slug);
        let denied_by_policy = [DropReason::DefaultDeny, DropReason::DeniedByRule].map(DropReason::slug);
        if rests_on_policy.into_iter().any(passes) {
            if admits(&flow, policy) == Some(false) {
                impact.cut.push(flow);
            }
        } else if denied_by_policy.into_iter().any(passes) && admits(&flow, policy) == Some(true) {
            impact.admitted.push(flow);
        }
    }
    impact
}

fn is_recent(flow: &Flow, now: SystemTime) -> bool {
    let seen = humantime::parse_rfc3339(&flow.last_seen).ok();
    seen.is_some_and(|seen| now.duration_since(seen).map_or(true, |age| age < LATELY))
}

/// Whether the policy lets the conversation be opened; `None` for a protocol of no number.
fn admits(flow: &Flow, policy: &Tables) -> Option<bool> {
    let party = |address, endpoint: &Option<String>| Party {
        membership: match endpoint.as_deref() {
            Some("host") => policy.host,
            _ => policy.membership(address),
        },
        local: endpoint.is_some(),
    };
    let (src, dst) = (party(flow.src, &flow.endpoint_src), party(flow.dst, &flow.endpoint_dst));
    let key = key(flow)?;
    // Only its answers are remembered: the other end opened it.
    let ruling = if flow.reason == PassReason::Reply.slug() {
        policy.ruling(&dst, &src, Point::of(&key.reversed()))
    } else {
        policy.ruling(&src, &dst, Point::of(&key))
    };
    Some(matches!(ruling, Ruling::Shared(_) | Ruling::Allowed(_)))
}

fn key(flow: &Flow) -> Option<FlowKey> {
    Some(FlowKey {
        src: flow.src.into(),
        dst: flow.dst.into(),
        src_port: flow.src_port.to_be(),
        dst_port: flow.dst_port.to_be(),
        protocol: protocol_number(&flow.proto)?,
        icmp_type: flow.icmp_type.unwrap_or_default(),
        ..FlowKey::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{Capacity, Ids, Policy, Source, compile},
        render::samples,
    };

    fn tables(text: &str) -> Tables {
        let source = Source { name: "p.toml".to_owned(), text: format!("version = 1\n{text}") };
        let policy = Policy::parse(&[source]).unwrap();
        compile(&policy, &Ids::default().assign(&policy).unwrap(), Capacity::default()).unwrap()
    }

    fn flow(verdict: &str, reason: &str, ends: [&str; 2], port: u16) -> Flow {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Flow {
            proto: "tcp".to_owned(),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            src: ends[0].parse().unwrap(),
            dst: ends[1].parse().unwrap(),
            src_port: 40_000,
            dst_port: port,
            last_seen: now,
            ..samples::flows()[0].clone()
        }
    }

    const WEB: &str = "[network.a]\nprefixes = ['10.1.0.0/24']\n[network.b]\nprefixes = ['10.2.0.0/24']\n\
        [[rule]]\nname = 'web'\nfrom = ['a']\nto = ['b']\nallow = ['tcp/80']";

    #[test]
    fn what_no_rule_allows_any_more_is_cut() {
        let flows = [
            flow("pass", "allowed-by-rule", ["10.1.0.1", "10.2.0.1"], 80),
            flow("pass", "allowed-by-rule", ["10.1.0.1", "10.2.0.1"], 22),
            flow("pass", "shared-network", ["10.1.0.1", "10.1.0.2"], 22),
            flow("pass", "host-open", ["192.0.2.1", "10.1.0.2"], 22),
        ];
        let impact = impact(flows.into(), &tables(WEB));
        assert_eq!(impact.cut.iter().map(|flow| flow.dst_port).collect::<Vec<_>>(), [22]);
        assert_eq!(impact.cut[0].dst.to_string(), "10.2.0.1");
        assert!(impact.admitted.is_empty());
    }

    #[test]
    fn an_answer_stands_for_the_conversation_it_is_in() {
        let mut answer = flow("pass", "reply", ["10.2.0.1", "10.1.0.1"], 40_000);
        answer.src_port = 80;
        assert_eq!(impact(vec![answer.clone()], &tables(WEB)), Impact::default());
        answer.src_port = 81;
        assert_eq!(impact(vec![answer], &tables(WEB)).cut.len(), 1);
    }

    #[test]
    fn what_a_rule_allows_from_now_on_is_admitted() {
        let mut old = flow("drop", "default-deny", ["10.1.0.1", "10.2.0.1"], 80);
        let spoofed = flow("drop", "spoofed-source", ["10.1.0.1", "10.2.0.1"], 80);
        assert_eq!(impact(vec![old.clone(), spoofed], &tables(WEB)).admitted, [old.clone()]);
        old.last_seen = "2020-01-01T00:00:00.000Z".to_owned();
        assert_eq!(impact(vec![old], &tables(WEB)), Impact::default(), "long ago");
    }
}
