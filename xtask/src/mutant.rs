//! A mutant: one decision, broken on purpose.

use anyhow::{Result, bail};

/// See the module; all of them are in [`crate::mutants`].
pub struct Mutant {
    /// What it is called in the table and in a filter.
    pub name: &'static str,
    /// The file, from the root of the workspace.
    pub file: &'static str,
    /// What stands there exactly once.
    pub text: &'static str,
    /// What stands there instead.
    pub replacement: &'static str,
    /// What goes wrong.
    pub breaks: &'static str,
}

impl Mutant {
    /// The file's content with the decision broken.
    pub fn apply(&self, content: &str) -> Result<String> {
        let Self { name, file, text, replacement, .. } = self;
        match content.matches(text).count() {
            1 => Ok(content.replacen(text, replacement, 1)),
            found => bail!(
                "mutant {name}: {file} holds its text {found} times instead of once; bring \
                 xtask/src/mutants.rs up to date. The text:\n{text}"
            ),
        }
    }

    /// Whether tests that load no program can notice it.
    pub fn is_in_libraries(&self) -> bool {
        !self.file.starts_with("enforcer-ebpf/")
    }
}
