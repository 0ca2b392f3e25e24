//! Nanoseconds per packet of each program, in rounds that take turns.

use std::time::Duration;

use enforcer::datapath::load::PROGRAMS;
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, Family, Packet, from},
    prog_run::Lab,
};

/// Rounds; each measures every scenario once.
const ROUNDS: usize = 21;
/// Runs of one packet in a round, when its flow is known.
const REPEAT: u32 = 100_000;
/// Misses in a round, each measured alone.
const MISSES: u32 = 300;

const POLICY: &str = r#"
version = 1
[network.blue]
prefixes = ["10.1.0.0/24", "10.7.3.0/26", "2001:db8:1::/64", "2001:db8:73::/64"]
[network.db]
prefixes = ["10.9.0.0/24", "2001:db8:9::/64"]
"#;

/// What is measured, in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Sent,
    Delivered,
    Denied,
    Missed,
    MissedAndDenied,
}

const SCENARIOS: [(Scenario, &str); 5] = [
    (Scenario::Sent, "from_endpoint, hit: flow known, passed and stamped"),
    (Scenario::Delivered, "to_endpoint, hit: flow known, stamp recognised"),
    (Scenario::Denied, "from_endpoint, deny: denied flow known"),
    (Scenario::Missed, "from_endpoint, miss: judged anew, passed *"),
    (Scenario::MissedAndDenied, "from_endpoint, miss: judged anew, denied *"),
];

pub fn measure() {
    let mut lab = Lab::new();
    lab.endpoint("a").owns([BLUE_A]);
    lab.endpoint("b").owns([BLUE_B]);
    lab.endpoint("db").owns([DB]);
    lab.apply(POLICY);
    println!("programs");
    for name in PROGRAMS {
        let program = lab.program(name);
        println!(
            "  {name:<16} {:>7} instructions verified, {:>6} bytes translated, {:>6} bytes of machine code",
            program.verified_instruction_count().unwrap_or(0),
            program.size_translated().unwrap_or(0),
            program.size_jitted(),
        );
    }
    println!("\nnanoseconds per packet: minimum and median of {ROUNDS} rounds of {REPEAT} packets");
    println!("  {:<52} {:>6} {:>6}   {:>6} {:>6}", "", "v4 min", "median", "v6 min", "median");
    let mut times = vec![[Vec::new(), Vec::new()]; SCENARIOS.len()];
    for _ in 0..ROUNDS {
        for (index, (scenario, _)) in SCENARIOS.iter().enumerate() {
            for (column, family) in Family::BOTH.into_iter().enumerate() {
                times[index][column].push(scenario.measure(&mut lab, family));
            }
        }
    }
    for ((_, name), [mut v4, mut v6]) in SCENARIOS.iter().zip(times) {
        let ((v4_min, v4_median), (v6_min, v6_median)) =
            (least_and_median(&mut v4), least_and_median(&mut v6));
        println!("  {name:<52} {v4_min:>6} {v4_median:>6}   {v6_min:>6} {v6_median:>6}");
    }
    println!("  * {MISSES} packets a round, each measured alone: the clock's own cost is in these");
}

impl Scenario {
    fn measure(self, lab: &mut Lab, family: Family) -> Duration {
        let allowed = packet(BLUE_A.on(family), BLUE_B.on(family));
        let denied = packet(BLUE_A.on(family), DB.on(family));
        match self {
            Self::Sent => lab.sent_by("a", &allowed).mean_duration(REPEAT),
            Self::Delivered => lab.delivered_to("b", &allowed).stamped_by("a").mean_duration(REPEAT),
            Self::Denied => lab.sent_by("a", &denied).mean_duration(REPEAT),
            Self::Missed => misses(lab, &allowed),
            Self::MissedAndDenied => misses(lab, &denied),
        }
    }
}

fn packet(src: std::net::IpAddr, dst: std::net::IpAddr) -> Packet {
    from(src).to(dst).udp(53).payload(22)
}

/// The median of many single misses.
fn misses(lab: &mut Lab, packet: &Packet) -> Duration {
    let single = (0..MISSES).map(|_| {
        lab.forget_flows();
        lab.sent_by("a", packet).mean_duration(1)
    });
    let mut single: Vec<Duration> = single.collect();
    single.sort_unstable();
    single[single.len() / 2]
}

fn least_and_median(times: &mut [Duration]) -> (u128, u128) {
    times.sort_unstable();
    (times[0].as_nanos(), times[times.len() / 2].as_nanos())
}
