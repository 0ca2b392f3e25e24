//! What is put in the way of shortcuts is told by the kernel where it tells anybody: nobody waits for the next look.

use std::time::Duration;

use enforcer::shortcut::Changes;
use enforcer_tests::NetNs;
use enforcer_tests::command::transcript;
use rstest::rstest;
use tokio::runtime;
use tokio::time::timeout;

use crate::street::PATIENCE;

/// So long nothing is to be heard where nothing changes.
const SILENCE: Duration = Duration::from_millis(200);

#[rstest]
#[case::nftables("nft add table ip fw")]
#[case::queue("tc qdisc add dev veth-a root pfifo")]
#[case::filter("tc filter add dev veth-a ingress protocol all u32 match u32 0 0 flowid 1:1")]
#[case::ipsec("ip xfrm policy add dst 10.2.0.5/32 dir fwd action block")]
#[case::ipsec_default("ip xfrm policy setdefault fwd block")]
fn what_the_kernel_tells_is_heard(#[case] change: &str) {
    let netns = NetNs::create("changes");
    netns.ip("link add veth-a up type veth peer veth-b");
    let run = |command: &str| {
        let output = netns.run("sh", &["-ec", command]);
        assert!(output.status.success(), "{command}: {}", transcript(&output));
    };
    run("tc qdisc add dev veth-a clsact");
    netns.enter(|| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut changes = Changes::listen();
            assert!(timeout(SILENCE, changes.next()).await.is_err(), "nothing has changed yet");
            run(change);
            timeout(PATIENCE, changes.next()).await.expect("it is told");
            changes.forget();
            assert!(timeout(SILENCE, changes.next()).await.is_err(), "it is known of");
        });
    });
}
