//! The demo: six workloads, three logical networks, one enforcer, and proof that it does what the policy says.
//!
//! Everything happens in network namespaces of its own and is removed at the end, whatever the end.

mod docker;
mod fabric;
mod interrupt;
mod look_around;
mod plan;
mod show;

use std::net::IpAddr;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use enforcer_tests::fabric::Underlay;
use enforcer_tests::matrix::Matrix;
use enforcer_tests::traffic::{ECHO_PORT, Protocol};
use enforcer_tests::{Daemon, Host, Workload};
use show::{Steps, Tally, indented, print_answer, print_matrices};

/// How long the endpoints may take to get ready.
const READINESS: Duration = Duration::from_secs(10);

/// Show who may talk to whom, and that the kernel sees to it.
#[derive(Debug, Parser)]
struct Args {
    /// Leave everything running until Enter or Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Two hosts with an enforcer each, joined by this, instead of one host.
    #[arg(long, value_name = "UNDERLAY")]
    fabric: Option<Underlay>,
    /// Containers of a Docker engine, told apart by labels, instead of namespaces.
    #[arg(long, conflicts_with = "fabric")]
    docker: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(tally) => {
            println!("demo: {} of {} probes as expected", tally.as_expected, tally.probes);
            if tally.as_expected == tally.probes { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The demo that was asked for.
fn run(args: &Args) -> Result<Tally> {
    ensure!(nix::unistd::geteuid().is_root(), "root is needed: the demo creates network namespaces");
    interrupt::listen()?;
    let steps = Steps { begin: Instant::now() };
    match args.fabric {
        Some(underlay) => fabric::run(underlay, &steps, args.keep),
        None if args.docker => docker::run(&steps, args.keep),
        None => on_one_host(&steps, args.keep),
    }
}

/// One host. Whatever it built is gone when it returns.
fn on_one_host(steps: &Steps, keep: bool) -> Result<Tally> {
    steps.step("one host, six workloads: four IPv4 subnets, two IPv6 prefixes, routed and bridged")?;
    let host = Host::new("demo");
    let workloads: Vec<Workload> = plan::PLACES.iter().map(|place| place.build(&host)).collect();
    print_places(&workloads);

    steps.step("without an enforcer: does everybody reach everybody?")?;
    let before = ask_everybody(&workloads, |_, _, _| true);
    show::everybody_answered(&before)?;

    steps.step("the enforcer starts and finds the workloads")?;
    let daemon = Daemon::start(&host);
    wait_for_endpoints(&daemon, &workloads)?;

    steps.step("it gets its policy: to share a network is to talk")?;
    daemon.apply(&plan::policy());
    print!("{}", indented(&plan::policy()));

    steps.step("everybody asks everybody again, over TCP, UDP and ping, IPv4 and IPv6")?;
    let networks = ask_everybody(&workloads, plan::shares_a_network);
    print_matrices(&networks);

    steps.step("and a rule, which has a direction: red may open this to blue")?;
    daemon.apply(&plan::policy_with_rule());
    print!("{}", indented(plan::RULE.trim_start()));
    let rule = ask_everybody(&workloads, plan::may_open);
    print_matrices(&rule);

    steps.step("what the enforcer says")?;
    print_answers(&daemon, &workloads)?;
    if keep {
        look_around::stay(&[&host], &look_around::insides(&workloads), &[&daemon]);
    }
    steps.say("everything goes away again");
    Ok(Tally::of(networks.iter().chain(&rule)))
}

/// What the policy says of two addresses.
type Expectation = fn(IpAddr, IpAddr, Protocol) -> bool;

/// Both families' matrices, now.
fn ask_everybody(workloads: &[Workload], may_open: Expectation) -> [Matrix; 2] {
    [
        Matrix::ask("IPv4", workloads, Workload::ipv4, &|from, to, by| may_open(from.ipv4(), to.ipv4(), by)),
        Matrix::ask("IPv6", workloads, Workload::ipv6, &|from, to, by| may_open(from.ipv6(), to.ipv6(), by)),
    ]
}

/// Waits until every workload is a ready endpoint.
fn wait_for_endpoints(daemon: &Daemon, workloads: &[Workload]) -> Result<()> {
    let interfaces: Vec<&str> = workloads.iter().map(Workload::interface).collect();
    let begin = Instant::now();
    loop {
        interrupt::check()?;
        let missing = daemon.not_ready(&interfaces);
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < READINESS,
            "not ready after {READINESS:?}: {}\n{}",
            missing.join(", "),
            daemon.log()
        );
        sleep(Duration::from_millis(10));
    }
}

/// The workloads with their addresses and the networks these are in.
fn print_places(workloads: &[Workload]) {
    for (place, workload) in plan::PLACES.iter().zip(workloads) {
        println!(
            "         {:7} {:14} {:20} {:8} {}",
            place.name,
            place.ipv4,
            place.ipv6,
            format!("{:?}", place.wiring).to_lowercase(),
            plan::networks_of(workload.ipv4()).join(", "),
        );
    }
}

/// The enforcer's own account of what happened, as its command line prints it.
fn print_answers(daemon: &Daemon, workloads: &[Workload]) -> Result<()> {
    let (from, to) = denied_pair(workloads);
    let port = format!("tcp/{ECHO_PORT}");
    print_answer(daemon, &["status"], 0)?;
    print_answer(daemon, &["flows", "--limit", "20"], 0)?;
    print_answer(daemon, &["drops"], 0)?;
    // Denied: the command says so by its exit status, too.
    print_answer(daemon, &["explain", &from, &to, &port], 1)?;
    let [red, blue] = ["batch", "web"].map(|name| format!("veth-{name}"));
    print_answer(daemon, &["explain", &red, &blue, &port], 0)
}

/// Two IPv4 addresses on one bridge and yet in different networks: the last pair that must not talk there.
fn denied_pair(workloads: &[Workload]) -> (String, String) {
    let addresses: Vec<_> = workloads.iter().map(|workload| workload.addresses()[0]).collect();
    let neighbours = addresses.iter().flat_map(|from| addresses.iter().map(move |to| (from, to)));
    let mut denied =
        neighbours.filter(|(from, to)| from.trunc() == to.trunc() && !plan::may_talk(from.addr(), to.addr()));
    let (from, to) = denied.next_back().expect("the demo denies something on a bridge");
    (from.addr().to_string(), to.addr().to_string())
}
