//! Where drafts go, and which files are the policy with one.

use std::path::Path;

/// The first file of a host's policy.
const FIRST: &str = "/etc/enforcer/policy.toml";
/// Files beside it.
const MORE: &str = "/etc/enforcer/policy.d";

/// The files of a host's policy, as far as they are where they are looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files {
    /// Whether there is a first one.
    pub first: bool,
    /// Names in the directory beside it.
    pub more: Vec<String>,
}

/// Where to write a draft, and what to apply then.
pub(super) struct Place {
    pub draft: String,
    /// All files, the draft among them: what is left out is no policy any more.
    pub all: String,
}

impl Files {
    /// The path of the first file.
    pub const FIRST: &str = FIRST;
    /// The path of the directory.
    pub const MORE: &str = MORE;

    /// Whether a policy could be made of them.
    pub(super) fn are_there(&self) -> bool {
        self.first || self.uses_directory()
    }

    /// Where a draft disturbs nobody. `beside` a policy it is an addition.
    pub(super) fn place(&self, beside: bool) -> Place {
        if !beside && !self.are_there() {
            return Place { draft: FIRST.to_owned(), all: FIRST.to_owned() };
        }
        let draft = format!("{MORE}/{}", self.free());
        let all =
            if self.first || !self.uses_directory() { format!("{FIRST} {MORE}") } else { MORE.to_owned() };
        Place { draft, all }
    }

    /// As whoever reads the directory sees it.
    fn uses_directory(&self) -> bool {
        let is_read = |name: &String| {
            !name.starts_with('.') && Path::new(name).extension().is_some_and(|extension| extension == "toml")
        };
        self.more.iter().any(is_read)
    }

    fn free(&self) -> String {
        let numbered = (2..).map(|number| format!("adopted-{number}.toml"));
        let mut names = ["adopted.toml".to_owned()].into_iter().chain(numbered);
        names.find(|name| !self.more.contains(name)).expect("there is always a higher number")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const BOTH: &str = "/etc/enforcer/policy.toml /etc/enforcer/policy.d";

    #[rstest]
    #[case::first_day(false, false, &[], "policy.toml", FIRST)]
    #[case::beside_a_file(true, true, &[], "policy.d/adopted.toml", BOTH)]
    #[case::not_applied_yet(false, true, &["db.toml"], "policy.d/adopted.toml", BOTH)]
    #[case::once_more(true, true, &["adopted.toml", "adopted-2.toml"], "policy.d/adopted-3.toml", BOTH)]
    #[case::directory_alone(true, false, &["db.toml"], "policy.d/adopted.toml", MORE)]
    #[case::of_files_elsewhere(true, false, &["README", ".db.toml"], "policy.d/adopted.toml", BOTH)]
    fn a_draft_takes_nobodys_place_and_leaves_nobody_out(
        #[case] beside: bool,
        #[case] first: bool,
        #[case] more: &[&str],
        #[case] draft: &str,
        #[case] all: &str,
    ) {
        let files = Files { first, more: more.iter().map(ToString::to_string).collect() };
        let place = files.place(beside);
        assert_eq!((place.draft, place.all), (format!("/etc/enforcer/{draft}"), all.to_owned()));
    }
}
