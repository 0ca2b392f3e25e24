//! The rules of the policy, and what each decided.

use anyhow::Context;

use super::View;
use crate::report::RuleReport;

impl View<'_> {
    /// Every rule of the policy, also one that never decided anything.
    pub fn rules(&self) -> anyhow::Result<Vec<RuleReport>> {
        let rules = self.saved.policy.rules.iter().map(|(name, rule)| {
            let id = self.saved.ids.rules.id(name).with_context(|| format!("rule {name} has no id"))?;
            let counter = self.tables.rule_counter(id)?;
            Ok(RuleReport {
                name: name.to_string(),
                id,
                action: rule.action(),
                from: rule.from().clone(),
                to: rule.to().clone(),
                services: rule.services().clone(),
                packets: counter.packets,
                bytes: counter.bytes,
            })
        });
        rules.collect()
    }
}
