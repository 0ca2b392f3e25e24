//! Everybody asks everybody, and a table shows what came of it.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use enforcer_tests::Workload;
use enforcer_tests::traffic::{ECHO_PORT, Probe, Protocol, ask_all};

/// Patient enough for a slow machine on which sixty probes run at a time.
const PATIENCE: Duration = Duration::from_millis(500);

/// What every ordered pair tries, and the letter that stands for it.
const PROTOCOLS: [(Protocol, char); 3] =
    [(Protocol::Tcp(ECHO_PORT), 'T'), (Protocol::Udp(ECHO_PORT), 'U'), (Protocol::Ping, 'P')];

/// The widest name or cell, and the space after it.
const COLUMN: usize = 8;

/// One ordered pair in one family.
#[derive(Debug)]
struct Cell {
    from: usize,
    to: usize,
    allowed: Vec<bool>,
    answers: Vec<bool>,
}

impl Cell {
    /// How many probes went as the policy says.
    fn as_expected(&self) -> usize {
        self.answers.iter().zip(&self.allowed).filter(|(answer, allowed)| answer == allowed).count()
    }

    /// Whether all of them did.
    fn is_as_expected(&self) -> bool {
        self.as_expected() == PROTOCOLS.len()
    }

    /// Whether the policy lets anything pass.
    fn is_open(&self) -> bool {
        self.allowed.contains(&true)
    }

    /// The cell as shown: aligned, marked if unexpected, coloured on a terminal.
    fn shown(&self, is_coloured: bool) -> String {
        let mark = if self.is_as_expected() { "" } else { "!" };
        let text = format!("{:COLUMN$}", letters(&self.answers) + mark);
        let colour = match (self.is_as_expected(), self.is_open()) {
            (false, _) => "1;31",
            (true, true) => "32",
            (true, false) => "2",
        };
        if is_coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text }
    }
}

/// The letters of what is true.
fn letters(of: &[bool]) -> String {
    PROTOCOLS.iter().zip(of).map(|((_, letter), is_so)| if *is_so { *letter } else { '-' }).collect()
}

/// What the policy says: whether one address may open this to another.
pub type Expectation = fn(IpAddr, IpAddr, Protocol) -> bool;

/// The reachability of all workloads in one family.
#[derive(Debug)]
pub struct Matrix {
    title: &'static str,
    names: Vec<String>,
    cells: Vec<Cell>,
}

impl Matrix {
    /// Sends all probes of one family, by the addresses that `address_of` gives.
    pub fn ask(
        title: &'static str,
        workloads: &[Workload],
        address_of: fn(&Workload) -> IpAddr,
        may_open: Expectation,
    ) -> Self {
        let pairs: Vec<(usize, usize)> = (0..workloads.len())
            .flat_map(|from| (0..workloads.len()).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .collect();
        let probes: Vec<Probe<'_>> = pairs
            .iter()
            .flat_map(|(from, to)| {
                let (from, to) = (workloads[*from].netns(), address_of(&workloads[*to]));
                PROTOCOLS.map(|(protocol, _)| Probe { from, to, protocol })
            })
            .collect();
        let answers = ask_all(&probes, PATIENCE);
        let cells = pairs.into_iter().zip(answers.chunks(PROTOCOLS.len())).map(|((from, to), answers)| {
            let (src, dst) = (address_of(&workloads[from]), address_of(&workloads[to]));
            let allowed = PROTOCOLS.iter().map(|&(protocol, _)| may_open(src, dst, protocol)).collect();
            Cell { from, to, allowed, answers: answers.to_vec() }
        });
        let names = workloads.iter().map(|workload| workload.name().to_owned()).collect();
        Self { title, names, cells: cells.collect() }
    }

    /// How many probes were sent.
    pub fn probes(&self) -> usize {
        self.cells.len() * PROTOCOLS.len()
    }

    /// How many were answered.
    pub fn answered(&self) -> usize {
        self.cells.iter().flat_map(|cell| &cell.answers).filter(|is_answered| **is_answered).count()
    }

    /// How many went as the policy says.
    pub fn as_expected(&self) -> usize {
        self.cells.iter().map(Cell::as_expected).sum()
    }

    /// The table, and under it a line for every pair that did not go as the policy says.
    pub fn shown(&self, is_coloured: bool) -> String {
        let mut text = format!("  {:<12}", format!("{} to", self.title));
        for name in &self.names {
            write!(text, "{name:COLUMN$}").expect("a string takes all that is written");
        }
        for (from, name) in self.names.iter().enumerate() {
            text.truncate(text.trim_end().len());
            write!(text, "\n  from {name:<7}").expect("a string takes all that is written");
            for to in 0..self.names.len() {
                let cell = self.cells.iter().find(|cell| (cell.from, cell.to) == (from, to));
                text += &cell.map_or_else(|| format!("{:COLUMN$}", "."), |cell| cell.shown(is_coloured));
            }
        }
        text + "\n" + &self.expectation() + &self.mismatches()
    }

    /// How many pairs should reach each other, and how many do.
    fn expectation(&self) -> String {
        let allowed = self.cells.iter().filter(|cell| cell.is_open());
        let (open, pairs) = (allowed.clone().count(), self.cells.len());
        let seen_open = allowed.filter(|cell| cell.is_as_expected()).count();
        let seen_closed = self.cells.iter().filter(|cell| !cell.is_open() && cell.is_as_expected()).count();
        format!(
            "  expected: {open} pairs open, {} closed; seen: {seen_open} open, {seen_closed} closed, {} otherwise\n",
            pairs - open,
            pairs - seen_open - seen_closed,
        )
    }

    /// The pairs that did not go as the policy says.
    fn mismatches(&self) -> String {
        let unexpected = self.cells.iter().filter(|cell| !cell.is_as_expected());
        let lines = unexpected.map(|cell| {
            let (expected, seen) = (letters(&cell.allowed), letters(&cell.answers));
            let (from, to) = (&self.names[cell.from], &self.names[cell.to]);
            format!("  ! {} {from} to {to}: expected {expected}, seen {seen}\n", self.title)
        });
        lines.collect()
    }
}

/// What the letters mean.
pub fn legend() -> String {
    format!("  T tcp/{ECHO_PORT}  U udp/{ECHO_PORT}  P ping  - no answer  ! not what the policy says")
}
