//! SIGHUP: the host file and its policy files are read again, all of them or none.

use std::fs;
use std::path::PathBuf;

use enforcer_tests::traffic::{ECHO_PORT, tcp_soon};
use enforcer_tests::{Daemon, Host, Workload};
use serde_json::json;

use crate::town::POLICY;

struct Scene {
    web: Workload,
    api: Workload,
    daemon: Daemon,
    policy: PathBuf,
    /// Dropped last: everything is on it.
    _host: Host,
}

impl Scene {
    /// Two workloads and a daemon that has applied a policy file named by its host file.
    #[track_caller]
    fn build(name: &str) -> Self {
        let host = Host::new(name);
        let web = host.workload("web").at("10.1.0.5/24").routed();
        let api = host.workload("api").at("10.2.0.5/24").routed();
        let mut daemon = Daemon::prepare(&host, "");
        let policy = daemon.directory().join("policy.toml");
        fs::write(&policy, POLICY).unwrap();
        let scene = |daemon| Self { web, api, daemon, policy, _host: host };
        daemon.configure(&format!(
            "policy = [\"{}\"]\n[attach]\nmatch = [\"veth-*\"]\n",
            daemon.directory().join("policy.toml").display()
        ));
        daemon.start_again();
        let scene = scene(daemon);
        scene.daemon.wait_ready(&["veth-web", "veth-api"]);
        scene
    }

    /// Appends to the host file of [`Scene::build`], or replaces its pattern.
    fn configure(&self, pattern: &str, more: &str) {
        let policy = self.policy.display();
        self.daemon.configure(&format!("policy = [\"{policy}\"]\n[attach]\nmatch = [\"{pattern}\"]\n{more}"));
    }

    /// Reloads, waits for the end of it, and returns what the daemon said meanwhile.
    #[track_caller]
    fn reload(&self) -> String {
        self.daemon.read_again()
    }

    fn open(&self) -> bool {
        tcp_soon(&self.web, self.api.ipv4(), ECHO_PORT)
    }
}

#[test]
fn a_host_file_counts_when_it_is_reloaded() {
    let scene = Scene::build("reloadhost");
    assert!(scene.open());
    scene.configure("veth-w*", "[[endpoint]]\nmatch = \"veth-web\"\naddresses = [\"10.1.0.77\"]\n");
    let said = scene.reload();
    assert!(!said.contains("not reloaded"), "{said}");
    let endpoints = scene.daemon.json(&["endpoints"]);
    let found: Vec<_> = endpoints.as_array().unwrap().iter().map(|endpoint| &endpoint["name"]).collect();
    assert_eq!(found, [&json!("veth-web")], "api is nobody's business any more: {endpoints}");
    assert!(endpoints[0]["addresses"].to_string().contains("10.1.0.77"), "{endpoints}");
    assert!(!scene.open(), "10.1.0.5 is not web's any more");
    scene.configure("veth-*", "[guard]\nmatch = [\"veth-web\"]\n");
    scene.reload();
    scene.daemon.wait_ready(&["veth-web", "veth-api"]);
    assert_eq!(scene.daemon.json(&["status"])["guards"][0]["interface"], "veth-web");
    assert!(scene.open());
}

#[test]
fn a_bad_host_file_is_told_and_changes_nothing() {
    let scene = Scene::build("reloadbad");
    fs::write(&scene.policy, POLICY.replace("10.2.0.0/24", "10.2.1.0/24")).unwrap();
    scene.configure("veth-w*", "[attach]\nmatched = []\n");
    let said = scene.reload();
    assert!(
        said.contains("ERROR") && said.contains("not reloaded") && said.contains("enforcer.toml"),
        "{said}"
    );
    let status = scene.daemon.json(&["status"]);
    assert_eq!(status["generation"], 1, "nor is the policy read then");
    assert!(status["warnings"].to_string().contains("the last reload was refused"), "{status}");
    assert_eq!(scene.daemon.not_ready(&["veth-web", "veth-api"]), [""; 0]);
    assert!(scene.open());
}

#[test]
fn policy_files_are_applied_or_refused_as_by_apply() {
    let scene = Scene::build("reloadpolicy");
    let world = "[[rule]]\nname = \"out\"\nfrom = [\"blue\"]\nto = [\"world\"]\nallow = [\"any\"]\n";
    fs::write(&scene.policy, format!("{POLICY}{world}").replace("\"10.2.0.0/24\"", "\"10.2.0.0/16\""))
        .unwrap();
    scene.reload();
    assert_eq!(scene.daemon.json(&["status"])["generation"], 2);
    assert!(scene.open());
    for (bad, wanted) in
        [(format!("{POLICY}{world}"), "world"), (POLICY.replace("10.2.0.0/24", "10.2.0.5/24"), "host bits")]
    {
        fs::write(&scene.policy, bad).unwrap();
        // A good host file with a bad policy does not count either.
        scene.configure("veth-w*", "");
        let said = scene.reload();
        assert!(said.contains("not reloaded") && said.contains(wanted), "wanted {wanted}: {said}");
        assert_eq!(scene.daemon.json(&["status"])["generation"], 2, "after {said}");
        assert_eq!(scene.daemon.not_ready(&["veth-web", "veth-api"]), [""; 0]);
        assert!(scene.open());
    }
}

#[test]
fn without_policy_files_the_applied_policy_stays() {
    let scene = Scene::build("reloadnone");
    fs::remove_file(&scene.policy).unwrap();
    let said = scene.reload();
    assert!(!said.contains("not reloaded"), "{said}");
    assert_eq!(scene.daemon.json(&["status"])["generation"], 1);
    assert!(scene.open());
}

#[test]
fn a_reload_neither_confirms_nor_replaces_a_policy_on_trial() {
    let scene = Scene::build("reloadtrial");
    let tried = POLICY.replace("10.2.0.0/24", "10.2.0.0/16");
    let applied = scene.daemon.cli_with_input(&["apply", "-", "--confirm", "10m"], &tried);
    assert!(applied.status.success(), "{applied:?}");
    for files in [POLICY, &tried] {
        fs::write(&scene.policy, files).unwrap();
        let said = scene.reload();
        assert!(said.contains("not reloaded") && said.contains("on trial"), "{said}");
        let status = scene.daemon.json(&["status"]);
        assert_eq!(status["generation"], 2);
        assert!(status["seconds_left"].as_u64().is_some_and(|left| left > 500), "{status}");
    }
    assert!(scene.daemon.cli(&["rollback"]).status.success());
    assert!(!scene.reload().contains("not reloaded"));
}

#[test]
fn what_is_loaded_for_good_is_said_to_be() {
    let scene = Scene::build("reloadmask");
    scene.configure("veth-*", "[datapath]\nmark_mask = \"0x00000ff0\"\n");
    let said = scene.reload();
    assert!(said.contains("count with the next start"), "{said}");
    assert!(scene.open(), "stamps are where the programs look for them");
}
