//! The demo with Docker: who may talk is told by labels, whatever Docker's networks are, and no address of the host
//! leads past it.

mod plan;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enforcer_tests::beyond::{Beyond, UPLINK};
use enforcer_tests::docker::{Container, Engine};
use enforcer_tests::matrix::{ALL, Asked, Asker, Matrix};
use enforcer_tests::traffic::{ECHO_PORT, Protocol};
use enforcer_tests::{Daemon, Host, wait};
use serde_json::Value;

use self::plan::{ADDRESSES, ASKERS, COLOURS, OUTSIDE, PLACES, POLICY, PUBLISHED, Rules};
use crate::look_around;
use crate::show::{self, Steps, Tally, indented, print_answer, print_matrices};

/// How long the enforcer may take to know its members, and to look at the rules of others anew.
const PATIENCE: Duration = Duration::from_secs(15);

/// Lets enforcer alone decide about containers; see docs/migration.md.
const LEAVE_IT: &str = "DOCKER-USER -s 10.61.0.0/16 -d 10.61.0.0/16 -j ACCEPT";

/// The engine, its containers, and somebody outside.
struct Scene {
    containers: Vec<Container>,
    beyond: Beyond,
    engine: Engine,
    host: Host,
}

/// The whole demo. Whatever it built is gone when it returns.
pub fn run(steps: &Steps, keep: bool) -> Result<Tally> {
    steps.step("a Docker engine, two of its networks, four containers; enforcer's networks go across")?;
    let mut scene = Scene::build();
    scene.print();
    steps.step("Docker leaves it to others who may talk")?;
    println!("         iptables -I {LEAVE_IT}");
    scene.iptables("-I", LEAVE_IT)?;

    steps.step("without an enforcer: does everybody reach everybody, by every address of the host, too?")?;
    show::everybody_answered(&scene.ask(None))?;

    steps.step("an enforcer starts, and gets its policy: labels tell who is who")?;
    let uplink = format!("[[uplink]]\nmatch = \"{UPLINK}\"\ntrust = \"external\"\n");
    let daemon = Daemon::start_with(&scene.host, &(scene.engine.host_file() + &uplink));
    scene.wait_for_endpoints(&daemon)?;
    daemon.apply(POLICY);
    scene.wait_for_members(&daemon)?;
    print!("{}", indented(POLICY));
    print_answer(&daemon, &["networks"], 0)?;

    steps.step(
        "everybody asks everybody again; then for audit's published port, at every address of the host",
    )?;
    let networks = scene.ask(Some(Rules::None));
    print_matrices(&networks);

    steps.step("and rules: blue and the world may use what red publishes")?;
    daemon.apply(&format!("{POLICY}{}", plan::RULES));
    print!("{}", indented(plan::RULES.trim_start()));
    let rules = scene.ask(Some(Rules::Published));
    print_matrices(&rules);

    steps.step("batch comes again, at the same address, with another label: it is blue")?;
    scene.recolour_batch();
    scene.wait_for_endpoints(&daemon)?;
    scene.wait_for_members(&daemon)?;
    let moved = scene.ask(Some(Rules::Published));
    print_matrices(&moved);

    steps.step("what the enforcer says")?;
    scene.print_answers(&daemon)?;

    steps
        .step("Docker's own rules again: what they stop is not enforcer's doing, and `status` names them")?;
    println!("         iptables -D {LEAVE_IT}");
    scene.iptables("-D", LEAVE_IT)?;
    let apart = scene.ask_apart();
    print_matrices(std::slice::from_ref(&apart));
    print_foreign(&daemon)?;
    if keep {
        println!("\n  export DOCKER_HOST=unix://{}", scene.engine.client().socket().display());
        look_around::stay(&[&scene.host], &scene.insides(), &[&daemon]);
    }
    steps.say("everything goes away again");
    Ok(Tally::of(networks.iter().chain(&rules).chain(&moved).chain([&apart])))
}

impl Scene {
    fn build() -> Self {
        let host = Host::new("demo");
        let beyond = Beyond::of(&host);
        beyond.router.ip(OUTSIDE);
        let engine = Engine::start(&host, &["--userland-proxy=false"]);
        for (name, subnet) in plan::DOCKER_NETWORKS {
            engine.network(name, subnet, &[]);
        }
        let containers = PLACES.iter().map(|place| place.run(&engine, place.colour)).collect();
        Self { containers, beyond, engine, host }
    }

    fn print(&self) {
        for (place, container) in PLACES.iter().zip(&self.containers) {
            let published = if place.is_published { "publishes 8080:5432" } else { "" };
            let address = container.ipv4().to_string();
            println!(
                "         {:6} {:6} {address:12} {:22} {published}",
                place.name,
                place.network,
                place.label()
            );
        }
    }

    fn iptables(&self, action: &str, rule: &str) -> Result<()> {
        let args: Vec<&str> = [action].into_iter().chain(rule.split(' ')).collect();
        let output = self.host.netns().run("iptables", &args);
        ensure!(output.status.success(), "iptables {action} {rule}: {output:?}");
        Ok(())
    }

    fn insides(&self) -> Vec<Asker<'_>> {
        self.containers.iter().map(|container| (container.name(), container.netns())).collect()
    }

    /// Everybody directly, and the published port by every address of the host. Without rules everything is open.
    fn ask(&self, rules: Option<Rules>) -> [Matrix; 2] {
        let colours = self.colours();
        let inside = self.insides();
        let addresses: Vec<Asked<'_>> =
            self.containers.iter().map(|container| (container.name(), container.ipv4())).collect();
        let direct = Matrix::between("direct", ALL, (&inside, &addresses), &|from, to, by| {
            rules.is_none_or(|rules| rules.open(&colours[from], &colours[to], by))
        });
        let askers: Vec<Asker<'_>> =
            inside.into_iter().chain([("world", &self.beyond.far), ("host", &**self.host.netns())]).collect();
        assert_eq!(askers.len(), ASKERS);
        let published = Matrix::between("tcp/8080", PUBLISHED, (&askers, &ADDRESSES), &|from, _, _| {
            rules.is_none_or(|rules| rules.publish(from, &colours))
        });
        [direct, published]
    }

    /// Everybody directly, with Docker's own isolation.
    fn ask_apart(&self) -> Matrix {
        let colours = self.colours();
        let inside = self.insides();
        let addresses: Vec<Asked<'_>> =
            self.containers.iter().map(|container| (container.name(), container.ipv4())).collect();
        Matrix::between("direct", ALL, (&inside, &addresses), &|from, to, by| {
            let is_one_bridge = PLACES[from].network == PLACES[to].network;
            is_one_bridge && Rules::Published.open(&colours[from], &colours[to], by)
        })
    }

    /// The colours as the engine knows them.
    fn colours(&self) -> Vec<String> {
        let format = "{{index .Config.Labels \"enforcer.network\"}}";
        let of = |container: &Container| {
            self.engine.client().run(&["inspect", "--format", format, container.name()])
        };
        self.containers.iter().map(of).collect()
    }

    /// The last one goes, and somebody with its name and address comes as blue.
    fn recolour_batch(&mut self) {
        let (place, last) = (&PLACES[3], self.containers.pop().expect("four of them"));
        last.remove();
        self.containers.push(place.run(&self.engine, COLOURS[0]));
    }

    fn wait_for_endpoints(&self, daemon: &Daemon) -> Result<()> {
        let interfaces: Vec<String> = self.containers.iter().map(Container::interface).collect();
        let interfaces: Vec<&str> = interfaces.iter().map(String::as_str).collect();
        let ready = wait::within(PATIENCE, || daemon.not_ready(&interfaces).is_empty().then_some(()));
        ready.with_context(|| format!("containers are not ready after {PATIENCE:?}\n{}", daemon.log()))
    }

    /// Waits until every container is a member of its network, and of no other.
    fn wait_for_members(&self, daemon: &Daemon) -> Result<()> {
        let colours = self.colours();
        let members = |colour: &str| {
            let those = self.containers.iter().zip(&colours).filter(|(_, other)| *other == colour);
            let mut members: Vec<Value> = those.map(|(it, _)| format!("{}/32", it.ipv4()).into()).collect();
            members.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            members
        };
        let is_so = |colour: &str| {
            let mut known =
                daemon.json(&["networks", colour])[0]["prefixes"].as_array().cloned().unwrap_or_default();
            known.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            known == members(colour)
        };
        let known = wait::within(PATIENCE, || COLOURS.into_iter().all(is_so).then_some(()));
        known.with_context(|| format!("members are not known after {PATIENCE:?}\n{}", daemon.log()))
    }

    /// The enforcer's own account of what happened.
    fn print_answers(&self, daemon: &Daemon) -> Result<()> {
        let port = format!("tcp/{ECHO_PORT}");
        let [web, audit] = [&self.containers[0], &self.containers[2]].map(|it| it.ipv4().to_string());
        print_answer(daemon, &["endpoints"], 0)?;
        print_answer(daemon, &["flows", "--limit", "16"], 0)?;
        print_answer(daemon, &["drops"], 0)?;
        print_answer(daemon, &["explain", &web, &audit, &port], 0)?;
        // Denied: the command says so by its exit status, too.
        print_answer(daemon, &["explain", &audit, &web, &port], 1)
    }
}

/// Waits until `status` names a rule that dropped something, and prints what it says of others.
fn print_foreign(daemon: &Daemon) -> Result<()> {
    let is_named = || {
        let status = daemon.json(&["status"]);
        let rules = status["foreign"].as_array().into_iter().flatten();
        let mut drops = rules.filter(|rule| rule["effect"] == "drops" && rule["packets"] != 0);
        drops.next().map(|_| ())
    };
    wait::within(PATIENCE, is_named).context("status names no rule that dropped anything")?;
    let status = String::from_utf8_lossy(&daemon.cli(&["status"]).stdout).into_owned();
    println!("$ enforcer status");
    for line in status.lines().filter(|line| line.starts_with("foreign:") && line.contains("drops")) {
        println!("{line}");
    }
    Ok(())
}

impl Rules {
    /// Whether one colour may open this to another.
    fn open(self, from: &str, to: &str, by: Protocol) -> bool {
        let is_ruled = self == Self::Published && by == Protocol::Tcp(ECHO_PORT);
        from == to || (is_ruled && from == COLOURS[0] && to == COLOURS[1])
    }

    /// Whether an asker, by its place, gets the published port of a red container by an address of the host.
    fn publish(self, from: usize, colours: &[String]) -> bool {
        match colours.get(from) {
            Some(colour) => self == Self::Published && colour == COLOURS[0],
            // The host may always; it is the last.
            None => from + 1 == ASKERS || self == Self::Published,
        }
    }
}
