//! What was found once, as small as it could be made.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
};

use enforcer_tests::prog_run::Lab;

use super::case::Case;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("prog_run/differential/found")
}

/// Drops everything that a failure does not need; the case, and what is wrong with it.
pub(super) fn minimise(lab: &mut Lab, mut case: Case) -> (Case, String) {
    let mut fails = |case: &Case| case.run(lab, |_, _| {}).err();
    let mut error = fails(&case).unwrap_or_else(|| "it does not fail again".to_owned());
    let mut part = 0;
    while let Some(smaller) = case.without(part) {
        match fails(&smaller) {
            Some(other) => (case, error) = (smaller, other),
            None => part += 1,
        }
    }
    (case, error)
}

/// Writes a case where [`all`] finds it.
pub(super) fn keep(case: &Case) -> PathBuf {
    let json = serde_json::to_string_pretty(case).expect("a case is only data");
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    let path = directory().join(format!("{:016x}.json", hasher.finish()));
    fs::create_dir_all(directory()).expect("the source tree is writable");
    fs::write(&path, json).expect("the source tree is writable");
    path
}

/// Every case that was kept.
pub(super) fn all() -> Vec<(PathBuf, Case)> {
    let entries = fs::read_dir(directory()).expect("the directory is readable");
    let paths = entries.map(|entry| entry.expect("the directory is readable").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "json")).collect();
    assert!(!paths.is_empty(), "nothing is kept in {}", directory().display());
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("the file is readable");
        let case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, case)
    };
    paths.into_iter().map(read).collect()
}
