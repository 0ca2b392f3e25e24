//! By what an endpoint is told from others: its interface's name and alias, its MAC, its namespace, its
//! container.

use std::collections::BTreeSet;

use wildmatch::WildMatch;

/// What is known of an endpoint that the host file may go by.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name of the host-side interface.
    pub name: &'a str,
    /// Its alias.
    pub alias: Option<&'a str>,
    /// MAC of the workload's interface.
    pub mac: Option<[u8; 6]>,
    /// Names of the workload's namespace.
    pub netns: &'a BTreeSet<String>,
    /// What is known of its container: `docker:name:NAME`, `docker:label:KEY=VALUE`.
    pub labels: &'a BTreeSet<String>,
}

static NONE: BTreeSet<String> = BTreeSet::new();

impl<'a> Subject<'a> {
    /// An endpoint of which only the interface's name is known.
    pub const fn named(name: &'a str) -> Self {
        Self { name, alias: None, mac: None, netns: &NONE, labels: &NONE }
    }
}

/// How the host file names endpoints.
#[derive(Clone, Debug)]
pub enum SubjectPattern {
    /// By the interface's name.
    Name(WildMatch),
    /// By its alias: `alias:PATTERN`.
    Alias(WildMatch),
    /// By the MAC inside: `mac:02:00:00:00:00:05`.
    Mac([u8; 6]),
    /// By the namespace's name: `netns:NAME`.
    Netns(WildMatch),
    /// By a label: `docker:name:PATTERN`, `docker:label:KEY=VALUE`, `docker:label:KEY`.
    Label {
        /// The label, or its beginning up to the key.
        text: WildMatch,
        /// The same with any value, where none is given.
        keyed: Option<WildMatch>,
    },
}

impl SubjectPattern {
    /// Reads a `match`; an error says what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((kind, rest)) = text.split_once(':') else {
            return if text.is_empty() {
                Err(FORMS.to_owned())
            } else {
                Ok(Self::Name(WildMatch::new(text)))
            };
        };
        let pattern = || if rest.is_empty() { Err(FORMS.to_owned()) } else { Ok(WildMatch::new(rest)) };
        match kind {
            "alias" => pattern().map(Self::Alias),
            "netns" => pattern().map(Self::Netns),
            "mac" => mac(rest).map(Self::Mac),
            "docker" => label(text.trim(), rest),
            _ => Err(FORMS.to_owned()),
        }
    }

    /// Whether it means this endpoint.
    pub fn is(&self, subject: Subject<'_>) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(subject.name),
            Self::Alias(pattern) => subject.alias.is_some_and(|alias| pattern.matches(alias)),
            Self::Mac(mac) => subject.mac == Some(*mac),
            Self::Netns(pattern) => subject.netns.iter().any(|name| pattern.matches(name)),
            Self::Label { text, keyed } => {
                let matches =
                    |label: &str| text.matches(label) || keyed.as_ref().is_some_and(|it| it.matches(label));
                subject.labels.iter().any(|label| matches(label.trim()))
            }
        }
    }
}

const FORMS: &str = "write the name of an interface with * and ?, `alias:PATTERN`, `mac:02:00:00:00:00:05`, \
                     `netns:NAME`, `docker:name:PATTERN` or `docker:label:KEY=VALUE`";

fn mac(text: &str) -> Result<[u8; 6], String> {
    let octet = |part: &str| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2);
    let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
    let mac = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
    mac.filter(|mac| *mac != [0; 6]).ok_or_else(|| "write a MAC such as `mac:02:00:00:00:00:05`".to_owned())
}

fn label(text: &str, rest: &str) -> Result<SubjectPattern, String> {
    match rest.split_once(':') {
        Some(("name", pattern)) if !pattern.is_empty() => {
            Ok(SubjectPattern::Label { text: WildMatch::new(text), keyed: None })
        }
        Some(("label", label)) if !label.is_empty() && !label.starts_with('=') => {
            let keyed = (!label.contains('=')).then(|| WildMatch::new(&format!("{text}=*")));
            Ok(SubjectPattern::Label { text: WildMatch::new(text), keyed })
        }
        _ => Err("write `docker:name:PATTERN`, `docker:label:KEY=VALUE` or `docker:label:KEY`".to_owned()),
    }
}
