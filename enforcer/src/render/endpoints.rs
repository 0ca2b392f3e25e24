//! Local endpoints, one in a row; directions are seen from the endpoint.

use std::io::{self, Write};

use super::{
    Screen,
    table::{Column, list, write_table},
    units::bytes,
};
use crate::report::EndpointReport;

const COLUMNS: &[Column<EndpointReport>] = &[
    Column::text("NAME", |endpoint, _| endpoint.name.clone()),
    Column::number("ID", |endpoint, _| endpoint.id.to_string()).wide(),
    Column::number("IFINDEX", |endpoint, _| endpoint.ifindex.to_string()).wide(),
    Column::text("STATE", |endpoint, _| endpoint.state.clone()),
    Column::text("MAC", |endpoint, _| endpoint.mac.clone().unwrap_or_default()).wide(),
    Column::text("ADDRESSES", |endpoint, screen| list(&endpoint.addresses, screen)),
    Column::text("CONFLICTS", |endpoint, screen| list(&endpoint.conflicts, screen)).wide(),
    Column::text("NETWORKS", |endpoint, screen| list(&endpoint.networks, screen)),
    Column::number("SENT", |endpoint, _| endpoint.counters.sent.packets.to_string()),
    Column::number("SENT-BYTES", |endpoint, _| bytes(endpoint.counters.sent.bytes)).wide(),
    Column::number("RECEIVED", |endpoint, _| endpoint.counters.received.packets.to_string()),
    Column::number("RECEIVED-BYTES", |endpoint, _| bytes(endpoint.counters.received.bytes)).wide(),
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
        insta::assert_snapshot!(text(Format::Table), @"");
    }

    #[test]
    fn wide_tells_what_identifies_it() {
        insta::assert_snapshot!(text(Format::Wide), @"");
    }
}
