//! Aligned columns: a table is a list of columns, and a column knows how to show its cell of a row.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use comfy_table::{CellAlignment, presets};

use super::{Screen, Tint};

/// Entries of a list that a table shows before it says how many more there are.
const LISTED: usize = 3;
/// Blanks between two columns.
const GAP: u16 = 2;

/// One column of a table of `T`s.
pub(super) struct Column<T> {
    title: &'static str,
    alignment: CellAlignment,
    room: Room,
    cell: fn(&T, &Screen) -> String,
}

/// When a column is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Always,
    /// Where there is room.
    Wide,
    /// There too, and where some row has something to show in it.
    Filled,
}

impl<T> Column<T> {
    /// A column of words.
    pub const fn text(title: &'static str, cell: fn(&T, &Screen) -> String) -> Self {
        Self { title, alignment: CellAlignment::Left, room: Room::Always, cell }
    }

    /// A column of numbers.
    pub const fn number(title: &'static str, cell: fn(&T, &Screen) -> String) -> Self {
        Self { title, alignment: CellAlignment::Right, room: Room::Always, cell }
    }

    fn is_shown(&self, screen: &Screen, rows: &[&T]) -> bool {
        let is_filled = || rows.iter().any(|row| !(self.cell)(row, screen).is_empty());
        screen.is_wide() || self.room == Room::Always || (self.room == Room::Filled && is_filled())
    }
}

/// The same column, but only where there is room.
#[expect(clippy::needless_pass_by_value, reason = "nobody needs the narrow column afterwards")]
pub(super) const fn wide<T>(column: Column<T>) -> Column<T> {
    Column { room: Room::Wide, ..column }
}

/// The same column, but only where there is room or something to show.
#[expect(clippy::needless_pass_by_value, reason = "as for `wide`")]
pub(super) const fn filled<T>(column: Column<T>) -> Column<T> {
    Column { room: Room::Filled, ..column }
}

/// Writes a row for each of `rows`, under the titles of those columns that the screen has room for.
pub(super) fn write_table<'a, T: 'a>(
    out: &mut impl Write,
    screen: &Screen,
    columns: &[Column<T>],
    rows: impl IntoIterator<Item = &'a T>,
) -> io::Result<()> {
    let rows: Vec<&T> = rows.into_iter().collect();
    let columns: Vec<&Column<T>> = columns.iter().filter(|column| column.is_shown(screen, &rows)).collect();
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    if screen.headers {
        table.set_header(columns.iter().map(|column| column.title));
    }
    for row in rows {
        table.add_row(columns.iter().map(|column| word(&(column.cell)(row, screen))));
    }
    for (laid_out, column) in table.column_iter_mut().zip(&columns) {
        laid_out.set_padding((0, GAP)).set_cell_alignment(column.alignment);
    }
    if table.is_empty() && !screen.headers {
        return Ok(());
    }
    for line in table.lines() {
        writeln!(out, "{}", tinted(line.trim_end(), screen))?;
    }
    Ok(())
}

/// Something in every cell, and nothing that a terminal would obey: interfaces may have any name.
fn word(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { cell.replace(char::is_control, "?") }
}

/// Colours the words that have one. Names of people's choice may be such words too; nothing is lost by it.
fn tinted(line: &str, screen: &Screen) -> String {
    if !screen.colour {
        return line.to_owned();
    }
    let words = line.split(' ').map(|word| match Tint::of(word) {
        Some(tint) => screen.paint(tint, word),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A list as one word: all of it where there is room, else its beginning.
pub(super) fn list(entries: &[String], screen: &Screen) -> String {
    match entries.split_at_checked(LISTED) {
        Some((shown, more @ [_, ..])) if !screen.is_wide() => format!("{},+{}", shown.join(","), more.len()),
        _ => entries.join(","),
    }
}

/// An address, with its port where the protocol has ports: `10.1.0.5:5432`, `[2001:db8::1]:53`.
pub(super) fn end(address: IpAddr, port: u16, proto: &str) -> String {
    match (proto, address) {
        ("tcp" | "udp" | "sctp", IpAddr::V4(v4)) => format!("{v4}:{port}"),
        ("tcp" | "udp" | "sctp", IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::render::{Format, samples};

    const COLUMNS: &[Column<(&'static str, u32)>] = &[
        Column::text("WORD", |(word, _), _| (*word).to_owned()),
        wide(Column::text("LENGTH", |(word, _), _| word.len().to_string())),
        Column::number("NUMBER", |(_, number), _| number.to_string()),
    ];

    fn table(screen: &Screen, rows: &[(&'static str, u32)]) -> String {
        let mut out = Vec::new();
        write_table(&mut out, screen, COLUMNS, rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_numbers_end_together() {
        let rows = [("pass", 1), ("would-drop", 1000), ("", 5)];
        insta::assert_snapshot!(table(&samples::screen(Format::Wide), &rows), @r"
        WORD        LENGTH  NUMBER
        pass        4            1
        would-drop  10        1000
        -           0            5
        ");
    }

    #[test]
    fn headers_can_be_left_out() {
        let bare = Screen { headers: false, ..samples::screen(Format::Table) };
        assert_eq!(table(&bare, &[("one", 1)]), "one  1\n");
        assert_eq!(table(&bare, &[]), "");
        assert_eq!(table(&samples::screen(Format::Table), &[]), "WORD  NUMBER\n");
    }

    #[test]
    fn colour_moves_nothing() {
        let screen = Screen { colour: true, ..samples::screen(Format::Table) };
        let text = table(&screen, &[("drop", 1), ("dropped", 2)]);
        assert!(text.contains("\x1b[1;31mdrop\x1b[0m          1\n"), "{text:?}");
        assert!(text.contains("dropped       2\n"), "{text:?}");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert!(!table(&samples::screen(Format::Table), &[("\x1b[2Jveth", 1)]).contains('\x1b'));
    }

    #[test]
    fn long_lists_are_shortened_where_there_is_no_room() {
        let entries = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(list(&entries, &samples::screen(Format::Table)), "a,b,c,+2");
        assert_eq!(list(&entries, &samples::screen(Format::Wide)), "a,b,c,d,e");
        assert_eq!(list(&entries[..3], &samples::screen(Format::Table)), "a,b,c");
    }

    #[rstest]
    #[case("10.1.0.5", "tcp", "10.1.0.5:53")]
    #[case("2001:db8::1", "udp", "[2001:db8::1]:53")]
    #[case("2001:db8::1", "icmp6", "2001:db8::1")]
    #[case("10.1.0.5", "47", "10.1.0.5")]
    fn ports_are_shown_where_there_are_ports(#[case] address: &str, #[case] proto: &str, #[case] text: &str) {
        assert_eq!(end(address.parse().unwrap(), 53, proto), text);
    }
}
