//! An explanation as people read it.

use std::fmt;

use enforcer_common::host::HOST_ALLOW;

use super::{Cause, Explanation, Match, Reach, miss::services};
use crate::policy::{mode::Mode, rule::Action};

impl Explanation {
    /// What decides, or what would have been closest, in one line.
    pub fn why(&self) -> String {
        let mut parts = match self.findings.as_slice() {
            [one] => vec![self.whole(&one.cause)],
            findings if findings.windows(2).all(|pair| pair[0].cause == pair[1].cause) => {
                vec![self.whole(&findings[0].cause)]
            }
            _ => self.pieces(),
        };
        let answers = format!("answers to what {} opens pass", self.dst.address);
        match self.reach() {
            Reach::Nothing if self.answers => {
                parts.push(format!("{answers}, but {} may not open", self.src.address));
            }
            Reach::Something if self.answers => parts.push(answers),
            _ => {}
        }
        parts.extend(self.audits());
        parts.join("; ")
    }

    /// One cause for everything that is asked.
    fn whole(&self, cause: &Cause) -> String {
        let rule = self.rules.iter().find(|found| match cause {
            Cause::Denied(rule) | Cause::Allowed(rule) => found.rule == *rule,
            _ => false,
        });
        match (cause, rule) {
            (Cause::Shared(network), _) => format!("both are members of {network}"),
            (Cause::HostOpen, _) => "the host may speak to its workloads".to_owned(),
            (Cause::HostAllowed, _) => format!("a host allows its workloads {HOST_ALLOW}"),
            (_, Some(rule)) => self.by(rule),
            (_, None) => self.silence(),
        }
    }

    /// What each rule lets pass or not, then what becomes of the rest.
    fn pieces(&self) -> Vec<String> {
        let causes = || self.findings.iter().map(|finding| &finding.cause);
        let enforcing = |found: &&Match| found.action == Action::Deny && found.mode == Mode::Enforce;
        let deny = self.rules.iter().filter(enforcing);
        let allow = self.rules.iter().filter(|found| found.action == Action::Allow);
        let effective = deny.chain(allow).filter(|found| !self.effective(found).is_empty());
        let mut parts: Vec<String> = effective.map(|found| self.by(found)).collect();
        let by_host = causes().find(|cause| **cause == Cause::HostAllowed);
        parts.extend(by_host.map(|cause| self.whole(cause)));
        let rest = causes().find_map(|cause| match cause {
            Cause::Shared(_) | Cause::HostOpen => {
                Some(format!("everything else passes: {}", self.whole(cause)))
            }
            Cause::Silent if self.reach() == Reach::Nothing => Some(self.silence()),
            Cause::Silent => Some("nothing else passes".to_owned()),
            _ => None,
        });
        parts.extend(rest);
        parts
    }

    /// What is only counted.
    fn audits(&self) -> Vec<String> {
        let rules = self.rules.iter().filter(|found| found.mode == Mode::Audit);
        let rules = rules.map(|found| {
            let what = services(&found.services);
            format!("rule `{}` would deny {what}, and only counts it: it is in audit mode", found.rule)
        });
        let network = self.audited.as_ref();
        let network =
            network.map(|name| format!("what nothing allows goes on, counted: {name} is in audit mode"));
        rules.chain(network).collect()
    }

    fn by(&self, found: &Match) -> String {
        let what = services(&self.effective(found));
        match found.action {
            Action::Deny => format!("rule `{}` denies {what}", found.rule),
            Action::Allow => format!("rule `{}` allows {what}", found.rule),
        }
    }

    /// Why nothing passes that nothing speaks about.
    fn silence(&self) -> String {
        let miss = self.nearest_miss.as_ref().map(ToString::to_string);
        if self.dst.is_host() {
            let list = format!("a host allows its workloads {HOST_ALLOW}, nothing else");
            return miss.map_or(list.clone(), |miss| format!("{list}; {miss}"));
        }
        format!("{}, {}: {}", self.src, self.dst, miss.unwrap_or_else(|| "no common network".to_owned()))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why())
    }
}
