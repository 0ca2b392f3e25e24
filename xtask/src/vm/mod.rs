//! `cargo xtask vm`: the same tests on other kernels, in virtual machines.

mod apt;
mod archive;
pub mod document;
mod emulator;
mod groups;
mod image;
mod kernel;
mod machine;
mod modules;
mod programs;
mod record;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use enforcer_guest::{Fault, Outcome, Plan, Report};

use crate::{step, tidy};
use emulator::{Boot, Clock, Emulator};
use groups::Choice;
use image::Image;
use kernel::{Kernel, Series};
use machine::{Course, End};
use programs::Programs;
use record::Record;

/// What to run, and on what.
#[derive(Args)]
pub struct Vm {
    /// The kernels.
    #[arg(long, value_delimiter = ',', default_value = "5.10,6.1,6.12,newest")]
    kernel: Vec<Series>,
    /// Machines at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    /// All tests instead of the short choice; takes long.
    #[arg(long, conflicts_with = "bless")]
    all: bool,
    /// Write what was measured, and unless only some tests ran what passed, into tests/records and docs/kernels.md.
    #[arg(long)]
    bless: bool,
    /// Instead of the tests, let something go wrong, to see how it is reported: hang, silence or panic.
    #[arg(long, conflicts_with_all = ["all", "bless", "filters"])]
    rehearse: Option<Fault>,
    /// Run only tests of these groups, and those whose names contain one of these.
    filters: Vec<String>,
}

/// Runs the tests on all kernels asked for, and prints what came of it.
pub fn run(vm: &Vm) -> Result<ExitCode> {
    apt::require()?;
    let started = Instant::now();
    let cache = step::workspace().join("target/vm");
    fs::create_dir_all(&cache)?;
    let programs = Programs::build()?;
    let built = Instant::now();
    let choice = match (vm.all, &*vm.filters) {
        (true, _) => Choice::All,
        (false, []) => Choice::Short,
        (false, filters) => Choice::Named(filters),
    };
    // Each once, whatever was asked for.
    let kernels: Vec<Series> = Series::ALL.into_iter().filter(|series| vm.kernel.contains(series)).collect();
    let jobs = usize::from(vm.jobs).min(kernels.len());
    let processors = processors(jobs);
    let machines = machines(&kernels, |series| match vm.rehearse {
        Some(fault) => groups::rehearsal(&programs, fault),
        None => groups::plans(&programs, &choice, series, processors),
    })?;
    let emulator = Emulator::fetch(&cache)?;
    let works = Works { cache, programs, emulator, processors, images: Mutex::new(()) };
    let courses = works.all(&kernels, machines, jobs)?;
    print!("\n{}", table::render(&courses));
    let mut good = courses.iter().all(|(_, course)| table::is_good(course));
    if vm.bless {
        ensure!(good, "what failed is not blessed");
        bless(&courses, vm.filters.is_empty())?;
    } else {
        good &= compare(&courses, matches!(choice, Choice::Short) && vm.rehearse.is_none())?;
    }
    println!(
        "{} (build {:.0} s, tests {})",
        table::summary(&courses),
        (built - started).as_secs_f32(),
        step::seconds(built)
    );
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The machines of all kernels in the order of their turns: the newest take longest, and the short ones fill up the end.
fn machines(
    kernels: &[Series],
    plans: impl Fn(Series) -> Result<Vec<(Clock, Plan)>>,
) -> Result<Vec<(Series, Clock, Plan)>> {
    let mut machines = Vec::new();
    for series in kernels.iter().rev() {
        machines.extend(plans(*series)?.into_iter().map(|(clock, plan)| (*series, clock, plan)));
    }
    machines.sort_by_key(|(_, clock, _)| *clock);
    Ok(machines)
}

/// Processors of each of so many machines at a time. More than there are would be much slower, not only as slow: who waits
/// for a lock of an emulated kernel spins, and the one that holds it does not run meanwhile.
fn processors(jobs: usize) -> usize {
    thread::available_parallelism().map_or(1, |all| (all.get() / jobs.max(1)).max(1))
}

/// Writes the records anew, or, where only some tests ran, their figures; and the paper that is made of them.
fn bless(courses: &[(Series, Course)], whole: bool) -> Result<()> {
    for (series, course) in courses {
        let seen = table::record(course);
        let recorded = Record::read(*series)?;
        let record = if whole {
            seen
        } else {
            let (old, new) = (&recorded.release, &seen.release);
            ensure!(old == new, "the record is of {old}, this is {new}: bless all tests");
            recorded.with(seen.figures)
        };
        record.write(*series)?;
    }
    tidy::run()
}

/// Whether all figures are what the records say; tells those that are not.
fn compare(courses: &[(Series, Course)], short: bool) -> Result<bool> {
    let mut good = true;
    for (series, course) in courses {
        let (record, seen) = (Record::read(*series)?, table::record(course));
        let whole = short && course.end == End::Done;
        let deviations = record.deviations(&seen.figures, whole);
        let mut told: Vec<String> = deviations.iter().map(ToString::to_string).collect();
        if whole {
            told.extend(record.surprises(&seen));
        }
        for deviation in &told {
            println!("{:>6}  FAIL {deviation}", series.name());
        }
        if !told.is_empty() && record.release != seen.release {
            println!("        the record is of {}, this is {}", record.release, seen.release);
        }
        good &= told.is_empty();
    }
    Ok(good)
}

/// What all machines share.
struct Works {
    cache: PathBuf,
    programs: Programs,
    emulator: Emulator,
    /// Of each machine.
    processors: usize,
    /// Held by who makes an image: all take the same files.
    images: Mutex<()>,
}

impl Works {
    /// Runs so many machines at a time, and joins what came of those of the same kernel.
    fn all(
        &self,
        kernels: &[Series],
        machines: Vec<(Series, Clock, Plan)>,
        jobs: usize,
    ) -> Result<Vec<(Series, Course)>> {
        let waiting = Mutex::new(machines.into_iter());
        let done = Mutex::new(BTreeMap::new());
        let next = || waiting.lock().expect("nobody panics with it").next();
        let work = || -> Result<()> {
            while let Some((series, clock, plan)) = next() {
                let course = self.one(series, clock, &plan)?;
                done.lock().expect("nobody panics with it").insert((series.name(), clock), course);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })?;
        let mut done = done.into_inner().expect("all workers ended");
        let mut of = |series: Series| {
            Clock::ALL.into_iter().filter_map(|clock| done.remove(&(series.name(), clock))).collect()
        };
        Ok(kernels.iter().map(|series| (*series, Course::joined(of(*series)))).collect())
    }

    fn one(&self, series: Series, clock: Clock, plan: &Plan) -> Result<Course> {
        let started = Instant::now();
        let name = series.name();
        let file = |extension| self.cache.join(format!("{name}-{}.{extension}", clock.name()));
        let (files, console) = (file("cpio"), file("log"));
        let kernel = {
            let _turn = self.images.lock().expect("nobody panics with it");
            let kernel = Kernel::fetch(series, &self.cache)?;
            let modules = modules::wanted(&kernel.modules())?;
            let image = Image { programs: &self.programs, modules: &modules, plan: plan.clone() };
            image.write(&files, &self.cache.join("stripped"))?;
            kernel
        };
        println!(
            "{name:>6}  {}, clock of {}, {} tests ({})",
            kernel.release,
            clock.name(),
            plan.tests.len(),
            step::seconds(started)
        );
        fs::write(&console, "")?;
        let boot = Boot {
            clock,
            processors: self.processors,
            kernel: &kernel.image(),
            files: &files,
            console: &console,
        };
        let mut count = 0;
        let course = machine::run(self.emulator.boot(&boot), plan, &console, |report| {
            tell(name, plan, &mut count, report);
        })?;
        fs::remove_file(files).context("the image was there")?;
        tell_end(name, plan, &course, &console);
        Ok(course)
    }
}

/// Says what a machine reports.
fn tell(kernel: &str, plan: &Plan, count: &mut usize, report: &Report) {
    match report {
        Report::Ready { release, uptime } => println!("{kernel:>6}  {release} is up after {uptime} s"),
        Report::Ended { test, outcome, seconds, output } => {
            let Some(test) = plan.tests.get(*test) else { return };
            *count += 1;
            let word = match outcome {
                Outcome::Passed => "pass",
                Outcome::Failed => "FAIL",
                Outcome::TimedOut => "HANG",
                Outcome::Skipped(_) => "skip",
            };
            let all = plan.tests.len();
            println!("{kernel:>6}  {word} [{seconds:7.3} s] ({count}/{all}) {}: {}", test.group, test.name);
            match outcome {
                Outcome::Passed => {}
                Outcome::Skipped(lacks) => println!("        lacks {}", lacks.join(", ")),
                Outcome::Failed | Outcome::TimedOut => print_output(output),
            }
        }
        Report::Began { .. } | Report::Done | Report::Broken(_) => {}
    }
}

fn print_output(output: &str) {
    for line in output.lines() {
        println!("        | {line}");
    }
}

/// Says how a machine ended, unless it ended well.
fn tell_end(kernel: &str, plan: &Plan, course: &Course, console: &Path) {
    let reason = match &course.end {
        End::Done => return,
        End::Panicked(line) => format!("its kernel panicked: {line}"),
        End::Hung(silence, running) => {
            format!("it hung: nothing heard for {} s{}", silence.as_secs(), names(plan, running))
        }
        End::Broke(reason) => format!("it broke off: {reason}"),
    };
    println!("{kernel:>6}  {reason}\n        its console: {}", console.display());
}

fn names(plan: &Plan, running: &[usize]) -> String {
    let names: Vec<_> =
        running.iter().filter_map(|test| plan.tests.get(*test)).map(|test| &*test.name).collect();
    if names.is_empty() { String::new() } else { format!(", while these ran: {}", names.join(", ")) }
}

/// Seconds, for the table.
fn rounded(took: Duration) -> String {
    format!("{:.0} s", took.as_secs_f32())
}
