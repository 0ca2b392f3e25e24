//! Containers that no veth of the host leads to: nothing is enforced for them, and `status` says so.

use std::time::Duration;

use enforcer_tests::beyond::{Beyond, UPLINK};
use enforcer_tests::docker::Engine;
use enforcer_tests::kernel::{Feature, require_devices};
use enforcer_tests::{Daemon, Host, wait};
use rstest::rstest;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(3);

/// What `status` says of why somebody is not enforced.
fn why(daemon: &Daemon, name: &str) -> Option<String> {
    let status = daemon.json(&["status"]);
    let mut all = status["unenforced"].as_array().unwrap().iter();
    let one = all.find(|one| one["name"] == name)?;
    one["why"].as_str().map(str::to_owned)
}

#[rstest]
#[case::host("du-host", "host", &[], "it has the host's own network")]
#[case::macvlan("du-macvlan", "macvlan", &[Feature::Macvlan], "its network beside is macvlan")]
#[case::ipvlan("du-ipvlan", "ipvlan", &[Feature::Ipvlan], "its network beside is ipvlan")]
fn who_cannot_be_seen_is_told_while_it_runs(
    #[case] name: &str,
    #[case] driver: &str,
    #[case] devices: &[Feature],
    #[case] reason: &str,
) {
    require_devices(devices);
    let host = Host::new(name);
    let beyond = Beyond::of(&host);
    let engine = Engine::start(&host, &[]);
    let daemon = Daemon::start_with(&host, &engine.host_file());
    let network = if driver == "host" {
        "host"
    } else {
        let parent = format!("parent={UPLINK}");
        let wanted = ["network", "create", "--driver", driver, "--subnet", "10.63.0.0/24", "--opt", &parent];
        engine.client().run(&[&wanted[..], &["beside"]].concat());
        "beside"
    };
    let seen = engine.container("seen").run();
    let mut odd = engine.container("odd").on(network).run();
    let told = wait::until("status tells", SOON, || why(&daemon, "odd"));
    assert_eq!(told, reason);
    let shown = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("odd") && shown.contains(reason), "{shown}");
    assert_eq!(why(&daemon, "seen"), None, "a veth leads to {}", seen.interface());
    odd.stop();
    wait::until("status tells no longer", SOON, || why(&daemon, "odd").is_none().then_some(()));
    drop(beyond);
}

/// Who shares the namespace of another container is behind the other's veth.
#[test]
fn a_container_within_another_is_enforced_as_that_one_and_adds_its_labels() {
    let host = Host::new("du-within");
    let engine = Engine::start(&host, &[]);
    let daemon = Daemon::start_with(&host, &engine.host_file());
    daemon.apply("version = 1\n[network.blue]\nmembers = [\"docker:label:enforcer.network=blue\"]\n");
    let pod = engine.container("pod").run();
    let members = || daemon.json(&["networks", "blue"])[0]["prefixes"].clone();
    assert_eq!(members(), Value::Array(Vec::new()));
    let label = ["--label", "enforcer.network=blue"];
    let run = [
        &["run", "--detach", "--name", "sidecar", "--network", "container:pod"],
        &label[..],
        &["lab", "busybox", "sleep", "1000000"],
    ];
    engine.client().run(&run.concat());
    let address = format!("{}/32", pod.ipv4());
    wait::until("the pod's address is a member", SOON, || {
        (members() == Value::from(vec![&*address])).then_some(())
    });
    assert_eq!(why(&daemon, "sidecar"), None);
    engine.client().run(&["rm", "--force", "sidecar"]);
    wait::until("it is none any more", SOON, || (members() == Value::Array(Vec::new())).then_some(()));
}
