//! `iptables-legacy-save -c`: rules of the kernel's older tables, which `nft` does not see.

use std::collections::BTreeMap;

use super::{Chain, Does, Rule, Table};

/// Reads a listing; lines that mean nothing to us are passed over.
pub fn tables(family: &str, listing: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    for line in listing.lines() {
        if let Some(name) = line.strip_prefix('*') {
            let (family, name) = (family.to_owned(), name.to_owned());
            tables.push(Table { family, name, chains: BTreeMap::new() });
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some((name, chain)) = line.strip_prefix(':').and_then(chain) {
            table.chains.insert(name, chain);
        } else if let Some((name, rule)) = rule(line) {
            table.chains.entry(name).or_default().rules.push(rule);
        }
    }
    // A target is a chain or an extension; which one is known when all chains are.
    for table in &mut tables {
        let names: Vec<String> = table.chains.keys().cloned().collect();
        let rules = table.chains.values_mut().flat_map(|chain| &mut chain.rules);
        for rule in rules {
            let extension = |does: &Does| matches!(does, Does::Sends(target) if !names.contains(target));
            rule.does.retain(|does| !extension(does));
        }
    }
    tables
}

/// `FORWARD DROP [12:3456]`; a chain of somebody's own has `-` for a policy.
fn chain(line: &str) -> Option<(String, Chain)> {
    let [name, policy, counter] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let built_in = policy != "-";
    let chain = Chain {
        hook: built_in.then(|| name.to_lowercase()),
        drops: policy == "DROP",
        packets: packets(counter),
        rules: Vec::new(),
    };
    Some((name.to_owned(), chain))
}

/// `[12:3456] -A FORWARD -o docker0 -j DROP`
fn rule(line: &str) -> Option<(String, Rule)> {
    let (counter, rest) = line.split_once(" -A ")?;
    let (name, text) = rest.split_once(' ')?;
    let words: Vec<&str> = text.split(' ').collect();
    let target = words.windows(2).rev().find(|pair| matches!(pair[0], "-j" | "-g")).map(|pair| pair[1])?;
    let does = Does::target(target).unwrap_or_else(|| Does::Sends(target.to_owned()));
    let rule = Rule { handle: None, packets: packets(counter), text: text.to_owned(), does: vec![does] };
    Some((name.to_owned(), rule))
}

fn packets(counter: &str) -> Option<u64> {
    counter.strip_prefix('[')?.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::walk::findings;

    #[test]
    fn what_docker_writes_through_iptables_legacy() {
        let found = findings(&tables("ip", include_str!("recorded/docker-legacy.txt")));
        insta::assert_snapshot!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn what_is_no_listing_has_no_rules() {
        assert_eq!(tables("ip", "iptables-save v1.8.9 (legacy): Cannot initialize: Permission denied\n"), []);
        let odd = tables("ip6", "*filter\n:FORWARD\n[] -A X\n[1:1] -A FORWARD -m comment\nCOMMIT\n");
        assert_eq!(findings(&odd), []);
    }
}
