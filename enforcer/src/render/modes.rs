//! The modes in force: a line for the host, and one for each endpoint that differs.

use std::io::{self, Write};

use super::units::seconds;
use crate::report::{ForgetReport, ModeState, ModesReport};

/// Writes who is in which mode, and who says so.
pub fn write_modes(out: &mut impl Write, report: &ModesReport) -> io::Result<()> {
    let endpoints = report.endpoints.iter().map(|it| (it.endpoint.as_str(), &it.state));
    let lines: Vec<(&str, &ModeState)> = [("host", &report.host)].into_iter().chain(endpoints).collect();
    let width = lines.iter().map(|(name, _)| name.len() + 1).max().unwrap_or_default();
    for (name, state) in lines {
        writeln!(out, "{:<width$}  {}", format!("{name}:"), mode(state))?;
    }
    Ok(())
}

/// A mode in words: `observe, ordered, 14m left, then enforce`.
pub fn mode(state: &ModeState) -> String {
    let word = state.mode.word();
    let by = if state.by == "host" { "as the host" } else { &state.by };
    match (state.seconds_left, state.then) {
        (Some(left), Some(then)) => format!("{word}, {by}, {} left, then {}", seconds(left), then.word()),
        _ if state.by == "ordered" => format!("{word}, ordered"),
        _ => format!("{word} ({by})"),
    }
}

/// Writes what is learned anew.
pub fn write_forgotten(out: &mut impl Write, report: &ForgetReport) -> io::Result<()> {
    let addresses =
        if report.addresses.is_empty() { "no address".to_owned() } else { report.addresses.join(", ") };
    let mac = report.mac.as_deref().unwrap_or("no MAC");
    writeln!(out, "forgot {addresses} and {mac} of {}: learned anew with the next look", report.endpoint)
}
