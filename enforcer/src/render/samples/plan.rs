//! An edit of the small host's policy.

use crate::{
    policy::{
        diff::{Change, Diff, RuleChange, SetChange},
        rule::{Action, Rule, Side},
        world::WorldMoves,
    },
    report::{Impact, PlanReport, UsageReport},
};

/// A network grows, one becomes a group, and the web is opened.
pub(crate) fn plan() -> PlanReport {
    PlanReport {
        generation: Some(4),
        digest_before: "1a".repeat(32),
        digest_after: "2b".repeat(32),
        diff: diff(),
        world: WorldMoves {
            into: vec!["10.99.0.0/16".parse().unwrap()],
            out_of: (0..12).map(|n| format!("10.{n}.0.0/24").parse().unwrap()).collect(),
        },
        impact: Some(Impact { cut: super::flows()[..1].to_vec(), admitted: Vec::new() }),
        members_unknown: Vec::new(),
        force_needed_by: Some("the web".to_owned()),
        warnings: vec!["group `db` has no member: `except` covers all of it".to_owned()],
        capacity: [("prefix entries", 12, 1_048_576), ("rules", 2, 65_535)]
            .map(|(of, used, limit)| UsageReport { of: of.to_owned(), used, limit })
            .into(),
    }
}

fn diff() -> Diff {
    let many = |count: u8| (0..count).map(|n| format!("10.{n}.0.0/24").parse().unwrap()).collect();
    let set = |name: &str, change, prefixes_added, prefixes_removed| SetChange {
        name: name.parse().unwrap(),
        change,
        prefixes_added,
        prefixes_removed,
        except_added: Vec::new(),
        except_removed: Vec::new(),
        members_added: Vec::new(),
        members_removed: Vec::new(),
        mode: None,
    };
    let except_added = vec!["10.1.0.13/32".parse().unwrap()];
    Diff {
        networks: vec![
            set("all", Change::Added, many(9), Vec::new()),
            SetChange { except_added, ..set("blue", Change::Changed, Vec::new(), many(1)) },
            set("db", Change::Removed, Vec::new(), many(1)),
        ],
        groups: vec![set("db", Change::Added, many(1), Vec::new())],
        rules: vec![
            rule("the web", Change::Changed, Some("tcp/80"), Some("tcp/443")),
            rule("time", Change::Added, None, Some("udp/123")),
        ],
    }
}

/// A rule about a service of the world.
fn rule(name: &str, change: Change, before: Option<&str>, after: Option<&str>) -> RuleChange {
    let allow = |service: &str| {
        let side = |end: &str| Side { ends: [end.parse().unwrap()].into(), except: [].into() };
        let services = [service.parse().unwrap()].into();
        Rule::new(side("blue"), side("world"), Action::Allow, services).unwrap()
    };
    RuleChange { name: name.parse().unwrap(), change, before: before.map(allow), after: after.map(allow) }
}
