//! Four containers: two of Docker's networks, two logical ones, across each other.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use enforcer_tests::docker::{Container, Engine};
use enforcer_tests::traffic::{Probe, Protocol, ask_all};
use enforcer_tests::{Daemon, Host, NetNs, wait};

/// Who is in which network is told by labels alone.
pub const POLICY: &str = r#"
version = 1
[network.blue]
members = ["docker:label:enforcer.network=blue"]
[network.red]
members = ["docker:label:enforcer.network=red"]
"#;

/// One bridge of Docker's.
pub const ONE: &str = "10.61.0.0/24";
/// The other one.
pub const TWO: &str = "10.62.0.0/24";

/// What makes Docker's own rules decide about all that is forwarded.
pub const DROP: &str = "iptables -P FORWARD DROP";
/// What the guide to migration advises, so that enforcer alone decides about containers.
pub const LEAVE_IT: &str = "iptables -I DOCKER-USER -s 10.0.0.0/8 -d 10.0.0.0/8 -j ACCEPT";

/// Long enough for the engine to tell what runs, on a machine that is busy.
const TOLD: Duration = Duration::from_secs(10);
/// Long enough for an answer, on a machine that is busy.
const ANSWER: Duration = Duration::from_secs(2);
/// Long enough to believe that there is none.
const SILENCE: Duration = Duration::from_millis(400);

/// A host with an engine and its containers, not enforced yet.
pub struct Scene {
    /// Blue, on bridge one.
    pub web: Container,
    /// Blue, on bridge two.
    pub api: Container,
    /// Red, on bridge one; its echo port is published as 8080, and as 8081 for the host alone.
    pub audit: Container,
    /// Red, on bridge two.
    pub batch: Container,
    /// Where they run.
    pub engine: Engine,
    /// Where that runs.
    pub host: Host,
}

impl Scene {
    /// Starts an engine with options of `dockerd`, and the containers.
    #[track_caller]
    pub fn build(host: Host, options: &[&str]) -> Self {
        let engine = Engine::start(&host, options);
        engine.network("one", ONE, &[]);
        engine.network("two", TWO, &[]);
        let new = |name, network, colour: &str| {
            engine.container(name).on(network).label(&format!("enforcer.network={colour}"))
        };
        let audit = new("audit", "one", "red").publish("8080:5432").publish("8080:5432/udp");
        let audit = audit.publish("127.0.0.1:8081:5432").publish("127.0.0.1:8081:5432/udp");
        let all = [new("web", "one", "blue"), new("api", "two", "blue"), audit, new("batch", "two", "red")];
        // All at once: each of them takes a while.
        let [web, api, audit, batch] = thread::scope(|scope| {
            let starting = all.map(|container| scope.spawn(|| container.run()));
            starting.map(|container| container.join().expect("the container starts"))
        });
        Self { web, api, audit, batch, engine, host }
    }

    /// All containers.
    pub fn containers(&self) -> [&Container; 4] {
        [&self.web, &self.api, &self.audit, &self.batch]
    }

    /// Runs commands on the host.
    #[track_caller]
    pub fn run(&self, commands: &[&str]) {
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            let output = self.host.netns().run(words[0], &words[1..]);
            assert!(output.status.success(), "{command}: {output:?}");
        }
    }

    /// Starts an enforcer that knows all of them, with lines of its host file and rules of its policy.
    #[track_caller]
    pub fn enforce(&self, host_file: &str, rules: &str) -> Daemon {
        let daemon = Daemon::start_with(&self.host, &format!("{}{host_file}", self.engine.host_file()));
        let interfaces = self.containers().map(Container::interface);
        daemon.wait_ready(&interfaces.each_ref().map(String::as_str));
        daemon.apply(&format!("{POLICY}{rules}"));
        // The engine of a busy machine may not have told of all of them yet.
        wait::until("all containers are members", TOLD, || {
            let endpoints = daemon.json(&["endpoints"]);
            let networks = endpoints.as_array()?.iter().map(|endpoint| endpoint["networks"].as_array());
            let members = networks.flatten().filter(|networks| !networks.is_empty()).count();
            (members >= interfaces.len()).then_some(())
        });
        daemon
    }
}

/// A question that is to be answered, or not.
pub struct Question<'s> {
    /// Who and whom, for messages.
    pub words: String,
    /// Where it is asked.
    pub from: &'s NetNs,
    /// Who is asked.
    pub to: IpAddr,
    /// How.
    pub by: Protocol,
    /// Whether there is to be an answer.
    pub is_open: bool,
}

/// Asks all, and returns whether each was answered. What is to be answered has more time.
pub fn ask(questions: &[Question<'_>]) -> Vec<bool> {
    let mut answers = vec![false; questions.len()];
    for (is_open, patience) in [(true, ANSWER), (false, SILENCE)] {
        let due: Vec<usize> = (0..questions.len()).filter(|at| questions[*at].is_open == is_open).collect();
        let probes: Vec<Probe<'_>> = due
            .iter()
            .map(|at| &questions[*at])
            .map(|question| Probe { from: question.from, to: question.to, protocol: question.by })
            .collect();
        for (at, answer) in due.into_iter().zip(ask_all(&probes, patience)) {
            answers[at] = answer;
        }
    }
    answers
}

/// Asks all and insists on the answers.
#[track_caller]
pub fn insist(situation: &str, questions: &[Question<'_>]) {
    let answers = ask(questions);
    let wrong: Vec<String> = questions
        .iter()
        .zip(answers)
        .filter(|(question, answer)| question.is_open != *answer)
        .map(|(Question { words, is_open, .. }, answer)| {
            format!("{words}: expected {is_open}, found {answer}")
        })
        .collect();
    assert!(wrong.is_empty(), "{situation}: {wrong:#?}");
}
