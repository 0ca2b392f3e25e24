//! The kind of tables that a run of the tests is about. Whatever says nothing of it has that kind.

use std::env;

use enforcer::datapath::sizes::TableKind;

/// Names the kind: `own`, the default, or `kernel`.
pub const VARIABLE: &str = "ENFORCER_TABLES";

/// The kind of tables of this run.
///
/// # Panics
/// The variable names none.
pub fn of_this_run() -> TableKind {
    match env::var(VARIABLE).as_deref() {
        Err(_) | Ok("own") => TableKind::Own,
        Ok("kernel") => TableKind::Kernel,
        Ok(other) => panic!("{VARIABLE} is own or kernel, not {other}"),
    }
}

/// A host file that asks for the kind of this run, unless it asks for one itself.
pub fn in_host_file(config: &str) -> String {
    const SECTION: &str = "[datapath]\n";
    if of_this_run() == TableKind::Own || config.contains("tables =") {
        return config.to_owned();
    }
    let asking = format!("{SECTION}tables = \"kernel\"\n");
    if config.contains(SECTION) { config.replace(SECTION, &asking) } else { format!("{config}\n{asking}") }
}
