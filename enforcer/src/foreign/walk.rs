//! From hooks through chains to what concerns traffic between workloads.

use std::collections::BTreeSet;

use super::{Chain, Does, Effect, Finding, Rule, Table};
use crate::datapath::gate;

/// Where a packet between two workloads, or between one and the world, comes by.
const HOOKS: [&str; 5] = ["ingress", "prerouting", "forward", "postrouting", "egress"];

/// Families of the gate: its tables are ours.
const OURS: [&str; 3] = ["bridge", "arp", "inet"];

/// Everything in the way, the worst first: what drops before what rewrites, what met packets before what met
/// none.
pub fn findings(tables: &[Table]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in tables.iter().filter(|table| !is_ours(table)) {
        let mut told = BTreeSet::new();
        for (name, chain) in &table.chains {
            if let Some(hook) = chain.hook.as_deref().filter(|hook| HOOKS.contains(hook)) {
                findings.extend(policy(table, name, chain, hook));
                follow(table, name, hook, &mut told, &mut findings);
            }
        }
    }
    findings.sort_by_key(|finding| (finding.effect, std::cmp::Reverse(finding.packets)));
    findings
}

fn is_ours(table: &Table) -> bool {
    table.name == gate::TABLE && OURS.contains(&table.family.as_str())
}

fn policy(table: &Table, name: &str, chain: &Chain, hook: &str) -> Option<Finding> {
    chain.drops.then(|| Finding {
        family: table.family.clone(),
        table: table.name.clone(),
        chain: name.to_owned(),
        hook: hook.to_owned(),
        handle: None,
        effect: Effect::Drops,
        text: "policy drop".to_owned(),
        packets: chain.packets,
    })
}

/// `told`: chains by the hook that they were reached from already; chains may call each other in many ways.
fn follow<'t>(
    table: &'t Table,
    name: &'t str,
    hook: &'t str,
    told: &mut BTreeSet<(&'t str, &'t str)>,
    findings: &mut Vec<Finding>,
) {
    let Some(chain) = table.chains.get(name).filter(|_| told.insert((name, hook))) else { return };
    for rule in &chain.rules {
        let mut effects = BTreeSet::new();
        for does in &rule.does {
            match does {
                Does::Sends(target) => follow(table, target, hook, told, findings),
                Does::Affects(effect) if concerns(*effect, hook) => drop(effects.insert(*effect)),
                Does::Affects(_) => {}
            }
        }
        findings.extend(effects.into_iter().map(|effect| finding(table, name, hook, rule, effect)));
    }
}

/// Whom a packet is for is decided before it is routed, who it comes from afterwards; elsewhere such a rule is
/// about the host's own packets.
fn concerns(effect: Effect, hook: &str) -> bool {
    match effect {
        Effect::Drops => true,
        Effect::HidesSender => hook == "postrouting",
        Effect::Redirects => hook == "prerouting",
        Effect::Unknown => matches!(hook, "prerouting" | "postrouting"),
    }
}

fn finding(table: &Table, chain: &str, hook: &str, rule: &Rule, effect: Effect) -> Finding {
    Finding {
        family: table.family.clone(),
        table: table.name.clone(),
        chain: chain.to_owned(),
        hook: hook.to_owned(),
        handle: rule.handle,
        effect,
        text: rule.text.clone(),
        packets: rule.packets,
    }
}
