//! sockperf: how long an answer takes over TCP.

use anyhow::{Context, Result, ensure};
use enforcer_tests::command::transcript;
use enforcer_tests::packet::{BLUE_B, Family};

use super::server::Server;
use super::told;
use crate::pair::Pair;

const PORT: u16 = 11111;

/// Starts its server, which hears IPv4.
pub fn serve(pair: &Pair) -> Server {
    Server::hearing(PORT, pair.b.netns(), "sockperf", &["server", "--tcp", "-p", &PORT.to_string()])
}

/// How long half of all answers took at most, and 99 of 100; microseconds from question to answer.
pub fn latency(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    told(|| ask(pair, family))
}

fn ask(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    let to = BLUE_B.on(family).to_string();
    let port = PORT.to_string();
    let arguments = ["ping-pong", "-i", &to, "-p", &port, "--tcp", "-t", "1", "--full-rtt"];
    let output = pair.a.netns().run("sockperf", &arguments);
    ensure!(output.status.success(), "sockperf: {}", transcript(&output));
    let shown = String::from_utf8_lossy(&output.stdout);
    let percentile = |name: &str| {
        let line = shown.lines().find_map(|line| line.split_once(name)?.1.trim().strip_prefix('='));
        line.and_then(|value| value.trim().parse().ok())
            .with_context(|| format!("sockperf tells no {name}: {shown}"))
    };
    Ok(vec![percentile("percentile 50.000")?, percentile("percentile 99.000")?])
}
