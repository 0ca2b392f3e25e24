//! `docs/benchmarks.md`: what a whole run found, for readers.

use std::fmt::Write as _;

use crate::results::{Results, Row};
use crate::statistics::Estimate;

const PREFACE: &str = "\
# Benchmarks

Written by `cargo xtask bench`, part by part; `--quick` shows in some two minutes that it works. Figures with brackets are
medians, and the brackets hold the true one in 95 of 100 runs; others are single readings, or what they say. Machines differ,
so ratios count: every round measures each configuration once, up and down the list, and compares only within the round.

- **forward**: from one workload to another on the same host, frames of 64 bytes through a packet socket, dropped at the
  receiver before its stack. What the sender and the first hop take is measured in the same round, and subtracted. Each
  packet is of any of the flows, one way: connection tracking never sees an answer, and the last rule is the one that
  admits. *Edited before each measurement*: a prefix of another network comes or goes, and then 12,000 packets are sent, of which
  the last 4,000 count. Of 1,048,576 flows the table of connection tracking holds 262,144; enforcer's are made for all of them.
- **flood**: frames of one flow that is denied, as XDP frames of the kernel's generator out of a veth. What generator and
  interface take, with a program that drops all unseen, is measured in the same round, and subtracted. From the second frame on enforcer knows the flow; iptables and nftables drop all of the interface.
- **judge**: one verdict on a packet that leaves its endpoint, among others: thousands of packets in one run of
  `BPF_PROG_TEST_RUN`, each another. What a program that decides nothing takes is measured in the same round, and subtracted.
- **update**: an order at the daemon's socket at rest, to the first packet that passes for it.
- **ready**: a veth whose workload floods from the first moment: from its link to its first packet at the host.
- **prefixes**: one look for an address among prefixes of many lengths, scattered over the address space. The address lies
  beside one of them and in none. Each look is one packet of many in one run of `BPF_PROG_TEST_RUN`; what a packet takes
  without it is measured in the same round, and subtracted.
- **tcp**: plain sockets, the receiver on another processor than the sender. A connection is one question and one answer.
";

/// The paper.
pub fn of(results: &Results) -> String {
    let mut text = format!("{PREFACE}\nKernel {}, {}.\n", results.kernel, results.processor);
    goals(&mut text, results);
    let mut rest = &results.rows[..];
    while let Some(first) = rest.first() {
        let (table, others) = rest
            .split_at(rest.iter().take_while(|row| (&row.part, &row.of) == (&first.part, &first.of)).count());
        rows(&mut text, table);
        rest = others;
    }
    text
}

fn goals(text: &mut String, results: &Results) {
    *text += "\n## Goals\n\n| what | goal | measured | |\n|---|--:|--:|---|\n";
    for goal in &results.goals {
        let met = if goal.met { "met" } else { "**missed**" };
        line(text, format_args!("| {} | {} | {} | {met} |", goal.what, goal.limit, ratio(goal.measured)));
    }
}

fn rows(text: &mut String, rows: &[Row]) {
    let Some(Row { part, of, unit, of_what, .. }) = rows.first() else { return };
    line(text, format_args!("\n## {part}: {of}\n\n| | {} | of {of_what} |\n|---|--:|--:|", unit.symbol()));
    for row in rows {
        let digits = row.unit.digits();
        let value = row.value.median;
        line(text, format_args!("| {} | {value:.digits$} | {} |", row.what, ratio(row.times)));
    }
}

/// One reading, or a quantile of many, has no interval.
fn ratio(Estimate { median, low, high }: Estimate) -> String {
    if low < high { format!("{median:.2} ({low:.2}–{high:.2})") } else { format!("{median:.2}") }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all that is written");
}
