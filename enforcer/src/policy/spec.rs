//! What is written: the keys of a policy file, their types and their spans.
//!
//! On the policy's way: text → **spec** → model → tables. The table is walked by hand instead of
//! deserialized, because serde stops at the first mistake and an operator wants to see all of them.
//! A new kind of table is a new key in [`FILE_KEYS`] and a method of [`Walk`] that reads it.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Place},
    name::Name,
    prefix::Prefix,
    syntax,
};

/// The version of the language that this program speaks.
const VERSION: i64 = 1;

/// Keys of a file.
const FILE_KEYS: [&str; 2] = ["version", "network"];

/// Keys of a `[network.NAME]` table.
const NETWORK_KEYS: [&str; 2] = ["prefixes", "except"];

/// A `[network.NAME]` table whose name is good.
pub(super) struct NetworkSpec {
    pub name: Name,
    /// Where the name stands.
    pub place: Place,
    pub prefixes: PrefixList,
    pub except: PrefixList,
}

/// The good prefixes of a list.
#[derive(Default)]
pub(super) struct PrefixList {
    pub prefixes: Vec<Spanned<Prefix>>,
    /// Whether something in the list was reported, so that conclusions from its absence would mislead.
    pub flawed: bool,
}

/// The networks that a text defines; adds all mistakes in them to `found`.
pub(super) fn read(source: usize, text: &str, found: &mut Vec<Diagnostic>) -> Vec<NetworkSpec> {
    match syntax::parse(source, text, found) {
        Some(table) => Walk { source, found }.file(&table),
        None => Vec::new(),
    }
}

/// A walk through one file that collects mistakes and goes on.
struct Walk<'f> {
    source: usize,
    found: &'f mut Vec<Diagnostic>,
}

impl Walk<'_> {
    fn file(&mut self, table: &DeTable) -> Vec<NetworkSpec> {
        self.unknown_keys(table, &FILE_KEYS);
        self.version(table.get("version"));
        let Some(networks) = table.get("network") else { return Vec::new() };
        let Some(networks) = self.table(networks, "`network`") else { return Vec::new() };
        networks.iter().filter_map(|(name, value)| self.network(name.span(), name.get_ref(), value)).collect()
    }

    fn version(&mut self, written: Option<&Spanned<DeValue>>) {
        let Some(written) = written else {
            let diagnostic =
                Diagnostic::new(self.place(0..0), "missing `version`", "no version in this file");
            self.found.push(diagnostic.help(format!("add `version = {VERSION}` at the top")));
            return;
        };
        let Some(number) = written.get_ref().as_integer() else {
            return self.wrong_type(written, "`version`", "an integer");
        };
        if i64::from_str_radix(number.as_str(), number.radix()) != Ok(VERSION) {
            let message = format!("version {number} is not supported");
            let diagnostic = Diagnostic::new(self.place(written.span()), message, "unsupported");
            self.found.push(diagnostic.help(format!("this enforcer understands `version = {VERSION}`")));
        }
    }

    fn network(&mut self, span: Range<usize>, name: &str, value: &Spanned<DeValue>) -> Option<NetworkSpec> {
        let place = self.place(span);
        let parsed = name.parse::<Name>();
        if let Err(error) = &parsed {
            self.found.push(Diagnostic::new(place.clone(), error.to_string(), "bad name"));
        }
        let table = self.table(value, &format!("network `{name}`"))?;
        self.network_keys(name, table);
        let prefixes = self.prefixes(table, "prefixes");
        let except = self.prefixes(table, "except");
        Some(NetworkSpec { name: parsed.ok()?, place, prefixes, except })
    }

    /// An unknown table is most likely the tail of a name with a dot in it.
    fn network_keys(&mut self, name: &str, table: &DeTable) {
        let before = self.found.len();
        self.unknown_keys(table, &NETWORK_KEYS);
        let unknown = table.iter().filter(|(key, _)| !NETWORK_KEYS.contains(&key.get_ref().as_ref()));
        for ((key, value), diagnostic) in unknown.zip(&mut self.found[before..]) {
            if value.get_ref().is_table() {
                let quoted = format!("[network.\"{name}.{}\"]", key.get_ref());
                diagnostic.help = Some(format!("a name with a dot needs quotes: {quoted}"));
            }
        }
    }

    fn prefixes(&mut self, table: &DeTable, key: &str) -> PrefixList {
        let Some(value) = table.get(key) else { return PrefixList::default() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(value, &format!("`{key}`"), "an array of prefixes");
            return PrefixList { prefixes: Vec::new(), flawed: true };
        };
        let prefixes: Vec<_> = array.iter().filter_map(|element| self.prefix(element)).collect();
        let flawed = prefixes.len() < array.len();
        PrefixList { prefixes, flawed }
    }

    fn prefix(&mut self, value: &Spanned<DeValue>) -> Option<Spanned<Prefix>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, "a prefix", "a string");
            return None;
        };
        match text.parse::<Prefix>() {
            Ok(prefix) => Some(Spanned::new(value.span(), prefix)),
            Err(error) => {
                let place = self.place(value.span());
                self.found.push(Diagnostic::new(place, error.to_string(), "bad prefix"));
                None
            }
        }
    }

    fn table<'v, 'i>(&mut self, value: &'v Spanned<DeValue<'i>>, what: &str) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(value, what, "a table");
        }
        table
    }

    fn unknown_keys(&mut self, table: &DeTable, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let message = format!("unknown key `{}`; known: {}", key.get_ref(), known.join(", "));
            self.found.push(Diagnostic::new(self.place(key.span()), message, "unknown key"));
        }
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue>, what: &str, expected: &str) {
        let (article, kind) = match value.get_ref().type_str() {
            kind @ ("array" | "integer") => ("an", kind),
            kind => ("a", kind),
        };
        let message = format!("{what} must be {expected}, not {article} {kind}");
        let label = format!("this is {article} {kind}");
        self.found.push(Diagnostic::new(self.place(value.span()), message, label));
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place::new(self.source, span)
    }
}
