//! Model to tables: one longest-prefix table whose every entry holds all networks that cover it and all
//! ends of rules that match it, and what the rules say between two ends.
//!
//! On the policy's way: text → spec → model → **tables**. Pure and deterministic: the same policy and
//! ids give the same tables, byte for byte.
//!
//! ```text
//! rules ──ends──▶ ends of both sides, pairs of them ──services──▶ pairs, ranges
//! networks, groups, inline prefixes, ends ──sweep──▶ prefixes, list, members
//! ```
//!
//! Everything is linear in the text. No pair of memberships is ever looked at.

mod capacity;
mod ends;
mod services;
mod state;
mod sweep;

pub use capacity::{Capacity, CompileError};

use super::{ids::Ids, model::Policy, name::RuleName, rule::Rule, tables::Tables};
use ends::Connections;

/// A rule under its number.
struct NumberedRule<'p> {
    id: u32,
    name: &'p RuleName,
    rule: &'p Rule,
}

/// The tables of `policy` under the ids of `ids`, if the kernel can hold them.
pub fn compile(policy: &Policy, ids: &Ids, capacity: Capacity) -> Result<Tables, CompileError> {
    let rules = numbered(policy, ids)?;
    let connections = Connections::new(&rules);
    capacity.check_pairs(connections.pairs.len())?;
    let mut tables = Tables {
        networks: policy.networks.len() as u32,
        rules: policy.rules.len() as u32,
        ..Tables::default()
    };
    services::write(&rules, &connections, capacity, &mut tables)?;
    sweep::write(policy, ids, &connections, capacity, &mut tables)?;
    capacity.check(&tables)?;
    Ok(tables)
}

fn numbered<'p>(policy: &'p Policy, ids: &Ids) -> Result<Vec<NumberedRule<'p>>, CompileError> {
    let rules = policy.rules.iter().map(|(name, rule)| {
        let id = ids.rules.id(name).ok_or_else(|| CompileError::NoRuleId { rule: name.clone() })?;
        Ok(NumberedRule { id, name, rule })
    });
    rules.collect()
}

#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod ruling_tests;
#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
