//! `nft -j list ruleset`: the rules of nftables, and of iptables where it speaks nftables. Extensions of
//! iptables are opaque there; their names are told, their arguments are not. So what a rule *says* is taken from
//! the listing for people, by its handle.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Chain, Does, Effect, Rule, Table};

/// Why a listing cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// It is no JSON.
    #[error("nft's listing is no JSON")]
    Syntax(#[from] serde_json::Error),
    /// It is JSON, but not what nft writes.
    #[error("nft's listing has no list of objects")]
    Shape,
}

/// Handles of rules are unique in a table.
type Texts = BTreeMap<(String, u64), String>;

/// Reads `nft -j list ruleset`, with the words of `nft -a list ruleset`.
pub fn tables(json: &str, listing: &str) -> Result<Vec<Table>, ListingError> {
    let root: Value = serde_json::from_str(json)?;
    let objects = root["nftables"].as_array().ok_or(ListingError::Shape)?;
    let texts = texts(listing);
    let named = Named::collect(objects);
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for object in objects {
        if let Some(chain) = object.get("chain") {
            let table = table_of(&mut tables, chain);
            table.chains.insert(word(chain, "name"), read_chain(chain));
        } else if let Some(rule) = object.get("rule") {
            let rules = read_rule(rule, &texts, &named);
            let table = table_of(&mut tables, rule);
            table.chains.entry(word(rule, "chain")).or_default().rules.push(rules);
        }
    }
    Ok(tables.into_values().collect())
}

fn word(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

/// A table by family and name, as both listings write it.
fn table_name(object: &Value) -> String {
    format!("{} {}", word(object, "family"), word(object, "table"))
}

fn table_of<'t>(tables: &'t mut BTreeMap<String, Table>, object: &Value) -> &'t mut Table {
    tables.entry(table_name(object)).or_insert_with(|| Table {
        family: word(object, "family"),
        name: word(object, "table"),
        chains: BTreeMap::new(),
    })
}

fn read_chain(chain: &Value) -> Chain {
    Chain {
        hook: chain["hook"].as_str().map(str::to_owned),
        drops: chain["policy"] == "drop",
        packets: None,
        rules: Vec::new(),
    }
}

/// What rules refer to by name: counters, and maps of verdicts.
struct Named<'j>(BTreeMap<(String, String), &'j Value>);

impl<'j> Named<'j> {
    fn collect(objects: &'j [Value]) -> Self {
        let named = objects.iter().filter_map(|object| object.get("counter").or_else(|| object.get("map")));
        Self(named.map(|object| ((table_name(object), word(object, "name")), object)).collect())
    }

    fn get(&self, table: &str, name: &str) -> Option<&'j Value> {
        self.0.get(&(table.to_owned(), name.to_owned())).copied()
    }
}

fn read_rule(rule: &Value, texts: &Texts, named: &Named<'_>) -> Rule {
    let (table, handle) = (table_name(rule), rule["handle"].as_u64());
    let expressions = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
    let text = handle.and_then(|handle| texts.get(&(table.clone(), handle)).cloned());
    let mut read = Rule {
        handle,
        packets: None,
        text: text.unwrap_or_else(|| fallback(rule, expressions)),
        does: Vec::new(),
    };
    for (kind, value) in expressions.iter().filter_map(Value::as_object).flatten() {
        match kind.as_str() {
            "counter" => {
                let counter = value.as_str().and_then(|name| named.get(&table, name)).unwrap_or(value);
                read.packets = counter["packets"].as_u64();
            }
            "vmap" => read.does.extend(elements(value, &table, named).filter_map(decision)),
            _ => read.does.extend(does(kind, value)),
        }
    }
    read
}

/// What there is to say about a rule that nft lists in one way only.
fn fallback(rule: &Value, expressions: &[Value]) -> String {
    let kinds = expressions.iter().filter_map(Value::as_object).flat_map(|object| object.keys());
    let kinds: Vec<&str> = kinds.map(String::as_str).collect();
    rule["comment"].as_str().map_or_else(|| kinds.join(" "), str::to_owned)
}

fn does(kind: &str, value: &Value) -> Option<Does> {
    let effect = match kind {
        "drop" | "reject" => Effect::Drops,
        "masquerade" | "snat" => Effect::HidesSender,
        "dnat" | "redirect" | "tproxy" => Effect::Redirects,
        "jump" | "goto" => return Some(Does::Sends(word(value, "target"))),
        "xt" if value["type"] == "target" => return Does::target(value["name"].as_str()?),
        // An nft that knows no extensions says no more than that there is one.
        "xt" if value.is_null() => Effect::Unknown,
        _ => return None,
    };
    Some(Does::Affects(effect))
}

/// The verdicts of a map, named or written in the rule.
fn elements<'j>(vmap: &'j Value, table: &str, named: &Named<'j>) -> impl Iterator<Item = &'j Value> {
    let data = &vmap["data"];
    let name = data.as_str().and_then(|name| name.strip_prefix('@'));
    let list = name.and_then(|name| named.get(table, name)).map_or(&data["set"], |map| &map["elem"]);
    list.as_array().into_iter().flatten().filter_map(|element| element.get(1))
}

fn decision(verdict: &Value) -> Option<Does> {
    let (kind, value) = verdict.as_object()?.iter().next()?;
    does(kind, value)
}

/// The words of every rule, without what its counter counts.
fn texts(listing: &str) -> Texts {
    let mut texts = Texts::new();
    let mut table = String::new();
    for line in listing.lines() {
        let Some((words, handle)) = line.rsplit_once(" # handle ") else { continue };
        if let Some(name) = words.strip_prefix("table ") {
            name.trim_end_matches(" {").clone_into(&mut table);
        } else if words.starts_with("\t\t")
            && let Ok(handle) = handle.parse()
        {
            texts.insert((table.clone(), handle), uncounted(words.trim()));
        }
    }
    texts
}

fn uncounted(rule: &str) -> String {
    let words: Vec<&str> = rule.split(' ').collect();
    let mut kept = Vec::new();
    let mut rest = words.as_slice();
    while let [first, more @ ..] = rest {
        rest = if let ["counter", "packets", _, "bytes", _, behind @ ..] = rest {
            behind
        } else {
            kept.push(*first);
            more
        };
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::{Finding, walk::findings};

    fn found(json: &str, listing: &str) -> String {
        let findings = findings(&tables(json, listing).unwrap());
        findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_docker_writes_through_iptables_nft() {
        let found = found(include_str!("recorded/docker-nft.json"), include_str!("recorded/docker-nft.txt"));
        insta::assert_snapshot!(found);
    }

    #[test]
    fn verdict_maps_named_counters_gotos_and_every_family() {
        let found = found(include_str!("recorded/native.json"), include_str!("recorded/native.txt"));
        insta::assert_snapshot!(found);
    }

    #[test]
    fn a_rule_that_only_one_listing_has_is_told_by_its_kinds() {
        let found = found(include_str!("recorded/native.json"), "");
        assert!(
            found.contains("handle 17 (postrouting) hides who sends (NAT), 0 packets: match counter snat")
        );
        assert!(found.contains("handle 13 (forward) drops, 0 packets: no strays"), "{found}");
    }

    #[test]
    fn an_nft_without_extensions_leaves_open_what_they_do() {
        let json = r#"{"nftables": [
            {"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "hook": "postrouting", "policy": "accept"}},
            {"rule": {"family": "ip", "table": "nat", "chain": "POSTROUTING", "handle": 7, "expr": [{"xt": null}]}}
        ]}"#;
        assert_eq!(
            found(json, ""),
            "ip nat POSTROUTING handle 7 (postrouting) does what nft cannot tell: xt"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(tables("nft: error", ""), Err(ListingError::Syntax(_))));
        assert!(matches!(tables("{}", ""), Err(ListingError::Shape)));
        assert_eq!(found("{\"nftables\": [{\"rule\": {}}, {\"chain\": 7}, 3]}", ""), "");
    }
}
