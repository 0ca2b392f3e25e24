//! Why packets were dropped: reasons with their totals, then the latest denies.

use std::io::{self, Write};

use super::{
    Screen, count,
    table::{Column, end, filled, wide, write_table},
    units::{ago, bytes},
};
use crate::report::{Drops, ReasonReport, RecentDrop};

/// The caption stands last: it is the only cell of many words.
const REASONS: &[Column<ReasonReport>] = &[
    Column::text("REASON", |reason, _| reason.reason.clone()),
    Column::text("VERDICT", |reason, _| reason.verdict.clone()),
    Column::text("CATEGORY", |reason, _| reason.category.clone()),
    Column::number("PKTS", |reason, _| reason.packets.to_string()),
    Column::number("BYTES", |reason, _| bytes(reason.bytes)),
    Column::text("MEANING", |reason, _| reason.caption.clone()),
];

const RECENT: &[Column<RecentDrop>] = &[
    Column::text("ENDPOINT", |drop, _| drop.endpoint.clone().unwrap_or_default()),
    Column::text("HOOK", |drop, _| drop.hook.clone().unwrap_or_default()),
    Column::text("VERDICT", |drop, _| drop.verdict.clone()),
    Column::text("REASON", |drop, _| drop.reason.clone()),
    Column::text("PROTO", |drop, _| drop.proto.clone().unwrap_or_default()),
    Column::text("SRC", |drop, _| drop_end(drop, drop.src.zip(Some(drop.src_port)))),
    Column::text("DST", |drop, _| drop_end(drop, drop.dst.zip(Some(drop.dst_port)))),
    wide(Column::number("GENERATION", |drop, _| drop.generation.to_string())),
    Column::text("LAST", |drop, screen| ago(&drop.time, screen.now)),
    filled(Column::text("RULE", |drop, _| drop.rule.clone().unwrap_or_default())),
];

/// Nothing where the packet was not understood that far.
fn drop_end(drop: &RecentDrop, address: Option<(std::net::IpAddr, u16)>) -> String {
    let proto = drop.proto.as_deref().unwrap_or_default();
    address.map_or_else(String::new, |(address, port)| end(address, port, proto))
}

/// Writes the reasons that were counted of drops, and of what a mode let go on (all reasons, passes too, where
/// there is room), and the
/// latest denies.
pub fn write_drops(out: &mut impl Write, drops: &Drops, screen: &Screen) -> io::Result<()> {
    let counted = |reason: &&ReasonReport| reason.verdict != "pass" && reason.packets > 0;
    let reasons: Vec<&ReasonReport> =
        drops.reasons.iter().filter(|reason| screen.is_wide() || counted(reason)).collect();
    if reasons.is_empty() {
        writeln!(out, "no packet has been dropped")?;
    } else {
        write_table(out, screen, REASONS, reasons)?;
    }
    if !drops.recent.is_empty() {
        writeln!(out)?;
        write_table(out, screen, RECENT, &drops.recent)?;
    }
    if drops.events_lost > 0 {
        let lost = count(drops.events_lost as usize, "drop");
        writeln!(out, "\n{lost} counted, but too fast to be told one by one")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    fn text(drops: &Drops, format: Format) -> String {
        let mut out = Vec::new();
        write_drops(&mut out, drops, &samples::screen(format)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_counted_comes_before_what_was_last() {
        insta::assert_snapshot!(text(&samples::drops(), Format::Table), @r"
        REASON        VERDICT     CATEGORY   PKTS    BYTES  MEANING
        truncated     drop        integrity     1      20B  the packet ends before its headers do
        default-deny  drop        policy     1234  89.2KiB  no common network and no rule admits it
        default-deny  would-drop  policy       12     888B  no common network and no rule admits it

        ENDPOINT  HOOK           VERDICT     REASON        PROTO  SRC             DST            LAST
        veth-web  from-endpoint  would-drop  default-deny  tcp    10.1.0.5:40000  10.9.0.7:5432  3m ago
        veth-web  from-endpoint  drop        truncated     -      -               -              2h ago

        17 drops counted, but too fast to be told one by one
        ");
    }

    #[test]
    fn wide_lists_all_reasons_to_compare_with() {
        insta::assert_snapshot!(text(&samples::drops(), Format::Wide), @r"
        REASON          VERDICT     CATEGORY   PKTS    BYTES  MEANING
        shared-network  pass        policy     2306   3.4MiB  source and destination share a network
        truncated       drop        integrity     1      20B  the packet ends before its headers do
        martian         drop        integrity     0       0B  an address that cannot be on this wire
        default-deny    drop        policy     1234  89.2KiB  no common network and no rule admits it
        default-deny    would-drop  policy       12     888B  no common network and no rule admits it

        ENDPOINT  HOOK           VERDICT     REASON        PROTO  SRC             DST            GENERATION  LAST    RULE
        veth-web  from-endpoint  would-drop  default-deny  tcp    10.1.0.5:40000  10.9.0.7:5432           4  3m ago  -
        veth-web  from-endpoint  drop        truncated     -      -               -                       4  2h ago  -

        17 drops counted, but too fast to be told one by one
        ");
    }

    #[test]
    fn a_rule_is_named_where_one_denied() {
        let mut drops = samples::drops();
        drops.recent[0] = RecentDrop {
            reason: "denied-by-rule".to_owned(),
            rule: Some("quarantine".to_owned()),
            hook: Some("guard".to_owned()),
            ..drops.recent[0].clone()
        };
        insta::assert_snapshot!(text(&drops, Format::Table), @r"
        REASON        VERDICT     CATEGORY   PKTS    BYTES  MEANING
        truncated     drop        integrity     1      20B  the packet ends before its headers do
        default-deny  drop        policy     1234  89.2KiB  no common network and no rule admits it
        default-deny  would-drop  policy       12     888B  no common network and no rule admits it

        ENDPOINT  HOOK           VERDICT     REASON          PROTO  SRC             DST            LAST    RULE
        veth-web  guard          would-drop  denied-by-rule  tcp    10.1.0.5:40000  10.9.0.7:5432  3m ago  quarantine
        veth-web  from-endpoint  drop        truncated       -      -               -              2h ago  -

        17 drops counted, but too fast to be told one by one
        ");
    }

    #[test]
    fn nothing_dropped_is_said() {
        let nothing = Drops { reasons: Vec::new(), recent: Vec::new(), events_lost: 0 };
        assert_eq!(text(&nothing, Format::Table), "no packet has been dropped\n");
    }
}
