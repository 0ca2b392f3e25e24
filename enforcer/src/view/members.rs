//! Members by what is known of their containers: whom the saved policy means on this host.

use std::borrow::Cow;

use super::View;
use crate::{
    policy::{Labels, Policy},
    report::ExplainReport,
};

impl View<'_> {
    /// The policy as its tables have it, as far as that is known.
    pub(super) fn resolved(&self) -> Cow<'_, Policy> {
        let policy = &self.saved.policy;
        match self.labels.filter(|_| policy.has_members()) {
            Some(labels) => Cow::Owned(policy.resolve(labels)),
            None => Cow::Borrowed(policy),
        }
    }
}

/// Tells by which members of `policy` each end is in what it is in.
pub(super) fn told(mut report: ExplainReport, policy: &Policy, labels: Option<&Labels>) -> ExplainReport {
    report.members_unknown = labels.is_none() && policy.has_members();
    for end in [&mut report.src, &mut report.dst] {
        let selected = labels.map(|labels| policy.selected(labels, end.address)).unwrap_or_default();
        let texts = selected
            .into_iter()
            .map(|(name, members)| (name.to_string(), members.iter().map(ToString::to_string).collect()));
        end.selected = texts.collect();
    }
    report
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        daemon::op::Owned,
        policy::Source,
        render::{Format, samples, write_explain},
        view::{Ends, explain, explain_policy},
    };

    fn policy() -> Policy {
        let text = "version = 1\n[network.blue]\nprefixes = ['10.9.0.0/24']\nmembers = ['docker:label:team=blue']\n\
                    [group.web]\nmembers = ['docker:name:web-*']";
        Policy::parse(&[Source { name: "p.toml".to_owned(), text: text.to_owned() }]).unwrap()
    }

    fn text(report: &ExplainReport) -> String {
        let mut out = Vec::new();
        write_explain(&mut out, report, &samples::screen(Format::Table)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn explain_says_by_which_label_an_address_is_a_member() {
        let mut labels = Labels::none();
        for label in ["docker:label:team=blue", "docker:name:web-1"] {
            labels.add(label, "172.17.0.2/32".parse().unwrap());
        }
        let mut ends = Ends::default();
        ends.insert(Owned::from("172.17.0.2".parse::<IpAddr>().unwrap()), "veth1".to_owned());
        let question = ("veth1", "10.9.0.7", Some("tcp/80"));
        let report = explain(&policy().resolve(&labels), &ends, question, Some(3)).unwrap();
        insta::assert_snapshot!(text(&told(report, &policy(), Some(&labels))), @r"
        172.17.0.2 (blue) -> 10.9.0.7 (blue), tcp/80: ALLOWED, shared-network blue
          172.17.0.2 ∈ {blue}, groups {web}, endpoint veth1, blue by docker:label:team=blue, web by docker:name:web-*
          10.9.0.7 ∈ {blue}
          why: both are members of blue
          reverse: 10.9.0.7 -> 172.17.0.2: allowed, shared-network blue
          as generation 3 decides on this host
        ");
    }

    #[test]
    fn files_alone_do_not_know_who_is_a_member() {
        let report = explain_policy(&policy(), "172.17.0.2", "10.9.0.7", None).unwrap();
        assert!(report.members_unknown);
        assert!(
            text(&report)
                .contains("\n  members by their containers are left out: only the daemon knows them\n")
        );
    }
}
