//! Logical networks, one in a row.

use std::io::{self, Write};

use super::{
    Screen,
    table::{Column, list, wide, write_table},
    units::bytes,
};
use crate::report::NetworkReport;

const COLUMNS: &[Column<NetworkReport>] = &[
    Column::text("NAME", |network, _| network.name.clone()),
    wide(Column::number("ID", |network, _| network.id.to_string())),
    Column::text("PREFIXES", |network, screen| list(&network.prefixes, screen)),
    Column::text("MEMBERS", |network, screen| list(&network.members, screen)),
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
        insta::assert_snapshot!(text(Format::Table), @r"
        NAME  PREFIXES                                MEMBERS                 EXCEPT        ENDPOINTS  PKTS   BYTES
        blue  10.1.0.0/24,10.7.3.0/26,10.8.0.0/24,+1  docker:label:team=blue  10.1.0.13/32  veth-web   2306  3.4MiB
        db    10.9.0.0/24                             -                       -             -             0      0B
        ");
    }

    #[test]
    fn wide_shortens_nothing() {
        insta::assert_snapshot!(text(Format::Wide), @r"
        NAME  ID  PREFIXES                                             MEMBERS                 EXCEPT        ENDPOINTS  PKTS   BYTES
        blue   1  10.1.0.0/24,10.7.3.0/26,10.8.0.0/24,2001:db8:1::/64  docker:label:team=blue  10.1.0.13/32  veth-web   2306  3.4MiB
        db     2  10.9.0.0/24                                          -                       -             -             0      0B
        ");
    }
}
