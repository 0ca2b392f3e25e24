//! What is written: the keys of a policy file, their types and their spans.
//!
//! On the policy's way: text → **spec** → model → tables. The table is walked by hand instead of
//! deserialized, because serde stops at the first mistake and an operator wants to see all of them.
//! A new kind of table is a new key in [`FILE_KEYS`] and a method of [`Walk`] that reads it.

mod rule;

use std::{borrow::Cow, fmt, ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Place},
    mode::Mode,
    name::Name,
    prefix::Prefix,
    selector::Selector,
    syntax,
};
pub(super) use rule::{RuleSpec, SideSpec};

/// The version of the language that this program speaks.
const VERSION: i64 = 1;

/// Keys of a file.
const FILE_KEYS: [&str; 4] = ["version", "network", "group", "rule"];

/// Keys that only a host file has.
const HOST_KEYS: [&str; 11] = [
    "attach",
    "control",
    "datapath",
    "docker",
    "endpoint",
    "guard",
    "host",
    "inspection",
    "mode",
    "policy",
    "uplink",
];

/// Keys of a `[network.NAME]` table; a group stops nothing, and so has no mode.
const NETWORK_KEYS: [&str; 4] = ["prefixes", "members", "except", "mode"];

/// Keys of a `[group.NAME]` table.
const GROUP_KEYS: [&str; 3] = ["prefixes", "members", "except"];

/// What one file says.
#[derive(Default)]
pub(super) struct FileSpec {
    pub sets: Vec<SetSpec>,
    pub rules: Vec<RuleSpec>,
    /// Whether a part could not be read at all, so that conclusions from the absence of a name would
    /// mislead.
    pub flawed: bool,
}

/// The two kinds of sets of addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Network,
    Group,
}

/// A `[network.NAME]` or `[group.NAME]` table whose name is good.
pub(super) struct SetSpec {
    pub kind: Kind,
    pub name: Name,
    /// Where the name stands.
    pub place: Place,
    pub prefixes: List<Prefix>,
    pub except: List<Prefix>,
    pub members: List<Selector>,
    pub mode: Mode,
}

/// The good elements of a list.
pub(super) struct List<T> {
    pub items: Vec<Spanned<T>>,
    /// Whether something in the list was reported, so that conclusions from its absence would mislead.
    pub flawed: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), flawed: false }
    }
}

/// What a list consists of, as messages call it.
#[derive(Clone, Copy)]
struct Element {
    one: &'static str,
    many: &'static str,
    bad: &'static str,
}

const PREFIX: Element = Element { one: "a prefix", many: "prefixes", bad: "bad prefix" };
const MEMBER: Element = Element { one: "a member", many: "members", bad: "names nobody" };
const MODE: Element = Element { one: "`mode`", many: "modes", bad: "unknown mode" };

/// What a text says; adds all mistakes in it to `found`.
pub(super) fn read(source: usize, text: &str, found: &mut Vec<Diagnostic>) -> FileSpec {
    match syntax::parse(source, text, found) {
        Some(table) => Walk { source, found }.file(&table),
        None => FileSpec { flawed: true, ..FileSpec::default() },
    }
}

/// The first key of a host file, in a file that says nothing of a policy.
fn host_key<'t, 'i>(table: &'t DeTable<'i>) -> Option<&'t Spanned<Cow<'i, str>>> {
    let is_policy = FILE_KEYS[1..].iter().any(|key| table.contains_key(*key));
    let of_host = table.keys().filter(|key| HOST_KEYS.contains(&key.get_ref().as_ref()));
    of_host.min_by_key(|key| key.span().start).filter(|_| !is_policy)
}

/// A walk through one file that collects mistakes and goes on.
struct Walk<'f> {
    source: usize,
    found: &'f mut Vec<Diagnostic>,
}

impl Walk<'_> {
    fn file(&mut self, table: &DeTable) -> FileSpec {
        if let Some(key) = host_key(table) {
            let place = self.place(key.span());
            let message = format!("this looks like a host file: it has `{}`", key.get_ref());
            let diagnostic = Diagnostic::new(place, message, "no key of a policy");
            self.found.push(diagnostic.help("a host file is checked with `enforcer check --config FILE`"));
            return FileSpec { flawed: true, ..FileSpec::default() };
        }
        let mut file = FileSpec::default();
        self.unknown_keys(table, &FILE_KEYS);
        self.version(table.get("version"));
        for kind in [Kind::Network, Kind::Group] {
            let Some(sets) = table.get(kind.key()) else { continue };
            let Some(sets) = self.table(sets, &format!("`{kind}`")) else {
                file.flawed = true;
                continue;
            };
            for (name, value) in sets {
                file.flawed |= !value.get_ref().is_table();
                file.sets.extend(self.set(kind, name.span(), name.get_ref(), value));
            }
        }
        file.rules = table.get("rule").map(|rules| self.rules(rules)).unwrap_or_default();
        file
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

    fn set(
        &mut self,
        kind: Kind,
        span: Range<usize>,
        name: &str,
        value: &Spanned<DeValue>,
    ) -> Option<SetSpec> {
        let place = self.place(span);
        let parsed = name.parse::<Name>();
        if let Err(error) = &parsed {
            self.found.push(Diagnostic::new(place.clone(), error.to_string(), "bad name"));
        }
        let table = self.table(value, &format!("{kind} `{name}`"))?;
        self.set_keys(kind, name, table);
        let prefixes = self.list(table, "prefixes", PREFIX);
        let except = self.list(table, "except", PREFIX);
        let members = self.list(table, "members", MEMBER);
        let mode = table.get("mode").filter(|_| kind == Kind::Network);
        let mode = mode.and_then(|mode| self.text(mode, MODE)).map(Spanned::into_inner).unwrap_or_default();
        Some(SetSpec { kind, name: parsed.ok()?, place, prefixes, except, members, mode })
    }

    /// An unknown table is most likely the tail of a name with a dot in it.
    fn set_keys(&mut self, kind: Kind, name: &str, table: &DeTable) {
        let before = self.found.len();
        self.unknown_keys(table, kind.keys());
        let unknown = table.iter().filter(|(key, _)| !kind.keys().contains(&key.get_ref().as_ref()));
        for ((key, value), diagnostic) in unknown.zip(&mut self.found[before..]) {
            if value.get_ref().is_table() {
                let quoted = format!("[{kind}.\"{name}.{}\"]", key.get_ref());
                diagnostic.help = Some(format!("a name with a dot needs quotes: {quoted}"));
            }
        }
    }

    fn list<T: FromStr<Err: fmt::Display>>(&mut self, table: &DeTable, key: &str, what: Element) -> List<T> {
        let Some(value) = table.get(key) else { return List::default() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(value, &format!("`{key}`"), &format!("an array of {}", what.many));
            return List { items: Vec::new(), flawed: true };
        };
        let items: Vec<_> = array.iter().filter_map(|element| self.text(element, what)).collect();
        let flawed = items.len() < array.len();
        List { items, flawed }
    }

    /// What a string stands for.
    fn text<T: FromStr<Err: fmt::Display>>(
        &mut self,
        value: &Spanned<DeValue>,
        what: Element,
    ) -> Option<Spanned<T>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, what.one, "a string");
            return None;
        };
        match text.parse::<T>() {
            Ok(item) => Some(Spanned::new(value.span(), item)),
            Err(error) => {
                let place = self.place(value.span());
                self.found.push(Diagnostic::new(place, error.to_string(), what.bad));
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

impl Kind {
    const fn key(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Group => "group",
        }
    }

    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Network => &NETWORK_KEYS,
            Self::Group => &GROUP_KEYS,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}
