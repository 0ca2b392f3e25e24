//! Membership by labels and names of containers: it follows what runs.

use enforcer_tests::docker::Engine;
use enforcer_tests::traffic::{ECHO_PORT, tcp};
use enforcer_tests::{Daemon, Host};

#[test]
fn first_try() {
    let host = Host::new("dm-first");
    let engine = Engine::start(&host, &["--iptables=false"]);
    engine.network("one", "10.61.0.0/24", &[]);
    engine.network("two", "10.62.0.0/24", &[]);
    let a = engine.container("web").on("one").label("enforcer.network=blue").run();
    let b = engine.container("api").on("two").label("enforcer.network=blue").run();
    let c = engine.container("audit").on("one").label("enforcer.network=red").run();
    let daemon = Daemon::start_with(&host, &engine.host_file());
    daemon.wait_ready(&[&a.interface(), &b.interface(), &c.interface()]);
    daemon.apply("version = 1\n[network.blue]\nmembers = [\"docker:label:enforcer.network=blue\"]\n[network.red]\nmembers = [\"docker:label:enforcer.network=red\"]\n");
    eprintln!("{}", String::from_utf8_lossy(&daemon.cli(&["endpoints", "-o", "wide"]).stdout));
    eprintln!("{}", String::from_utf8_lossy(&daemon.cli(&["networks", "-o", "wide"]).stdout));
    eprintln!("{}", String::from_utf8_lossy(&daemon.cli(&["status"]).stdout));
    assert!(tcp(&a, b.ipv4(), ECHO_PORT) && !tcp(&a, c.ipv4(), ECHO_PORT));
    let d = engine.container("batch").on("two").label("enforcer.network=red").run();
    let t = std::time::Instant::now();
    enforcer_tests::wait::until("d is red", std::time::Duration::from_secs(5), || {
        tcp(&c, d.ipv4(), ECHO_PORT).then_some(())
    });
    eprintln!("{:?}", t.elapsed());
    panic!("{}", daemon.log());
}
