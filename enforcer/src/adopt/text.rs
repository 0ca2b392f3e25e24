//! A draft as a policy file.

use std::fmt::Write as _;

use super::draft::{Draft, Network, Rule};
use crate::render::count;

/// Writes the file; it stands alone, and goes beside the files of a policy.
pub(super) fn write(draft: &Draft, conversations: usize, has_policy: bool) -> String {
    let seen = count(conversations, "conversation");
    let mut text = format!(
        "# Drafted by `enforcer adopt` from {seen}: what was seen, which need not be what should be.\n\
         # Read it, give things their names, and take out what nobody should do.\n"
    );
    if has_policy {
        text += "# It goes beside the policy in force: apply both together.\n";
    }
    for what in &draft.left_out {
        writeln!(text, "# Not in it: {what}.").expect("a string");
    }
    text += "version = 1\n";
    draft.networks.iter().for_each(|network| self::network(&mut text, network));
    draft.rules.iter().for_each(|rule| self::rule(&mut text, rule));
    text
}

fn network(text: &mut String, Network { name, members, prefixes }: &Network) {
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let members = printable(&members.join(", "));
    write!(
        text,
        "\n# They open conversations with each other: {members}\n[network.{name}]\nprefixes = {}\n",
        list(prefixes)
    )
    .expect("a string");
}

fn rule(text: &mut String, rule: &Rule) {
    let Rule { name, from, to, allow, packets, .. } = rule;
    write!(
        text,
        "\n# Seen: {}\n[[rule]]\nname = {}\nfrom = {}\nto = {}\nallow = {}\n",
        count(*packets as usize, "packet"),
        quoted(name),
        list(from),
        list(to),
        list(allow),
    )
    .expect("a string");
}

fn list(items: impl IntoIterator<Item: ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(&item.to_string())).collect();
    if items.iter().map(String::len).sum::<usize>() < 90 {
        format!("[{}]", items.join(", "))
    } else {
        format!("[\n    {},\n]", items.join(",\n    "))
    }
}

/// A TOML string; names of interfaces may hold almost anything.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
