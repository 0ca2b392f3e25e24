//! How much the kernel's tables hold, and what is told when a policy needs more.

use enforcer_common::limits;
use thiserror::Error;

use crate::policy::{
    name::{Name, RuleName},
    prefix::Prefix,
    tables::Tables,
};

/// How much the kernel's tables hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Networks that one address may be a member of.
    pub networks_per_address: u32,
    /// Ends of rules that one address may match on one side.
    pub ends_per_address: u32,
    /// Entries of the longest-prefix table.
    pub prefixes: u32,
    /// Pairs of a set and a network in it; also networks and ends over all lists.
    pub set_members: u32,
    /// Pairs of ends that rules connect.
    pub rule_pairs: u32,
    /// Ranges of services between two ends.
    pub ranges_per_pair: u32,
    /// Ranges of services over all pairs.
    pub service_ranges: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            networks_per_address: limits::MAX_NETWORKS_PER_ADDRESS,
            ends_per_address: limits::MAX_ENDS_PER_ADDRESS,
            prefixes: limits::MAX_PREFIXES,
            set_members: limits::MAX_SET_MEMBERS,
            rule_pairs: limits::MAX_RULE_PAIRS,
            ranges_per_pair: limits::MAX_RANGES_PER_PAIR,
            service_ranges: limits::MAX_SERVICE_RANGES,
        }
    }
}

/// Why a policy has no tables.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CompileError {
    /// The ids were not made for this policy.
    #[error("network {network} has no id")]
    NoId { network: Name },
    /// The same.
    #[error("rule `{rule}` has no id")]
    NoRuleId { rule: RuleName },
    /// More than the kernel's search for a common network looks at.
    #[error("{prefix} is in {count} networks ({}), an address may be in {limit}", list(.first, *.count))]
    TooManyNetworks { prefix: Prefix, count: usize, first: Vec<Name>, limit: u32 },
    /// More than the kernel's search for rules looks at.
    #[error(
        "{who} is matched by {count} different lists under `{side}` ({}), an address may be matched by {limit}",
        rules(.first, *.count)
    )]
    TooManyEnds { who: String, side: &'static str, count: usize, first: Vec<RuleName>, limit: u32 },
    /// More than the kernel's search for a service looks at.
    #[error(
        "the same ends are connected by {count} {} ({}) with {} ranges of services, {} are possible",
        if *.count == 1 { "rule" } else { "rules" }, rules(.first, *.count),
        grouped(*.needed), grouped(*.limit as usize)
    )]
    TooManyRanges { count: usize, first: Vec<RuleName>, needed: usize, limit: u32 },
    /// A table is too small.
    #[error("policy needs {} {what}, the table holds {}", grouped(*.needed), grouped(*.limit as usize))]
    TableFull { what: &'static str, needed: usize, limit: u32 },
}

/// Names that an error lists before it only counts.
pub(super) const NAMED: usize = 3;

fn list(first: &[Name], count: usize) -> String {
    listed(first.iter().map(ToString::to_string), count)
}

fn rules(first: &[RuleName], count: usize) -> String {
    listed(first.iter().map(|name| format!("`{name}`")), count)
}

fn listed(first: impl Iterator<Item = String>, count: usize) -> String {
    let names: Vec<String> = first.collect();
    let more = if count > names.len() { ", …" } else { "" };
    names.join(", ") + more
}

/// A number with its thousands set apart.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

impl Capacity {
    pub(super) fn check_pairs(&self, needed: usize) -> Result<(), CompileError> {
        fits("pairs of ends that rules connect", needed, self.rule_pairs)
    }

    pub(super) fn check_ranges(&self, needed: usize) -> Result<(), CompileError> {
        fits("ranges of services", needed, self.service_ranges)
    }

    pub(super) fn check(&self, tables: &Tables) -> Result<(), CompileError> {
        fits("prefix entries", tables.prefixes.len(), self.prefixes)?;
        fits("membership entries", tables.list.len(), self.set_members)
    }
}

fn fits(what: &'static str, needed: usize, limit: u32) -> Result<(), CompileError> {
    if needed > limit as usize { Err(CompileError::TableFull { what, needed, limit }) } else { Ok(()) }
}
