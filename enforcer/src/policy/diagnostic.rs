//! Mistakes in a policy's text, each with its place, shown as compilers show them.
//!
//! On the policy's way: what leaves it when text does not become a model.

use std::{error::Error, fmt, ops::Range};

pub use annotate_snippets::Renderer;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Snippet};

use super::source::Source;

/// Beyond this many, mistakes are only counted: nobody reads on, and they tend to have one cause.
pub(super) const MAX_SHOWN: usize = 100;

/// Bytes of one source.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Index of the source among all sources of the policy.
    pub source: usize,
    /// First byte, and the one behind the last.
    pub span: (usize, usize),
}

impl Place {
    /// The bytes `span` of the source with that index.
    pub fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, span: (span.start, span.end) }
    }
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Where the caret points.
    pub place: Place,
    /// What is wrong, in one line.
    pub message: String,
    /// What stands beside the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Another place that explains this one, perhaps in another source, and what to say there.
    pub related: Option<(Place, String)>,
}

impl Diagnostic {
    /// A mistake without help and without a related place.
    pub fn new(place: Place, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { place, message: message.into(), label: label.into(), help: None, related: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same with a second place.
    #[must_use]
    pub fn related(self, place: Place, label: impl Into<String>) -> Self {
        Self { related: Some((place, label.into())), ..self }
    }

    fn group<'a>(&'a self, sources: &'a [Source]) -> Group<'a> {
        let primary = snippet(sources, &self.place, AnnotationKind::Primary, &self.label);
        let related =
            self.related.iter().map(|(place, label)| snippet(sources, place, AnnotationKind::Context, label));
        let group = Level::ERROR.primary_title(&self.message).element(primary).elements(related);
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }
}

/// The lines around a place only: a policy may have megabytes.
fn snippet<'a>(
    sources: &'a [Source],
    place: &Place,
    kind: AnnotationKind,
    label: &'a str,
) -> Snippet<'a, Annotation<'a>> {
    let Source { name, text } = &sources[place.source];
    let (start, end) = (text.floor_char_boundary(place.span.0), text.ceil_char_boundary(place.span.1));
    let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let last = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
    let line = 1 + text[..first].bytes().filter(|&byte| byte == b'\n').count();
    Snippet::source(&text[first..last])
        .path(name)
        .line_start(line)
        .annotation(kind.span(start - first..end - first).label(label))
}

/// All mistakes of a policy in the order of its sources; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
    sources: Vec<Source>,
}

impl Diagnostics {
    /// Refuses `sources` if anything was `found` in them.
    pub fn refuse(mut found: Vec<Diagnostic>, sources: &[Source]) -> Result<(), Self> {
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by(|a, b| a.place.cmp(&b.place));
        Err(Self { found, sources: sources.to_vec() })
    }

    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.found.iter()
    }

    /// All mistakes as text: [`Renderer::plain`], or [`Renderer::styled`] for a terminal.
    pub fn render(&self, renderer: &Renderer) -> String {
        let shown = self.found.iter().take(MAX_SHOWN);
        let mut parts: Vec<String> =
            shown.map(|diagnostic| renderer.render(&[diagnostic.group(&self.sources)])).collect();
        if let Some(more @ 1..) = self.found.len().checked_sub(MAX_SHOWN) {
            parts.push(format!("and {more} more errors"));
        }
        parts.join("\n\n")
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> [Source; 2] {
        [("a.toml", "one\ntwo é three\n"), ("b.toml", "\n\nvier\n")]
            .map(|(name, text)| Source { name: name.into(), text: text.into() })
    }

    fn refused(found: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics::refuse(found, &sources()).unwrap_err()
    }

    #[test]
    fn nothing_found_is_no_error() {
        assert_eq!(Diagnostics::refuse(Vec::new(), &sources()), Ok(()));
    }

    #[test]
    fn every_part_is_shown() {
        let diagnostic = Diagnostic::new(Place::new(0, 11..16), "three is one too many", "this")
            .help("write two")
            .related(Place::new(1, 2..6), "as here");
        insta::assert_snapshot!(refused(vec![diagnostic]), @r"
        error: three is one too many
         --> a.toml:2:7
          |
        2 | two é three
          |       ^^^^^ this
          |
         ::: b.toml:3:1
          |
        3 | vier
          | ---- as here
          |
          = help: write two
        ");
    }

    #[test]
    fn places_at_the_edges_are_shown() {
        let at = |span| Diagnostic::new(Place::new(0, span), "edge", "here");
        // The end of the text, beyond it, inside of a character, and across lines.
        insta::assert_snapshot!(refused(vec![at(17..17), at(90..99), at(9..10), at(1..7)]), @r"
        error: edge
         --> a.toml:1:2
          |
        1 |   one
          |  __^
        2 | | two é three
          | |___^ here

        error: edge
         --> a.toml:2:5
          |
        2 | two é three
          |     ^ here

        error: edge
         --> a.toml:3:1
          |
        3 |
          | ^ here

        error: edge
         --> a.toml:3:1
          |
        3 |
          | ^ here
        ");
    }

    #[test]
    fn an_empty_text_has_a_place() {
        let source = Source { name: "empty.toml".into(), text: String::new() };
        let found = vec![Diagnostic::new(Place::new(0, 0..0), "nothing", "here")];
        insta::assert_snapshot!(Diagnostics::refuse(found, &[source]).unwrap_err(), @r"
        error: nothing
         --> empty.toml:1:1
          |
        1 |
          | ^ here
        ");
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_text() {
        let at = |source, span| Diagnostic::new(Place::new(source, span), "mistake", "here");
        let refused = refused(vec![at(1, 2..6), at(0, 4..7), at(0, 0..3)]);
        let places: Vec<_> = refused.iter().map(|d| (d.place.source, d.place.span.0)).collect();
        assert_eq!(places, [(0, 0), (0, 4), (1, 2)]);
    }

    #[test]
    fn colour_is_the_callers_choice() {
        let refused = refused(vec![Diagnostic::new(Place::new(0, 0..3), "mistake", "here")]);
        assert!(!refused.to_string().contains('\x1b'));
        assert!(refused.render(&Renderer::styled()).contains('\x1b'));
    }

    #[test]
    fn thousands_of_mistakes_are_counted_not_shown() {
        let found = vec![Diagnostic::new(Place::new(0, 0..3), "mistake", "here"); MAX_SHOWN + 23];
        let text = refused(found).to_string();
        assert_eq!(text.matches("error: mistake").count(), MAX_SHOWN);
        assert!(text.ends_with("\n\nand 23 more errors"));
    }
}
