//! The demo over two hosts: one policy on both, and the same answers whatever carries the packets.

use anyhow::{Result, ensure};
use enforcer_tests::fabric::{Fabric, PLACES, POLICY, Site, Underlay, may_open};
use enforcer_tests::matrix::{Expectation, Matrix};
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::ECHO_PORT;
use enforcer_tests::{Daemon, Workload};
use serde_json::Value;

use crate::look_around;
use crate::show::{self, Steps, Tally, indented, print_answer, print_matrices};

/// The whole demo. Whatever it built is gone when it returns.
pub fn run(underlay: Underlay, steps: &Steps, keep: bool) -> Result<Tally> {
    steps.step(&format!("two hosts, eight workloads; {}", underlay.caption()))?;
    let fabric = Fabric::build(underlay, "demo");
    print_places(&fabric);

    steps.step("without an enforcer: does everybody reach everybody?")?;
    show::everybody_answered(&ask_everybody(&fabric, &|_, _, _| true))?;

    steps.step("an enforcer starts on each host; neither knows of the other")?;
    let daemons = fabric.enforce();
    steps.step("both get the same policy, which says nothing about the underlay")?;
    for daemon in &daemons {
        daemon.apply(POLICY);
    }
    print!("{}", indented(POLICY));
    print_digests(&daemons)?;

    steps.step("everybody asks everybody again, over TCP, UDP and ping")?;
    let matrices = ask_everybody(&fabric, &may_open);
    print_matrices(&by_hosts(&fabric, &matrices));

    steps.step("what the first host's enforcer says")?;
    print_answers(&fabric, &daemons[0])?;
    if keep {
        let [one, two] = &fabric.hosts;
        look_around::stay(&[one, two], &look_around::insides(&fabric.workloads), &[&daemons[0], &daemons[1]]);
    }
    steps.say("everything goes away again");
    Ok(Tally::of(&matrices))
}

/// A matrix for each family that the workloads have.
fn ask_everybody(fabric: &Fabric, may_open: Expectation<'_>) -> Vec<Matrix> {
    let ask = |family: &Family| match family {
        Family::V4 => Matrix::ask("IPv4", &fabric.workloads, Workload::ipv4, may_open),
        Family::V6 => Matrix::ask("IPv6", &fabric.workloads, Workload::ipv6, may_open),
    };
    fabric.underlay.families().iter().map(ask).collect()
}

/// Each matrix in four parts: from each host to each.
fn by_hosts(fabric: &Fabric, matrices: &[Matrix]) -> Vec<Matrix> {
    let mut parts = Vec::new();
    for matrix in matrices {
        for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let heading = match (Site::HOSTS[from].name, Site::HOSTS[to].name) {
                (from, to) if from == to => format!("within host {from}"),
                (from, to) => format!("from host {from} to host {to}"),
            };
            parts.push(matrix.part(&heading, &fabric.places_of(from), &fabric.places_of(to)));
        }
    }
    parts
}

/// The workloads of each host with their addresses and the networks these are in.
fn print_places(fabric: &Fabric) {
    for (index, (site, places)) in Site::HOSTS.iter().zip(&PLACES).enumerate() {
        println!("         host {}", site.name);
        for (place, workload) in places.iter().zip(fabric.workloads_of(index)) {
            let addresses = workload.addresses().iter().map(|address| format!("{address:<22}"));
            println!("           {:6} {} {}", place.name, addresses.collect::<String>(), place.membership);
        }
    }
}

/// That both hosts have the same policy can be told by comparing two words.
fn print_digests(daemons: &[Daemon]) -> Result<()> {
    let digests: Vec<Value> =
        daemons.iter().map(|daemon| daemon.json(&["status"])["digest"].clone()).collect();
    ensure!(digests[0] == digests[1], "the hosts' policies differ: {digests:?}");
    println!("         digest on both: {}", digests[0].as_str().unwrap_or("none"));
    Ok(())
}

/// The enforcer's own account of one question across the fabric, both ways, and of what it dropped.
fn print_answers(fabric: &Fabric, daemon: &Daemon) -> Result<()> {
    let address = |name: &str| fabric.workload(name).ipv6().to_string();
    let port = format!("tcp/{ECHO_PORT}");
    print_answer(daemon, &["drops"], 0)?;
    print_answer(daemon, &["explain", &address("shop"), &address("hub"), &port], 0)?;
    // Denied: the command says so by its exit status, too.
    print_answer(daemon, &["explain", &address("hub"), &address("shop"), &port], 1)
}
