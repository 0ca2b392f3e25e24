//! What the kernel lacks is told and done without; one that is too old is refused.

use std::path::Path;
use std::process::Output;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::kernel::version;
use enforcer_tests::traffic::{ECHO_PORT, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host};
use serde_json::{Value, json};

use crate::town::POLICY;

/// What `status` is to say on a kernel that distributions have left as it was: what is used, and what is lacking.
fn expected() -> (Value, Value) {
    let since = |version_of_feature| version() >= version_of_feature;
    let has_types = Path::new("/sys/kernel/btf/vmlinux").exists();
    let rows = [
        ("attach", since((6, 6)), "tcx links", "clsact filters", "tcx links (6.6)"),
        ("clock", true, "ticks", "exact", "a timer of high resolution"),
        ("kernel types", has_types, "not needed", "not needed", "BTF (CONFIG_DEBUG_INFO_BTF)"),
        (
            "memory",
            since((5, 11)),
            "counted for the control group",
            "locked, its limit lifted",
            "counting for control groups (5.11)",
        ),
        (
            "pieces",
            since((5, 12)),
            "measured on the fast path",
            "by the host's stack, but those of TCP",
            "a measure of what packets are cut into (5.12)",
        ),
        (
            "prefixes",
            since((5, 12)),
            "written in batches",
            "written one by one",
            "batches of prefixes (5.12)",
        ),
    ];
    let (mut features, mut lacking) = (json!({}), json!({}));
    for (name, has, uses, instead, lacks) in rows {
        features[name] = if has { uses } else { instead }.into();
        if !has {
            lacking[name] = lacks.into();
        }
    }
    (features, lacking)
}

/// What a command says to people.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn status_names_what_is_used_and_what_the_kernel_lacks() {
    let host = Host::new("features");
    let mut daemon = Daemon::start(&host);
    let (features, lacking) = expected();
    for answers in ["the daemon", "the tables"] {
        let status = daemon.json(&["status"]);
        assert_eq!(status["features"], features, "{answers}");
        assert_eq!(status["lacking"], lacking, "{answers}");
        let told = text(&daemon.cli(&["status"]));
        for (name, lacks) in lacking.as_object().unwrap() {
            let uses = features[name].as_str().unwrap();
            let line = format!("feature:      {name}: {uses}; the kernel lacks {}", lacks.as_str().unwrap());
            assert!(told.contains(&line), "{answers}: no {line:?} in {told}");
        }
        if answers == "the daemon" {
            daemon.stop();
        }
    }
}

/// Starts a program with no types of the kernel in sight, as on one that was built without.
const WITHOUT_TYPES: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "[ ! -d /sys/kernel/btf ] || mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"",
];

#[test]
fn nothing_needs_the_types_of_the_kernel() {
    let host = Host::new("typeless");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let api = host.workload("api").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
    let db = host.workload("db").at("10.3.0.5/24").at("2001:db8:3::5/64").routed();
    let config = format!("{DEFAULT_CONFIG}[guard]\nmatch = [\"{}\"]\n", web.interface());
    let daemon = Daemon::start_through(&host, &config, &WITHOUT_TYPES);
    daemon.wait_ready(&[web.interface(), api.interface(), db.interface()]);
    daemon.apply(POLICY);
    let status = daemon.json(&["status"]);
    assert_eq!(status["lacking"]["kernel types"], "BTF (CONFIG_DEBUG_INFO_BTF)", "{status}");
    assert_eq!(status["guards"].as_array().unwrap().len(), 1, "the guard's program loads, too: {status}");
    assert!(tcp(&web, api.ipv4(), ECHO_PORT) && tcp(&web, api.ipv6(), ECHO_PORT));
    assert!(!tcp_soon(&web, db.ipv4(), ECHO_PORT) && !tcp_soon(&web, db.ipv6(), ECHO_PORT));
}

/// What the kernel says of itself to programs that are too old for three digits, `2.6.60` and more; and root without
/// the capabilities that came with kernels 5.8 and 5.9.
const TOO_OLD: [&str; 4] = ["setarch", "--uname-2.6", "setpriv", "--bounding-set=-bpf,-perfmon"];

#[test]
fn a_kernel_below_the_floor_is_refused_and_nothing_is_changed() {
    let host = Host::new("floor");
    let web = host.workload("web").at("10.1.0.5/24").routed();
    let daemon = Daemon::prepare(&host, DEFAULT_CONFIG);
    let config = daemon.directory().join("enforcer.toml");
    for run in [&["run"][..], &["run", "--once"]] {
        let refused =
            daemon.cli_through(&TOO_OLD, &[run, &["--config", config.to_str().unwrap()]].concat(), "");
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let told = text(&refused);
        assert!(told.contains("kernel 2.6.") && told.contains("5.10 or newer"), "{told}");
        assert!(told.contains("Debian has had it since 11"), "what to do: {told}");
        assert!(!told.contains("root") && !told.contains("CAP_"), "not what to mend: {told}");
    }
    let left = daemon.cli(&["clean", "--check"]);
    assert!(left.status.success(), "{left:?}");
    let filters = host.netns().run("tc", &["qdisc", "show", "dev", web.interface()]);
    assert!(!text(&filters).contains("clsact"), "{filters:?}");
    let checked = daemon.cli_through(&TOO_OLD, &["check", "-"], POLICY);
    assert!(checked.status.success(), "a policy is checked anywhere: {checked:?}");
}
