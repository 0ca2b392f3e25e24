//! What is written of a rule: the keys of a `[[rule]]` table.

use std::fmt;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Element, List, MODE, Walk};
use crate::policy::{
    diagnostic::{Diagnostic, Place},
    mode::Mode,
    name::RuleName,
    rule::{Action, End, RuleError},
    service::Service,
};

/// Keys of a `[[rule]]` table.
const RULE_KEYS: [&str; 8] = ["name", "from", "to", "except_from", "except_to", "allow", "deny", "mode"];

const NAME: Element = Element { one: "a rule's name", many: "names", bad: "bad name" };
const END: Element = Element { one: "an end of a rule", many: "names and prefixes", bad: "names nobody" };
const SERVICE: Element = Element { one: "a service", many: "services", bad: "bad service" };

/// A `[[rule]]` table. What is none was reported; the rest may still be wrong.
pub(in crate::policy) struct RuleSpec {
    /// Where the table begins.
    pub place: Place,
    /// The name, and where it stands.
    pub name: Option<(RuleName, Place)>,
    pub from: Option<SideSpec>,
    pub to: Option<SideSpec>,
    pub services: Option<(Action, List<Service>)>,
    pub mode: Mode,
}

/// One side of a rule.
pub(in crate::policy) struct SideSpec {
    /// The key of its ends.
    pub key: &'static str,
    pub ends: List<End>,
    pub except: List<End>,
}

impl Walk<'_> {
    pub(super) fn rules(&mut self, value: &Spanned<DeValue>) -> Vec<RuleSpec> {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(value, "`rule`", "an array of tables");
            if let Some(mistake) = self.found.last_mut() {
                mistake.help = Some("write [[rule]] in front of each rule".to_owned());
            }
            return Vec::new();
        };
        array.iter().filter_map(|rule| self.rule(rule)).collect()
    }

    fn rule(&mut self, value: &Spanned<DeValue>) -> Option<RuleSpec> {
        let table = self.table(value, "a rule")?;
        let place = self.place(value.span());
        self.unknown_keys(table, &RULE_KEYS);
        let name = self.name(table, &place);
        let from = self.side(table, &place, "from", "except_from");
        let to = self.side(table, &place, "to", "except_to");
        let services = self.services(table, &place);
        let mode = self.mode(table);
        Some(RuleSpec { place, name, from, to, services, mode })
    }

    fn name(&mut self, table: &DeTable, here: &Place) -> Option<(RuleName, Place)> {
        let Some(value) = table.get("name") else {
            self.missing(here, "name", "say what the rule is for: name = \"web to db\"");
            return None;
        };
        let name = self.text::<RuleName>(value, NAME)?;
        Some((name.into_inner(), self.place(value.span())))
    }

    fn side(
        &mut self,
        table: &DeTable,
        here: &Place,
        key: &'static str,
        except: &'static str,
    ) -> Option<SideSpec> {
        let side = SideSpec { key, ends: self.list(table, key, END), except: self.list(table, except, END) };
        match table.get(key) {
            None => {
                let help =
                    format!("list networks, groups or prefixes, or world, host, any: {key} = [\"any\"]");
                self.missing(here, key, help);
                None
            }
            Some(value) => self.not_empty(key, value, &side.ends, "nobody").then_some(side),
        }
    }

    fn services(&mut self, table: &DeTable, here: &Place) -> Option<(Action, List<Service>)> {
        let allow = self.list(table, "allow", SERVICE);
        let deny = self.list(table, "deny", SERVICE);
        match (table.get_key_value("allow"), table.get_key_value("deny")) {
            (Some((_, value)), None) => {
                self.not_empty("allow", value, &allow, "nothing").then_some((Action::Allow, allow))
            }
            (None, Some((_, value))) => {
                self.not_empty("deny", value, &deny, "nothing").then_some((Action::Deny, deny))
            }
            (Some((allow, _)), Some((deny, _))) => {
                let place = self.place(deny.span());
                let diagnostic = Diagnostic::new(place, "a rule either allows or denies", "denies here");
                let diagnostic = diagnostic.related(self.place(allow.span()), "allows here");
                self.found.push(diagnostic.help(
                    "make two rules of it; what one denies no other allows, in whatever order they stand",
                ));
                None
            }
            (None, None) => {
                let message = "a rule has `allow` or `deny`";
                let diagnostic = Diagnostic::new(here.clone(), message, "neither in this rule");
                self.found.push(diagnostic.help("list services: allow = [\"tcp/443\"], or deny = [\"any\"]"));
                None
            }
        }
    }

    /// Of a rule that denies; one that allows stops nobody.
    fn mode(&mut self, table: &DeTable) -> Mode {
        let Some((key, value)) = table.get_key_value("mode") else { return Mode::default() };
        let mode = self.text::<Mode>(value, MODE);
        if let (Some((allow, _)), false) = (table.get_key_value("allow"), table.contains_key("deny")) {
            let place = self.place(key.span());
            let diagnostic =
                Diagnostic::new(place, RuleError::AuditedAllow.to_string(), "nothing to audit or enforce");
            self.found.push(diagnostic.related(self.place(allow.span()), "allows here"));
            return Mode::default();
        }
        mode.map(Spanned::into_inner).unwrap_or_default()
    }

    fn not_empty<T>(&mut self, key: &str, value: &Spanned<DeValue>, list: &List<T>, meaning: &str) -> bool {
        let empty = list.items.is_empty() && !list.flawed;
        if empty {
            let diagnostic = Diagnostic::new(self.place(value.span()), format!("`{key}` is empty"), meaning);
            self.found.push(diagnostic.help("list at least one, or remove the rule"));
        }
        !empty
    }

    fn missing(&mut self, rule: &Place, key: &str, help: impl fmt::Display) {
        let message = format!("missing `{key}`");
        let diagnostic = Diagnostic::new(rule.clone(), message, format!("no `{key}` in this rule"));
        self.found.push(diagnostic.help(help.to_string()));
    }
}
