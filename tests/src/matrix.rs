//! Everybody asks everybody, and a table shows what came of it.

use std::fmt::Write;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use crate::netns::NetNs;
use crate::traffic::{ECHO_PORT, Probe, Protocol, ask_all};
use crate::workload::Workload;

/// Patient enough for a slow machine on which sixty probes run at a time.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is tried, and the letter that stands for it.
pub type Tried = &'static [(Protocol, char)];

/// What every ordered pair of workloads tries.
pub const ALL: Tried =
    &[(Protocol::Tcp(ECHO_PORT), 'T'), (Protocol::Udp(ECHO_PORT), 'U'), (Protocol::Ping, 'P')];

/// The widest name or cell, and the space after it.
const COLUMN: usize = 8;

/// One ordered pair in one family.
#[derive(Debug, Clone)]
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
        self.answers == self.allowed
    }

    /// Whether the policy lets anything pass.
    fn is_open(&self) -> bool {
        self.allowed.contains(&true)
    }

    /// The cell as shown: aligned, marked if unexpected, coloured on a terminal.
    fn shown(&self, tried: Tried, is_coloured: bool) -> String {
        let mark = if self.is_as_expected() { "" } else { "!" };
        let text = format!("{:COLUMN$}", letters(tried, &self.answers) + mark);
        let colour = match (self.is_as_expected(), self.is_open()) {
            (false, _) => "1;31",
            (true, true) => "32",
            (true, false) => "2",
        };
        if is_coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text }
    }
}

/// All that is to be answered, or all that is not: from where, to where, by what, and the place for the answer.
fn questions(
    cells: &mut [Cell],
    tried: Tried,
    is_due: bool,
) -> impl Iterator<Item = ((usize, usize, Protocol), &mut bool)> {
    cells.iter_mut().flat_map(move |Cell { from, to, allowed, answers }| {
        let asked = allowed.iter().zip(answers).zip(tried);
        let wanted = asked.filter(move |((allowed, _), _)| **allowed == is_due);
        wanted.map(|((_, answer), (protocol, _))| ((*from, *to, *protocol), answer))
    })
}

/// The letters of what is true.
fn letters(tried: Tried, of: &[bool]) -> String {
    tried.iter().zip(of).map(|((_, letter), is_so)| if *is_so { *letter } else { '-' }).collect()
}

/// What the policy says: whether one workload may open this to another.
pub type Expectation<'e> = &'e dyn Fn(&Workload, &Workload, Protocol) -> bool;

/// Somebody who asks: a name and a place.
pub type Asker<'n> = (&'n str, &'n NetNs);
/// Somebody who is asked: a name and an address.
pub type Asked<'n> = (&'n str, IpAddr);

/// The reachability of all workloads in one family, or of some by some.
#[derive(Debug)]
pub struct Matrix {
    title: &'static str,
    heading: Option<String>,
    tried: Tried,
    askers: Vec<String>,
    asked: Vec<String>,
    rows: Range<usize>,
    columns: Range<usize>,
    cells: Vec<Cell>,
}

impl Matrix {
    /// Sends all probes of one family, by the addresses that `address_of` gives.
    pub fn ask(
        title: &'static str,
        workloads: &[Workload],
        address_of: fn(&Workload) -> IpAddr,
        may_open: Expectation<'_>,
    ) -> Self {
        let askers: Vec<Asker<'_>> = workloads.iter().map(|one| (one.name(), one.netns())).collect();
        let asked: Vec<Asked<'_>> = workloads.iter().map(|one| (one.name(), address_of(one))).collect();
        Self::between(title, ALL, (&askers, &asked), &|from, to, by| {
            may_open(&workloads[from], &workloads[to], by)
        })
    }

    /// Everybody asks all others by name; `may_open` is told their places in the two lists.
    ///
    /// What is to be answered is asked first, and with more patience: silence need not take long.
    pub fn between(
        title: &'static str,
        tried: Tried,
        (askers, asked): (&[Asker<'_>], &[Asked<'_>]),
        may_open: &dyn Fn(usize, usize, Protocol) -> bool,
    ) -> Self {
        let (rows, columns) = (0..askers.len(), 0..asked.len());
        let pairs = rows.clone().flat_map(|from| columns.clone().map(move |to| (from, to)));
        let mut cells: Vec<Cell> = pairs
            .filter(|(from, to)| askers[*from].0 != asked[*to].0)
            .map(|(from, to)| {
                let allowed = tried.iter().map(|(protocol, _)| may_open(from, to, *protocol)).collect();
                Cell { from, to, allowed, answers: vec![false; tried.len()] }
            })
            .collect();
        for (is_due, patience) in [(true, PATIENCE * 10), (false, PATIENCE)] {
            let (questions, answers): (Vec<_>, Vec<_>) = questions(&mut cells, tried, is_due).unzip();
            let probe = |(from, to, protocol): (usize, usize, _)| Probe {
                from: askers[from].1,
                to: asked[to].1,
                protocol,
            };
            let probes: Vec<_> = questions.into_iter().map(probe).collect();
            for (answer, is_answered) in answers.into_iter().zip(ask_all(&probes, patience)) {
                *answer = is_answered;
            }
        }
        let askers = askers.iter().map(|(name, _)| (*name).to_owned()).collect();
        let asked = asked.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { title, heading: None, tried, askers, asked, rows, columns, cells }
    }

    /// What some workloads got of some, by their places in the list, under a heading.
    #[must_use]
    pub fn part(&self, heading: &str, rows: &Range<usize>, columns: &Range<usize>) -> Self {
        let is_part = |cell: &&Cell| rows.contains(&cell.from) && columns.contains(&cell.to);
        Self {
            title: self.title,
            heading: Some(heading.to_owned()),
            tried: self.tried,
            askers: self.askers.clone(),
            asked: self.asked.clone(),
            rows: rows.clone(),
            columns: columns.clone(),
            cells: self.cells.iter().filter(is_part).cloned().collect(),
        }
    }

    /// How many probes were sent.
    pub fn probes(&self) -> usize {
        self.cells.len() * self.tried.len()
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
        let heading = self.heading.iter().map(|heading| format!("  {heading}\n"));
        let mut text = heading.collect::<String>() + &format!("  {:<12}", format!("{} to", self.title));
        for name in &self.asked[self.columns.clone()] {
            write!(text, "{name:COLUMN$}").expect("a string takes all that is written");
        }
        for from in self.rows.clone() {
            let name = &self.askers[from];
            text.truncate(text.trim_end().len());
            write!(text, "\n  from {name:<7}").expect("a string takes all that is written");
            for to in self.columns.clone() {
                let cell = self.cells.iter().find(|cell| (cell.from, cell.to) == (from, to));
                text += &cell
                    .map_or_else(|| format!("{:COLUMN$}", "."), |cell| cell.shown(self.tried, is_coloured));
            }
        }
        text.trim_end().to_owned() + "\n" + &self.expectation() + &self.mismatches()
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

    /// The pairs that did not go as the policy says, each in a line.
    pub fn mismatches(&self) -> String {
        let unexpected = self.cells.iter().filter(|cell| !cell.is_as_expected());
        let lines = unexpected.map(|cell| {
            let (expected, seen) = (letters(self.tried, &cell.allowed), letters(self.tried, &cell.answers));
            let (from, to) = (&self.askers[cell.from], &self.asked[cell.to]);
            format!("  ! {} {from} to {to}: expected {expected}, seen {seen}\n", self.title)
        });
        lines.collect()
    }
}

/// What the letters mean.
pub fn legend() -> String {
    format!("  T tcp/{ECHO_PORT}  U udp/{ECHO_PORT}  P ping  - no answer  ! not what the policy says")
}
