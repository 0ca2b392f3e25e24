//! iperf3: what TCP carries.

use anyhow::{Context, Result, ensure};
use enforcer_tests::command::transcript;
use enforcer_tests::packet::{BLUE_B, Family};
use serde_json::Value;

use super::server::Server;
use super::told;
use crate::pair::Pair;

/// What it hears unless told otherwise.
const PORT: u16 = 5201;

/// Starts its server; it hears both families.
pub fn serve(pair: &Pair) -> Server {
    Server::hearing(PORT, pair.b.netns(), "iperf3", &["--server"])
}

/// Gigabits per second of one stream.
pub fn stream(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    told(|| streams_of(pair, family, "1"))
}

/// Gigabits per second of eight streams together.
pub fn streams(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    told(|| streams_of(pair, family, "8"))
}

/// What the receiver had after a second.
fn streams_of(pair: &Pair, family: Family, streams: &str) -> Result<Vec<f64>> {
    let to = BLUE_B.on(family).to_string();
    let output =
        pair.a.netns().run("iperf3", &["--client", &to, "--time", "1", "--parallel", streams, "--json"]);
    ensure!(output.status.success(), "iperf3: {}", transcript(&output));
    let told: Value = serde_json::from_slice(&output.stdout).context("iperf3 tells no JSON")?;
    let bits = told["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(vec![bits.with_context(|| format!("iperf3 tells no bits per second: {told}"))? / 1e9])
}
