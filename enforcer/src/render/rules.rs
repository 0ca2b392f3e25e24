//! Rules, one in a row.

use std::io::{self, Write};

use super::{
    Screen,
    table::{Column, list, wide, write_table},
    units::bytes,
};
use crate::{
    policy::rule::{End, Side},
    report::RuleReport,
};

/// Names stand last: they may be several words.
const COLUMNS: &[Column<RuleReport>] = &[
    Column::text("ACTION", |rule, _| rule.action.word().to_owned()),
    wide(Column::number("ID", |rule, _| rule.id.to_string())),
    Column::text("FROM", |rule, screen| side(&rule.from, screen)),
    Column::text("TO", |rule, screen| side(&rule.to, screen)),
    Column::text("SERVICES", |rule, screen| list(&texts(&rule.services), screen)),
    Column::number("PKTS", |rule, _| rule.packets.to_string()),
    Column::number("BYTES", |rule, _| bytes(rule.bytes)),
    Column::text("NAME", |rule, _| rule.name.clone()),
];

/// Who is meant, as one word: `servers,!web`.
fn side(side: &Side, screen: &Screen) -> String {
    let except = side.except.iter().map(|end: &End| format!("!{end}"));
    list(&side.ends.iter().map(ToString::to_string).chain(except).collect::<Vec<_>>(), screen)
}

fn texts<'a, T: ToString + 'a>(things: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    things.into_iter().map(ToString::to_string).collect()
}

/// Writes a row for each rule.
pub fn write_rules(out: &mut impl Write, rules: &[RuleReport], screen: &Screen) -> io::Result<()> {
    write_table(out, screen, COLUMNS, rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    fn text(format: Format) -> String {
        let mut out = Vec::new();
        write_rules(&mut out, &samples::rules(), &samples::screen(format)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_rule_is_a_row_hit_or_not() {
        insta::assert_snapshot!(text(Format::Table), @r"
        ACTION  FROM          TO             SERVICES                PKTS   BYTES  NAME
        deny    10.1.0.66/32  any,!blue,!db  any                        0      0B  quarantine
        allow   blue          world          ping,tcp/80,tcp/443,+1  1203  1.0MiB  the web
        ");
    }

    #[test]
    fn wide_shortens_nothing() {
        insta::assert_snapshot!(text(Format::Wide), @r"
        ACTION  ID  FROM          TO             SERVICES                     PKTS   BYTES  NAME
        deny     2  10.1.0.66/32  any,!blue,!db  any                             0      0B  quarantine
        allow    1  blue          world          ping,tcp/80,tcp/443,udp/443  1203  1.0MiB  the web
        ");
    }
}
