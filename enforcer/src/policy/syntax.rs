//! TOML text to a table with spans, reporting what is no TOML.
//!
//! On the policy's way: in front of the spec, which gives the table its meaning.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    ops::Range,
};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

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
    let table = table.into_inner();
    let span = |error: &toml::de::Error| error.span().unwrap_or(text.len()..text.len());
    if let Some(error) = errors.iter().find(|error| error.message() != DUPLICATE) {
        let message = format!("not valid TOML: {}", error.message());
        let mistake = Diagnostic::new(Place::new(source, span(error)), message, "here");
        found.push(match unquoted(text, span(error).start) {
            Some(prefix) => mistake.help(format!("prefixes need quotes: \"{prefix}\"")),
            None => mistake,
        });
        return None;
    }
    if !errors.is_empty() {
        let outline = Outline::new(text, &table);
        found.extend(outline.explain(source, errors.iter().map(span)));
    }
    Some(table)
}

/// The address or prefix around `offset`, if it stands there as it is: TOML takes it for a number.
fn unquoted(text: &str, offset: usize) -> Option<&str> {
    let offset = text.floor_char_boundary(offset);
    let other = |letter: char| !(letter.is_ascii_hexdigit() || ".:/".contains(letter));
    let (before, behind) = text.split_at(offset);
    let start = before.rfind(other).map_or(0, |at| text.ceil_char_boundary(at + 1));
    let end = behind.find(other).map_or(text.len(), |at| offset + at);
    let word = &text[start..end];
    let is_address = word.parse::<IpNet>().is_ok() || word.parse::<IpAddr>().is_ok();
    (is_address && !text[..start].ends_with(['"', '\''])).then_some(word)
}

/// Where everything is defined first, which the parser does not say.
struct Outline<'a> {
    text: &'a str,
    /// Header lines such as `[network.blue]`, by their offsets.
    headers: BTreeMap<usize, &'a str>,
    /// Offset of the first of equal headers.
    first: HashMap<&'a str, usize>,
    /// Ends of all keys by their names and starts.
    keys: BTreeMap<(&'a str, usize), usize>,
}

impl<'a> Outline<'a> {
    fn new(text: &'a str, table: &'a DeTable) -> Self {
        let mut headers = BTreeMap::new();
        let mut first = HashMap::new();
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let header = line.trim_start();
            if header.starts_with('[') {
                let start = offset + line.len() - header.len();
                let header = header.split_inclusive(']').next().unwrap_or_default();
                headers.insert(start, header);
                first.entry(header).or_insert(start);
            }
            offset += line.len();
        }
        let mut keys = BTreeMap::new();
        collect_keys(table, &mut keys);
        Self { text, headers, first, keys }
    }

    /// One mistake for each thing defined again. The keys of a table defined again are mere
    /// consequences of its header, which comes before them.
    fn explain(&self, source: usize, duplicates: impl Iterator<Item = Range<usize>>) -> Vec<Diagnostic> {
        let mut repeated = HashSet::new();
        let mut found = Vec::new();
        for duplicate in duplicates {
            let (start, header) = self.header_before(duplicate.start);
            let (what, first) = if duplicate.start < start + header.len() {
                repeated.insert(start);
                (header, self.same_header(start, header, &duplicate))
            } else if repeated.contains(&start) {
                continue;
            } else {
                let key = self.text[duplicate.clone()].trim_matches(['"', '\'']);
                (key, self.key_before(key, duplicate.start))
            };
            let message = format!("`{what}` is defined twice");
            let diagnostic = Diagnostic::new(Place::new(source, duplicate), message, "defined again here");
            found.push(match first {
                Some(first) => diagnostic.related(Place::new(source, first), "first defined here"),
                None => diagnostic,
            });
        }
        found
    }

    /// The header in whose table `offset` lies, and where it starts; the file's own table has none.
    fn header_before(&self, offset: usize) -> (usize, &'a str) {
        self.headers.range(..=offset).next_back().map_or((0, ""), |(&start, &header)| (start, header))
    }

    /// Where the first header of that text has the same key.
    fn same_header(&self, start: usize, header: &str, key: &Range<usize>) -> Option<Range<usize>> {
        let first = *self.first.get(header).filter(|&&first| first < start)?;
        Some(first + key.start - start..first + key.end - start)
    }

    /// The last key of that name in front of `end`: the same table, since tables lie in one piece.
    fn key_before(&self, name: &'a str, end: usize) -> Option<Range<usize>> {
        let (&(_, start), &end) = self.keys.range((name, 0)..(name, end)).next_back()?;
        Some(start..end)
    }
}

fn collect_keys<'a>(table: &'a DeTable, keys: &mut BTreeMap<(&'a str, usize), usize>) {
    for (key, value) in table {
        keys.insert((key.get_ref().as_ref(), key.span().start), key.span().end);
        match value.get_ref() {
            DeValue::Table(table) => collect_keys(table, keys),
            DeValue::Array(array) => {
                let tables = array.iter().filter_map(|element| element.get_ref().as_table());
                tables.for_each(|table| collect_keys(table, keys));
            }
            _ => {}
        }
    }
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
    fn an_address_without_quotes_is_told_as_one() {
        for (list, prefix) in [
            ("[10.1.0.0/24]", "10.1.0.0/24"),
            ("[\"10.2.0.0/16\", 10.1.0.0/24]", "10.1.0.0/24"),
            ("[2001:db8::/32]", "2001:db8::/32"),
            ("10.1.0.5", "10.1.0.5"),
        ] {
            let text = mistakes(&format!("version = 1\n[network.blue]\nprefixes = {list}\n"));
            assert!(text.ends_with(&format!("help: prefixes need quotes: \"{prefix}\"")), "{text}");
        }
        assert!(!mistakes("prefixes = [\"10.1.0.0/24\" \"10.2.0.0/24\"]\n").contains("quotes"));
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
    fn duplicates_outside_of_tables_and_in_arrays_of_tables_have_both_places() {
        insta::assert_snapshot!(mistakes("version = 1\n'version' = 1\n[[r]]\nk = 1\nk = 2\n"), @r"
        error: `version` is defined twice
         --> policy.toml:2:1
          |
        2 | 'version' = 1
          | ^^^^^^^^^ defined again here
          |
         ::: policy.toml:1:1
          |
        1 | version = 1
          | ------- first defined here

        error: `k` is defined twice
         --> policy.toml:5:1
          |
        5 | k = 2
          | ^ defined again here
          |
         ::: policy.toml:4:1
          |
        4 | k = 1
          | - first defined here
        ");
    }

    #[test]
    fn a_header_in_another_spelling_is_found_again_without_its_first_place() {
        insta::assert_snapshot!(mistakes("[network.blue]\n[network.\"blue\"]\n"), @r#"
        error: `[network."blue"]` is defined twice
         --> policy.toml:2:10
          |
        2 | [network."blue"]
          |          ^^^^^^ defined again here
        "#);
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
