//! Nobody changes two hosts at one instant. While they differ a packet needs the consent of both.

use enforcer_tests::fabric::{Fabric, Underlay};
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{ECHO_PORT, udp, udp_soon};
use enforcer_tests::{Daemon, Numbered};

/// web and api, db and store; hub and watch always.
const ONE: &str = r#"
version = 1
[network.first]
prefixes = ["10.10.1.10/32", "10.10.2.10/32", "2001:db8:a:101::10/128", "2001:db8:a:201::10/128"]
[network.second]
prefixes = ["10.10.1.20/32", "10.10.2.80/32", "2001:db8:a:101::20/128", "2001:db8:a:202::80/128"]
[network.always]
prefixes = ["10.10.1.70/32", "10.10.2.140/32", "2001:db8:a:102::70/128", "2001:db8:a:203::140/128"]
"#;

/// web and store, db and api: each network has given away what it had on the second host.
const OTHER: &str = r#"
version = 1
[network.first]
prefixes = ["10.10.1.10/32", "10.10.2.80/32", "2001:db8:a:101::10/128", "2001:db8:a:202::80/128"]
[network.second]
prefixes = ["10.10.1.20/32", "10.10.2.10/32", "2001:db8:a:101::20/128", "2001:db8:a:201::10/128"]
[network.always]
prefixes = ["10.10.1.70/32", "10.10.2.140/32", "2001:db8:a:102::70/128", "2001:db8:a:203::140/128"]
"#;

/// Across the fabric, in both directions: pairs that share nothing in either policy.
const SENTINELS: [(&str, &str); 4] = [("web", "shop"), ("shop", "db"), ("probe", "api"), ("store", "hub")];
const ROUNDS: usize = 8;

/// A fabric under the first policy.
fn governed(name: &str) -> (Fabric, [Daemon; 2]) {
    let fabric = Fabric::build(Underlay::L3, name);
    let daemons = fabric.enforce();
    for daemon in &daemons {
        daemon.apply(ONE);
    }
    (fabric, daemons)
}

#[test]
fn hosts_that_change_one_after_the_other_admit_nothing_that_no_policy_allows() {
    let (fabric, daemons) = governed("stagger");
    let stream = |from: &str, to: &str, family, rate| {
        let (from, to) = (fabric.workload(from), fabric.workload(to));
        Numbered::new(from, to, to.address(family)).rate(rate).start()
    };
    let both = |(from, to): (&'static str, &'static str), rate| {
        Family::BOTH.map(|family| ((from, to, family), stream(from, to, family, rate)))
    };
    let denied: Vec<_> = SENTINELS.iter().flat_map(|pair| both(*pair, 500)).collect();
    let allowed: Vec<_> =
        [("hub", "watch"), ("watch", "hub")].into_iter().flat_map(|pair| both(pair, 500)).collect();
    for round in 0..ROUNDS {
        // Now the one host is first, now the other.
        let (first, last) = (&daemons[round % 2], &daemons[(round + 1) % 2]);
        for policy in [OTHER, ONE] {
            first.apply(policy);
            last.apply(policy);
        }
    }
    for (who, stream) in denied {
        let report = stream.finish();
        assert!(report.sent > 100, "{who:?}: only {} packets were sent", report.sent);
        assert!(report.received.is_empty(), "{who:?}: {} of {} arrived", report.received.len(), report.sent);
    }
    for (who, stream) in allowed {
        let report = stream.finish();
        assert!(report.sent > 100, "{who:?}: only {} packets were sent", report.sent);
        assert_eq!(report.lost(), Vec::<u64>::new(), "{who:?}: lost, of {}", report.sent);
    }
}

#[test]
fn what_one_hosts_policy_alone_allows_does_not_arrive() {
    let (fabric, daemons) = governed("disagree");
    daemons[1].apply(OTHER);
    // Allowed by the sender's host alone, and by the receiver's alone, in both directions.
    for (from, to, dropping) in
        [("web", "api", 1), ("api", "web", 1), ("web", "store", 0), ("store", "web", 0)]
    {
        for family in Family::BOTH {
            let (from, to) = (fabric.workload(from), fabric.workload(to));
            let before = daemons[dropping].dropped("default-deny");
            let answered = udp_soon(from, to.address(family), ECHO_PORT);
            assert!(!answered, "{} to {}, {family:?}", from.name(), to.name());
            let dropped = daemons[dropping].dropped("default-deny") - before;
            assert_eq!(
                dropped,
                1,
                "{} to {}, {family:?}: by the host that denies it",
                from.name(),
                to.name()
            );
        }
    }
    daemons[0].apply(OTHER);
    let (web, store) = (fabric.workload("web"), fabric.workload("store"));
    assert!(udp(web, store.ipv4(), ECHO_PORT) && udp(web, store.ipv6(), ECHO_PORT));
}
