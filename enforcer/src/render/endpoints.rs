//! Local endpoints, one in a row; directions are seen from the endpoint.

use std::io::{self, Write};

use super::{
    Screen,
    table::{Column, list, wide, write_table},
    units::bytes,
};
use crate::report::EndpointReport;

const COLUMNS: &[Column<EndpointReport>] = &[
    Column::text("NAME", |endpoint, _| endpoint.name.clone()),
    wide(Column::number("ID", |endpoint, _| endpoint.id.to_string())),
    wide(Column::number("IFINDEX", |endpoint, _| endpoint.ifindex.to_string())),
    Column::text("STATE", |endpoint, _| endpoint.state.clone()),
    wide(Column::text("MODE", |endpoint, _| endpoint.mode.word().to_owned())),
    wide(Column::text("MAC", |endpoint, _| endpoint.mac.clone().unwrap_or_default())),
    Column::text("ADDRESSES", |endpoint, screen| list(&endpoint.addresses, screen)),
    wide(Column::text("PROVIDES", |endpoint, screen| list(&endpoint.provides, screen))),
    wide(Column::text("CONFLICTS", |endpoint, screen| list(&endpoint.conflicts, screen))),
    Column::text("NETWORKS", |endpoint, screen| list(&endpoint.networks, screen)),
    Column::number("SENT", |endpoint, _| endpoint.counters.sent.packets.to_string()),
    wide(Column::number("SENT-BYTES", |endpoint, _| bytes(endpoint.counters.sent.bytes))),
    Column::number("RECEIVED", |endpoint, _| endpoint.counters.received.packets.to_string()),
    wide(Column::number("RECEIVED-BYTES", |endpoint, _| bytes(endpoint.counters.received.bytes))),
    Column::number("SENT-DROPPED", |endpoint, _| endpoint.counters.sent_dropped.packets.to_string()),
    Column::number("RECEIVED-DROPPED", |endpoint, _| endpoint.counters.received_dropped.packets.to_string()),
];

/// Writes a row for each endpoint.
pub fn write_endpoints(
    out: &mut impl Write,
    endpoints: &[EndpointReport],
    screen: &Screen,
) -> io::Result<()> {
    write_table(out, screen, COLUMNS, endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    fn text(format: Format) -> String {
        let mut out = Vec::new();
        write_endpoints(&mut out, &samples::endpoints(), &samples::screen(format)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_endpoint_is_a_row() {
        insta::assert_snapshot!(text(Format::Table), @r"
        NAME      STATE        ADDRESSES               NETWORKS  SENT  RECEIVED  SENT-DROPPED  RECEIVED-DROPPED
        veth-web  ready        10.1.0.5,2001:db8:1::1  blue      1203      1103             1                 0
        veth-db   quarantined  -                       -            0         0             0                 0
        ");
    }

    #[test]
    fn wide_tells_what_identifies_it() {
        insta::assert_snapshot!(text(Format::Wide), @r"
        NAME      ID  IFINDEX  STATE        MODE     MAC                ADDRESSES               PROVIDES     CONFLICTS  NETWORKS  SENT  SENT-BYTES  RECEIVED  RECEIVED-BYTES  SENT-DROPPED  RECEIVED-DROPPED
        veth-web   1        7  ready        enforce  02:00:00:00:00:05  10.1.0.5,2001:db8:1::1  dhcp-server  -          blue      1203     96.7KiB      1103          3.3MiB             1                 0
        veth-db    2        9  quarantined  audit    -                  -                       -            10.1.0.5   -            0          0B         0              0B             0                 0
        ");
    }
}
