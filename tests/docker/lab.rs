//! The laboratory itself, without an enforcer: what reaches whom is Docker's doing alone.

use std::path::Path;

use enforcer_tests::Host;
use enforcer_tests::docker::Engine;
use enforcer_tests::traffic::{ECHO_PORT, ping, tcp, tcp_soon, udp};
use rstest::rstest;

#[rstest]
#[case::iptables("dl-iptables", &[], false)]
#[case::no_iptables("dl-none", &["--iptables=false"], true)]
#[case::no_proxy("dl-no-proxy", &["--userland-proxy=false"], false)]
fn one_bridge_is_open_and_two_are_what_iptables_make_of_them(
    #[case] name: &str,
    #[case] options: &[&str],
    #[case] is_open: bool,
) {
    let host = Host::new(name);
    let engine = Engine::start(&host, options);
    engine.network("one", "10.61.0.0/24", &[]);
    engine.network("two", "10.62.0.0/24", &[]);
    let web = engine.container("web").at("one", "10.61.0.10").publish("8080:5432").run();
    let api = engine.container("api").on("one").run();
    let db = engine.container("db").on("two").run();
    assert!(tcp(&web, api.ipv4(), ECHO_PORT) && udp(&api, web.ipv4(), ECHO_PORT) && ping(&web, api.ipv4()));
    assert_eq!(tcp_soon(&web, db.ipv4(), ECHO_PORT), is_open);
    assert_eq!(web.ipv4().to_string(), "10.61.0.10");
    for published in ["10.61.0.1", "10.62.0.1", "192.0.2.1"].map(|address| address.parse().unwrap()) {
        assert!(tcp(&host, published, 8080), "{published}");
    }
}

#[test]
fn containers_come_again_and_outlive_an_engine_that_lets_them() {
    let host = Host::new("dl-again");
    let mut engine = Engine::start(&host, &["--live-restore"]);
    engine.network("one", "10.61.0.0/24", &[]);
    let mut web = engine.container("web").on("one").run();
    let api = engine.container("api").on("one").run();
    let interface = web.interface();
    web.restart();
    assert_ne!(web.interface(), interface, "another veth");
    assert!(tcp(&web, api.ipv4(), ECHO_PORT));
    for end in [Engine::stop, Engine::kill] {
        end(&mut engine);
        assert!(tcp(&web, api.ipv4(), ECHO_PORT), "with the engine away");
        engine.start_again();
        assert!(tcp(&web, api.ipv4(), ECHO_PORT), "with the engine back");
    }
    web.restart();
    assert!(tcp(&web, api.ipv4(), ECHO_PORT), "it knows its containers");
}

#[test]
fn nothing_of_an_engine_is_left_behind() {
    let host = Host::new("dl-leaving");
    let engine = Engine::start(&host, &[]);
    let web = engine.container("web").run();
    let directory = engine.client().socket().parent().unwrap().to_owned();
    let own = directory.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(mentions(&own).len() > 2, "dockerd, containerd and a shim");
    drop(web);
    drop(engine);
    assert_eq!(mentions(&own), [""; 0]);
    assert!(!directory.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&own), "{mounts}");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!hierarchy.path().join(&own).exists(), "{hierarchy:?}");
    }
}

/// What processes have a word in their command line or control groups. Who has ended has no program any more.
fn mentions(word: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let processes = processes.filter(|process| std::fs::read_link(process.path().join("exe")).is_ok());
    let said = |process: &Path| {
        let files = ["cmdline", "cgroup"].map(|file| std::fs::read(process.join(file)).unwrap_or_default());
        String::from_utf8_lossy(&files.concat()).into_owned()
    };
    processes.map(|process| said(&process.path())).filter(|said| said.contains(word)).collect()
}
