//! The gate: what comes from a workload's veth and bears no stamp came past no program of ours, and goes
//! nowhere. So a new workload's first packets are held back until its veth is attached to, also while no
//! daemon runs.
//!
//! It is a handful of stateless netfilter rules about names, kinds and the mark. `from_endpoint` runs
//! before netfilter and stamps every packet that it passes, so the rules need no upkeep when veths come
//! and go.

use std::fmt::Write as _;

use super::nft::{self, NftError};
use crate::config::Attach;

/// The name of our tables, one per family.
pub const TABLE: &str = "enforcer";

/// One chain: its family, its name, and its hook.
type Chain = (&'static str, &'static str, &'static str);

/// Every way from an interface into the host. A bridge hands frames to link-local MACs (STP, LLDP) past
/// its prerouting; ARP has no hook before input.
const CHAINS: [Chain; 4] = [
    ("bridge", "gate", "prerouting"),
    ("bridge", "gate_local", "input"),
    ("arp", "gate", "input"),
    ("inet", "gate", "prerouting"),
];

const FAMILIES: [&str; 3] = ["bridge", "arp", "inet"];

/// Before defragmentation (-400), which would mix what we have not seen with what we passed.
const PRIORITY: i32 = -500;

/// The longest name that an interface can have.
const NAME_MAX: usize = 15;

/// The rules for one host file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruleset {
    /// A table per family, in the words of `nft list table`.
    tables: [String; 3],
    /// Patterns that the rules do not say, or not exactly: there the gate stays open.
    pub inexact: Vec<String>,
}

/// What is installed, as this host's nft writes it: versions write the same rules differently.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing([String; 3]);

impl Ruleset {
    /// Holds back what comes from veths that `attach` wants, without any of the bits of `mark_mask`.
    pub fn new(attach: &Attach, mark_mask: u32) -> Self {
        let (excluded, included): (Vec<_>, Vec<_>) =
            (attach.excluded().collect(), attach.included().collect());
        let mut rules = String::new();
        for pattern in &excluded {
            let names = selector(pattern).unwrap_or_else(|| wider_selector(pattern));
            writeln!(rules, "\t\t{names}accept comment \"enforcer: excluded\"").expect("a string");
        }
        for names in included.iter().filter_map(|pattern| selector(pattern)) {
            let veth = format!("meta iifkind \"veth\" {names}");
            let unstamped = format!("meta mark & {mark_mask:#010x} == 0x00000000");
            writeln!(rules, "\t\t{veth}{unstamped} counter drop comment \"enforcer: unstamped\"")
                .expect("a string");
        }
        let inexact = excluded.into_iter().chain(included).filter(|pattern| selector(pattern).is_none());
        Self { tables: FAMILIES.map(|family| table(family, &rules)), inexact: inexact.collect() }
    }

    /// Installs the rules in one transaction, unless they are there already; no packet sees a moment
    /// without any.
    pub fn install(&self) -> Result<Listing, NftError> {
        if installed()?.as_ref().is_some_and(|listing| listing.0 == self.tables) {
            return Ok(Listing(self.tables.clone()));
        }
        nft::commit(&(removal() + &self.tables.concat()))?;
        list()
    }
}

/// Removes the gate; whether there was any of it.
pub fn remove() -> Result<bool, NftError> {
    let is_there = !present()?.is_empty();
    if is_there {
        nft::commit(&removal())?;
    }
    Ok(is_there)
}

/// The gate's tables that are there, for people.
pub fn present() -> Result<Vec<String>, NftError> {
    let mut present = Vec::new();
    for family in FAMILIES {
        if nft::has_table(family, TABLE)? {
            present.push(format!("nftables table {family} {TABLE}"));
        }
    }
    Ok(present)
}

/// What is installed; nothing unless every table is there.
pub fn installed() -> Result<Option<Listing>, NftError> {
    if present()?.len() == FAMILIES.len() { list().map(Some) } else { Ok(None) }
}

fn list() -> Result<Listing, NftError> {
    let [bridge, arp, inet] = FAMILIES;
    let table = |family| nft::list_table(family, TABLE);
    Ok(Listing([table(bridge)?, table(arp)?, table(inet)?]))
}

/// Deleting what is not there would fail, so it is made first.
fn removal() -> String {
    let lines = FAMILIES.map(|family| format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n"));
    lines.concat()
}

fn table(family: &str, rules: &str) -> String {
    let chains = CHAINS.into_iter().filter(|(of, ..)| *of == family).map(|(_, name, hook)| {
        format!(
            "\tchain {name} {{\n\
             \t\tcomment \"enforcer: what its programs have not seen does not leave a workload's veth\"\n\
             \t\ttype filter hook {hook} priority {PRIORITY}; policy accept;\n\
             {rules}\t}}\n"
        )
    });
    let chains: Vec<String> = chains.collect();
    format!("table {family} {TABLE} {{\n{}}}\n", chains.join("\n"))
}

/// The match for a pattern, with a blank behind it; empty for every name. nft compares with a literal or
/// with the beginning of a name, nothing else.
fn selector(pattern: &str) -> Option<String> {
    let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
    let fits = (1..=NAME_MAX).contains(&pattern.len());
    (fits && beginning.chars().all(is_literal))
        .then(|| if pattern == "*" { String::new() } else { format!("iifname \"{pattern}\" ") })
}

/// The closest match that leaves nothing out.
fn wider_selector(pattern: &str) -> String {
    let beginning: String = pattern.chars().take_while(|c| is_literal(*c)).take(NAME_MAX - 1).collect();
    selector(&(beginning + "*")).unwrap_or_default()
}

/// Characters that mean themselves within nft's quotes.
fn is_literal(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.:@+".contains(character)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;
    use crate::config::Config;

    fn ruleset(attach: &str) -> Ruleset {
        let config = Config::parse(Path::new("enforcer.toml"), &format!("[attach]\n{attach}")).unwrap();
        Ruleset::new(&config.attach, config.datapath.mark_mask)
    }

    #[test]
    fn the_rules_are_what_nft_lists() {
        let ruleset = ruleset("match = [\"veth*\", \"eth0.5\"]\nexclude = [\"veth-up\"]");
        insta::assert_snapshot!(ruleset.tables.concat());
        assert_eq!(ruleset.inexact, [""; 0]);
    }

    #[rstest]
    #[case::prefix("veth*", Some("iifname \"veth*\" "))]
    #[case::literal("veth-web", Some("iifname \"veth-web\" "))]
    #[case::everything("*", Some(""))]
    #[case::longest_name("veth01234567890", Some("iifname \"veth01234567890\" "))]
    #[case::longer_than_a_name("veth01234567890*", None)]
    #[case::one_character("veth?", None)]
    #[case::inner("ve*th", None)]
    #[case::quote("ve\"th*", None)]
    #[case::escape("ve\\*", None)]
    fn nft_knows_literals_and_beginnings(#[case] pattern: &str, #[case] expected: Option<&str>) {
        assert_eq!(selector(pattern).as_deref(), expected, "{pattern}");
    }

    #[test]
    fn an_exclusion_that_cannot_be_said_is_widened_and_a_match_left_out() {
        let ruleset = ruleset("match = [\"ve-?\", \"cali*\"]\nexclude = [\"cali-?x\", \"?\"]");
        let inet = &ruleset.tables[2];
        assert!(inet.contains("iifname \"cali-*\" accept"), "{inet}");
        assert!(inet.contains("\t\taccept comment"), "the second may be any name: {inet}");
        assert!(!inet.contains("ve-"), "{inet}");
        assert_eq!(ruleset.inexact, ["cali-?x", "?", "ve-?"]);
    }
}
