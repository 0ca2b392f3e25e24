//! The demo: six workloads, three logical networks, one enforcer, and proof that it does what the policy says.
//!
//! Everything happens in network namespaces of its own and is removed at the end, whatever the end.

mod interrupt;
mod look_around;
mod plan;

use std::io::{IsTerminal, stdout};
use std::net::IpAddr;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use enforcer_tests::command::transcript;
use enforcer_tests::matrix::{self, Matrix};
use enforcer_tests::traffic::{ECHO_PORT, Protocol};
use enforcer_tests::{Daemon, Host, Workload};

/// How long the endpoints may take to get ready.
const READINESS: Duration = Duration::from_secs(10);

/// Show who may talk to whom, and that the kernel sees to it.
#[derive(Debug, Parser)]
struct Args {
    /// Leave everything running until Enter or Ctrl-C.
    #[arg(long)]
    keep: bool,
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

/// What the demo is judged by.
struct Tally {
    as_expected: usize,
    probes: usize,
}

/// The whole demo. Whatever it built is gone when it returns.
fn run(args: &Args) -> Result<Tally> {
    ensure!(nix::unistd::geteuid().is_root(), "root is needed: the demo creates network namespaces");
    interrupt::listen()?;
    let steps = Steps { begin: Instant::now() };

    steps.step("one host, six workloads: four IPv4 subnets, two IPv6 prefixes, routed and bridged")?;
    let host = Host::new("demo");
    let workloads: Vec<Workload> = plan::PLACES.iter().map(|place| place.build(&host)).collect();
    print_places(&workloads);

    steps.step("without an enforcer: does everybody reach everybody?")?;
    let before = ask_everybody(&workloads, |_, _, _| true);
    let (answered, probes) = (before.iter().map(Matrix::answered).sum::<usize>(), sum_of_probes(&before));
    ensure!(answered == probes, "no enforcer yet, but only {answered} of {probes} probes answered");
    println!("         yes: {answered} of {probes} probes answered");

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
    if args.keep {
        look_around::stay(&host, &workloads, &daemon);
    }
    steps.say("everything goes away again");
    let asked: Vec<Matrix> = networks.into_iter().chain(rule).collect();
    Ok(Tally { as_expected: asked.iter().map(Matrix::as_expected).sum(), probes: sum_of_probes(&asked) })
}

/// The course of the demo in time.
struct Steps {
    begin: Instant,
}

impl Steps {
    /// Begins a step, unless somebody wants the demo to end.
    fn step(&self, what: &str) -> Result<()> {
        interrupt::check()?;
        self.say(what);
        Ok(())
    }

    /// Prints a line with the time since the beginning.
    fn say(&self, what: &str) {
        println!("[{:5.2}s] {what}", self.begin.elapsed().as_secs_f32());
    }
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

/// How many probes both matrices took.
fn sum_of_probes(matrices: &[Matrix]) -> usize {
    matrices.iter().map(Matrix::probes).sum()
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

/// The matrices and what their letters mean.
fn print_matrices(matrices: &[Matrix]) {
    let is_coloured = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    println!("{}", matrix::legend());
    for matrix in matrices {
        println!("\n{}", matrix.shown(is_coloured).trim_end());
    }
    println!();
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

/// Runs a command, prints it and what it says, and insists on its exit status.
fn print_answer(daemon: &Daemon, args: &[&str], status: i32) -> Result<()> {
    interrupt::check()?;
    let output = daemon.cli(args);
    let line = format!("enforcer {}", args.join(" "));
    ensure!(output.status.code() == Some(status), "{line}: {}", transcript(&output));
    println!("\n$ {line}\n{}", String::from_utf8_lossy(&output.stdout).trim_end());
    Ok(())
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

/// A text, moved to the right of the time.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("         {line}").trim_end().to_owned() + "\n").collect()
}
