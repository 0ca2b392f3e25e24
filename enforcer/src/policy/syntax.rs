//! TOML text to a table with spans, reporting what is no TOML.
//!
//! On the policy's way: in front of the spec, which gives the table its meaning.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::diagnostic::{Diagnostic, Place};

/// What the parser says about a key or table that is there already.
const DUPLICATE: &str = "duplicate key";

/// The table that `text` stands for.
///
/// `None` if the text is no TOML: one mistake is reported then, because what the parser finds behind
/// it are mostly its consequences. Something defined twice is no such mistake; the first definition
/// counts and everything else goes on being checked.
pub(super) fn parse<'t>(source: usize, text: &'t str, found: &mut Vec<Diagnostic>) -> Option<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let span = |error: &toml::de::Error| error.span().unwrap_or(text.len()..text.len());
    if let Some(error) = errors.iter().find(|error| error.message() != DUPLICATE) {
        let message = format!("not valid TOML: {}", error.message());
        found.push(Diagnostic::new(Place::new(source, span(error)), message, "here"));
        return None;
    }
    let mut repeated_header: Option<Range<usize>> = None;
    for duplicate in errors.iter().map(span) {
        // The keys of a table defined twice are mere consequences of its header.
        let explained =
            repeated_header.as_ref().is_some_and(|header| !has_header(text, header.end..duplicate.start));
        if explained {
            continue;
        }
        let line = &text[line_start(text, duplicate.start)..];
        if line.trim_start().starts_with('[') {
            repeated_header = Some(duplicate.clone());
        }
        found.push(report(source, text, &table, duplicate));
    }
    Some(table.into_inner())
}

fn report(source: usize, text: &str, table: &Spanned<DeTable>, duplicate: Range<usize>) -> Diagnostic {
    let key = text[duplicate.clone()].trim_matches(['"', '\'']);
    let start = line_start(text, duplicate.start);
    let line = text[start..].lines().next().unwrap_or_default();
    // The parser does not say where the first definition is, so look for it.
    let (what, first) = if line.trim_start().starts_with('[') {
        let (before, _) = DeTable::parse_recoverable(&text[..start]);
        let (header, _) = DeTable::parse_recoverable(line);
        (line.trim(), same_table(before.get_ref(), header.get_ref()))
    } else {
        (key, nearest_key(table.get_ref(), key, duplicate.start))
    };
    let message = format!("`{what}` is defined twice");
    let diagnostic = Diagnostic::new(Place::new(source, duplicate), message, "defined again here");
    match first {
        Some(first) => diagnostic.related(Place::new(source, first), "first defined here"),
        None => diagnostic,
    }
}

/// Where `tables` has the innermost key of `header`, a document of nothing but one header.
fn same_table(tables: &DeTable, header: &DeTable) -> Option<Range<usize>> {
    let (key, inner) = header.iter().next()?;
    let (first, value) = tables.get_key_value(key)?;
    match inner.get_ref() {
        DeValue::Table(inner) if !inner.is_empty() => same_table(value.get_ref().as_table()?, inner),
        _ => Some(first.span()),
    }
}

/// The last `key` in front of `end`, in whatever table.
fn nearest_key(table: &DeTable, key: &str, end: usize) -> Option<Range<usize>> {
    let here = table.iter().filter(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span());
    let below = table
        .values()
        .filter_map(|value| value.get_ref().as_table())
        .filter_map(|table| nearest_key(table, key, end));
    here.chain(below).filter(|span| span.end <= end).max_by_key(|span| span.start)
}

fn has_header(text: &str, range: Range<usize>) -> bool {
    text[range].lines().skip(1).any(|line| line.trim_start().starts_with('['))
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{diagnostic::Diagnostics, source::Source};

    fn mistakes(text: &str) -> String {
        let mut found = Vec::new();
        parse(0, text, &mut found);
        let source = Source { name: "policy.toml".into(), text: text.into() };
        Diagnostics::refuse(found, &[source]).unwrap_err().to_string()
    }

    #[test]
    fn broken_toml_is_one_mistake() {
        insta::assert_snapshot!(mistakes("version = 1\n[network.blue\nprefixes = = 3\n"), @r"
        error: not valid TOML: unclosed table, expected `]`
         --> policy.toml:2:14
          |
        2 | [network.blue
          |              ^ here
        ");
        insta::assert_snapshot!(mistakes("version = 1\n[network.blue]\nprefixes = [\"10.0.0.0/8\"\n"), @r#"
        error: not valid TOML: unclosed array, expected `]`
         --> policy.toml:3:25
          |
        3 | prefixes = ["10.0.0.0/8"
          |                         ^ here
        "#);
    }

    #[test]
    fn a_table_defined_twice_is_one_mistake_with_both_places() {
        let text = "[network.blue]\nprefixes = [\"10.0.0.0/8\"]\n\n[group.blue]\nprefixes = []\n\
                    [network.blue]\nprefixes = [\"11.0.0.0/8\"]\n";
        insta::assert_snapshot!(mistakes(text), @r"
        error: `[network.blue]` is defined twice
         --> policy.toml:6:10
          |
        6 | [network.blue]
          |          ^^^^ defined again here
          |
         ::: policy.toml:1:10
          |
        1 | [network.blue]
          |          ---- first defined here
        ");
    }

    #[test]
    fn a_key_defined_twice_is_one_mistake_with_both_places() {
        let text = "[network.red]\nprefixes = []\n[network.blue]\nprefixes = []\nprefixes = []\n";
        insta::assert_snapshot!(mistakes(text), @r"
        error: `prefixes` is defined twice
         --> policy.toml:5:1
          |
        5 | prefixes = []
          | ^^^^^^^^ defined again here
          |
         ::: policy.toml:4:1
          |
        4 | prefixes = []
          | -------- first defined here
        ");
    }

    #[test]
    fn the_first_definition_counts_and_later_tables_are_still_read() {
        let mut found = Vec::new();
        let text = "[n.a]\nk = 1\n[n.a]\nk = 2\n[n.b]\nk = 3\nk = 4\n";
        let table = parse(0, text, &mut found).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        let value = |name| table["n"].get_ref().get(name).unwrap().get_ref().get("k").unwrap().span();
        assert_eq!((&text[value("a")], &text[value("b")]), ("1", "3"));
    }
}
