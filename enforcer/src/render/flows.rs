//! Flows, one conversation in a row.

use std::io::{self, Write};

use super::{
    Screen,
    table::{Column, end, filled, wide, write_table},
    units::{ago, bytes},
};
use crate::datapath::flows::Flow;

/// Times and names of rules stand last: "3s ago" is two words for `awk`.
const COLUMNS: &[Column<Flow>] = &[
    Column::text("PROTO", |flow, _| flow.proto.clone()),
    Column::text("SRC", |flow, _| end(flow.src, flow.src_port, &flow.proto)),
    Column::text("DST", |flow, _| end(flow.dst, flow.dst_port, &flow.proto)),
    Column::text("VERDICT", |flow, _| flow.verdict.clone()),
    Column::text("REASON", |flow, _| flow.reason.clone()),
    Column::text("NETWORK", |flow, _| flow.network.clone().unwrap_or_default()),
    Column::number("PKTS", |flow, _| format!("{}/{}", flow.packets_fwd, flow.packets_rev)),
    Column::number("BYTES", |flow, _| format!("{}/{}", bytes(flow.bytes_fwd), bytes(flow.bytes_rev))),
    wide(Column::text("SRC-ENDPOINT", |flow, _| flow.endpoint_src.clone().unwrap_or_default())),
    wide(Column::text("DST-ENDPOINT", |flow, _| flow.endpoint_dst.clone().unwrap_or_default())),
    wide(Column::number("GENERATION", |flow, _| flow.generation.to_string())),
    wide(Column::text("FIRST", |flow, screen| ago(&flow.first_seen, screen.now))),
    Column::text("LAST", |flow, screen| ago(&flow.last_seen, screen.now)),
    filled(Column::text("RULE", |flow, _| flow.rule.clone().unwrap_or_default())),
];

/// Writes a row for each flow; packets and bytes are forward/reverse.
pub fn write_flows(out: &mut impl Write, flows: &[Flow], screen: &Screen) -> io::Result<()> {
    write_table(out, screen, COLUMNS, flows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    fn text(format: Format) -> String {
        let mut out = Vec::new();
        write_flows(&mut out, &samples::flows(), &samples::screen(format)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_conversation_is_a_row() {
        insta::assert_snapshot!(text(Format::Table), @r"
        PROTO  SRC                    DST                 VERDICT  REASON          NETWORK       PKTS           BYTES  LAST
        tcp    10.1.0.5:40000         10.1.0.6:80         pass     shared-network  blue     1200/1100  96.5KiB/3.3MiB  3s ago
        udp    [2001:db8:1::1]:40000  [2001:db8:1::2]:53  pass     shared-network  blue           1/1        86B/500B  1m ago
        tcp    10.1.0.5:40000         10.9.0.7:5432       drop     default-deny    -              1/0          74B/0B  3m ago
        icmp   10.1.0.5               10.1.0.7            pass     shared-network  blue           2/2       196B/196B  2h ago
        ");
    }

    #[test]
    fn a_rule_is_named_where_one_decided() {
        let mut flows = samples::flows();
        flows.truncate(2);
        flows[1].rule = Some("name service".to_owned());
        let mut out = Vec::new();
        write_flows(&mut out, &flows, &samples::screen(Format::Table)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        PROTO  SRC                    DST                 VERDICT  REASON          NETWORK       PKTS           BYTES  LAST    RULE
        tcp    10.1.0.5:40000         10.1.0.6:80         pass     shared-network  blue     1200/1100  96.5KiB/3.3MiB  3s ago  -
        udp    [2001:db8:1::1]:40000  [2001:db8:1::2]:53  pass     shared-network  blue           1/1        86B/500B  1m ago  name service
        ");
    }

    #[test]
    fn wide_tells_who_and_since_when() {
        insta::assert_snapshot!(text(Format::Wide), @r"
        PROTO  SRC                    DST                 VERDICT  REASON          NETWORK       PKTS           BYTES  SRC-ENDPOINT  DST-ENDPOINT  GENERATION  FIRST   LAST    RULE
        tcp    10.1.0.5:40000         10.1.0.6:80         pass     shared-network  blue     1200/1100  96.5KiB/3.3MiB  veth-web      -                      4  1h ago  3s ago  -
        udp    [2001:db8:1::1]:40000  [2001:db8:1::2]:53  pass     shared-network  blue           1/1        86B/500B  veth-web      -                      4  1h ago  1m ago  -
        tcp    10.1.0.5:40000         10.9.0.7:5432       drop     default-deny    -              1/0          74B/0B  veth-web      veth-db                4  1h ago  3m ago  -
        icmp   10.1.0.5               10.1.0.7            pass     shared-network  blue           2/2       196B/196B  veth-web      -                      4  1h ago  2h ago  -
        ");
    }
}
