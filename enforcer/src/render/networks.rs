//! Logical networks, one in a row.

use std::io::{self, Write};

use super::{
    Screen,
    table::{Column, list, write_table},
    units::bytes,
};
use crate::report::NetworkReport;

const COLUMNS: &[Column<NetworkReport>] = &[
    Column::text("NAME", |network, _| network.name.clone()),
    Column::number("ID", |network, _| network.id.to_string()).wide(),
    Column::text("PREFIXES", |network, screen| list(&network.prefixes, screen)),
    Column::text("EXCEPT", |network, screen| list(&network.except, screen)),
    Column::text("ENDPOINTS", |network, screen| list(&network.endpoints, screen)),
    Column::number("PKTS", |network, _| network.packets.to_string()),
    Column::number("BYTES", |network, _| bytes(network.bytes)),
];

/// Writes a row for each network.
pub fn write_networks(out: &mut impl Write, networks: &[NetworkReport], screen: &Screen) -> io::Result<()> {
    write_table(out, screen, COLUMNS, networks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    fn text(format: Format) -> String {
        let mut out = Vec::new();
        write_networks(&mut out, &samples::networks(), &samples::screen(format)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_network_is_a_row() {
        insta::assert_snapshot!(text(Format::Table), @"");
    }

    #[test]
    fn wide_shortens_nothing() {
        insta::assert_snapshot!(text(Format::Wide), @"");
    }
}
