//! What becomes of captured packets, one in a row, then the sum.

use std::io::{self, Write};

use super::{
    Screen, Tint, count,
    table::{Column, end, wide, write_table},
};
use crate::replay::{Opinion, Row};

const COLUMNS: &[Column<Row>] = &[
    Column::number("NO", |row, _| row.number.to_string()),
    Column::number("TIME", |row, _| format!("{:.6}", row.offset_us as f64 / 1e6)),
    Column::text("PROTO", |row, _| row.proto.clone().unwrap_or_default()),
    Column::text("SRC", |row, _| row_end(row, row.src.zip(Some(row.src_port)))),
    Column::text("DST", |row, _| row_end(row, row.dst.zip(Some(row.dst_port)))),
    wide(Column::text("HOOK", |row, _| row.hook.clone().unwrap_or_default())),
    Column::text("VERDICT", |row, _| row.opinion.as_ref().map_or("-", |opinion| &opinion.verdict).to_owned()),
    Column::text("REASON", |row, _| row.opinion.as_ref().map(reasons).unwrap_or_default()),
    Column::text("KERNEL", |row, _| kernel(row)),
    Column::text("BY", |row, _| note(row)),
];

fn row_end(row: &Row, address: Option<(std::net::IpAddr, u16)>) -> String {
    let proto = row.proto.as_deref().unwrap_or_default();
    address.map_or_else(String::new, |(address, port)| end(address, port, proto))
}

fn reasons(opinion: &Opinion) -> String {
    opinion.reasons.join("|")
}

/// The kernel's opinion in a word where it is the same, in three where it is not.
fn kernel(row: &Row) -> String {
    match &row.kernel {
        None => String::new(),
        Some(_) if row.agrees => "agrees".to_owned(),
        Some(opinion) => format!("differs: {} {}", opinion.verdict, reasons(opinion)).trim_end().to_owned(),
    }
}

/// What decided, or why nothing did.
fn note(row: &Row) -> String {
    let by = || row.opinion.as_ref().and_then(|opinion| opinion.by.clone());
    row.note.clone().or_else(by).unwrap_or_default()
}

/// Writes a row for each packet, and how many passed.
pub fn write_replay(out: &mut impl Write, rows: &[Row], screen: &Screen) -> io::Result<()> {
    write_table(out, screen, COLUMNS, rows)?;
    let verdicts = |verdict: &str| {
        let opinions = rows.iter().filter_map(|row| row.opinion.as_ref());
        opinions.filter(|opinion| opinion.verdict == verdict).count()
    };
    let (passed, dropped, relaxed) = (verdicts("pass"), verdicts("drop"), verdicts("would-drop"));
    let unjudged = rows.len() - passed - dropped - relaxed;
    let relaxed = if relaxed > 0 { format!("{relaxed} would be dropped, ") } else { String::new() };
    writeln!(
        out,
        "\n{}: {passed} passed, {dropped} dropped, {relaxed}{unjudged} not judged; {}",
        count(rows.len(), "packet"),
        agreement(rows, screen)
    )
}

fn agreement(rows: &[Row], screen: &Screen) -> String {
    let asked = rows.iter().filter(|row| row.kernel.is_some()).count();
    match rows.iter().filter(|row| !row.agrees).count() {
        _ if asked == 0 => "the kernel was not asked".to_owned(),
        0 => format!("the kernel agrees on {asked}"),
        some => screen.paint(Tint::Bad, &format!("the kernel differs on {some} of {asked}")),
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::verdict::{DropReason, PassReason, Verdict};

    use super::*;
    use crate::render::{Format, samples};

    const DROP: Verdict = Verdict::Drop(DropReason::DefaultDeny);

    fn row(number: usize, opinion: Option<Verdict>, kernel: Option<Verdict>) -> Row {
        Row {
            number,
            time: "2026-08-01T12:00:00.000000Z".to_owned(),
            offset_us: number as u64 * 1000,
            proto: Some("tcp".to_owned()),
            src: Some("10.1.0.5".parse().unwrap()),
            src_port: 40_000,
            dst: Some("10.9.0.7".parse().unwrap()),
            dst_port: 5432,
            hook: opinion.map(|_| "from-endpoint".to_owned()),
            agrees: kernel.is_none_or(|kernel| Some(kernel) == opinion),
            opinion: opinion.map(Opinion::exactly),
            kernel: kernel.map(Opinion::exactly),
            note: opinion.is_none().then(|| "no endpoint receives it".to_owned()),
        }
    }

    fn text(rows: &[Row]) -> String {
        let mut out = Vec::new();
        write_replay(&mut out, rows, &samples::screen(Format::Table)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_packet_is_a_row() {
        let pass = Verdict::Pass(PassReason::AllowedByRule);
        let mut by_rule = row(1, Some(pass), Some(pass));
        by_rule.opinion.as_mut().unwrap().by = Some("blue uses postgres".to_owned());
        let rows = [by_rule, row(2, Some(DROP), Some(pass)), row(3, None, None)];
        insta::assert_snapshot!(text(&rows), @r"
        NO      TIME  PROTO  SRC             DST            VERDICT  REASON           KERNEL                         BY
         1  0.001000  tcp    10.1.0.5:40000  10.9.0.7:5432  pass     allowed-by-rule  agrees                         blue uses postgres
         2  0.002000  tcp    10.1.0.5:40000  10.9.0.7:5432  drop     default-deny     differs: pass allowed-by-rule  -
         3  0.003000  tcp    10.1.0.5:40000  10.9.0.7:5432  -        -                -                              no endpoint receives it

        3 packets: 1 passed, 1 dropped, 1 not judged; the kernel differs on 1 of 2
        ");
    }

    #[test]
    fn a_kernel_that_was_not_asked_agrees_with_nobody() {
        insta::assert_snapshot!(text(&[row(1, Some(DROP), None)]), @r"
        NO      TIME  PROTO  SRC             DST            VERDICT  REASON        KERNEL  BY
         1  0.001000  tcp    10.1.0.5:40000  10.9.0.7:5432  drop     default-deny  -       -

        1 packet: 0 passed, 1 dropped, 0 not judged; the kernel was not asked
        ");
    }
}
