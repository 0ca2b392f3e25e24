use std::{
    collections::BTreeMap,
    sync::{
        Mutex as StdMutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rstest::rstest;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};

use self::engine::{Answer, Engine, container, labels, on};
use super::*;
use crate::daemon::containers::Container;

mod engine;

/// Much longer than anything takes that works.
const SOON: Duration = Duration::from_secs(8);

/// What the kernel and the core would say, and what is told to them.
#[derive(Default)]
struct Host {
    nsids: StdMutex<BTreeMap<u32, i32>>,
    looks: AtomicU64,
    newcomers: StdMutex<BTreeSet<i32>>,
    wanted: Notify,
}

impl Namespaces for Arc<Host> {
    async fn nsid(&self, pid: u32) -> Option<i32> {
        self.nsids.lock().unwrap().get(&pid).copied()
    }
}

struct Ear(Arc<Host>, mpsc::UnboundedSender<Running>);

impl Listener for Ear {
    async fn looks(&self) -> u64 {
        self.0.looks.fetch_add(1, Ordering::Relaxed)
    }

    async fn newcomers(&self) -> BTreeSet<i32> {
        self.0.newcomers.lock().unwrap().clone()
    }

    async fn hear(&self, running: Running) {
        let _ = self.1.send(running);
    }

    async fn wanted(&self) {
        self.0.wanted.notified().await;
    }
}

/// Somebody who asks an engine, and what they have told.
struct Asking {
    host: Arc<Host>,
    heard: mpsc::UnboundedReceiver<Running>,
    task: JoinHandle<()>,
}

impl Asking {
    /// Process 7 is in namespace 3, 8 in 4, 9 in 5.
    fn of(engine: &Engine) -> Self {
        Self::at(Some(engine.socket.clone()))
    }

    fn at(socket: Option<PathBuf>) -> Self {
        let host = Arc::new(Host::default());
        *host.nsids.lock().unwrap() = [(7, 3), (8, 4), (9, 5)].into();
        let (sender, heard) = mpsc::unbounded_channel();
        let task = tokio::spawn(follow(socket, host.clone(), Ear(host.clone(), sender)));
        Self { host, heard, task }
    }

    async fn next(&mut self) -> Running {
        timeout(SOON, self.heard.recv()).await.expect("nothing was told").expect("nobody asks any more")
    }

    /// Names of what runs, as it is told next.
    async fn names(&mut self) -> Vec<String> {
        self.next().await.containers.into_iter().map(|container| container.name).collect()
    }

    /// The first list is told twice: as soon as there is one, and when events are listened to.
    async fn begun(&mut self) -> Running {
        self.next().await;
        self.next().await
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An engine with the containers `db` and `web`.
fn two() -> Engine {
    let engine = Engine::running();
    engine.change(|truth| {
        truth.networks = vec![("bridge", "bridge"), ("host", "host"), ("lan", "macvlan")];
        truth.containers = [
            ("db".to_owned(), container("db", 8, &[])),
            ("web".to_owned(), container("web", 7, &[("enforcer.network", "blue"), ("tier", "")])),
        ]
        .into();
    });
    engine
}

fn starts(engine: &Engine, name: &str) {
    engine.change(|truth| {
        truth.containers.insert(name.to_owned(), container(name, 9, &[]));
    });
    engine.happened("start", name);
}

#[tokio::test]
async fn what_runs_is_told_with_all_that_is_known_of_it() {
    let engine = two();
    let mut asking = Asking::of(&engine);
    let Running { containers, asked_at, told_at } = asking.next().await;
    let [db, web] = &containers[..] else { panic!("{containers:?}") };
    assert_eq!((&*db.name, &db.labels, db.nsid), ("db", &labels(["docker:name:db"]), Some(4)));
    let known = labels(["docker:name:web", "docker:label:enforcer.network=blue", "docker:label:tier="]);
    assert_eq!((&*web.name, &web.labels, web.nsid, &web.unseen), ("web", &known, Some(3), &None));
    assert!(asked_at < told_at, "{asked_at} {told_at}");
    assert_eq!([db.asked_at, web.asked_at], [asked_at; 2]);
}

#[tokio::test]
async fn whoever_starts_stops_or_is_renamed_is_told() {
    let engine = two();
    let mut asking = Asking::of(&engine);
    asking.begun().await;
    starts(&engine, "new");
    assert_eq!(asking.names().await, ["db", "new", "web"]);
    engine.change(|truth| drop(truth.containers.remove("web")));
    engine.happened("die", "web");
    assert_eq!(asking.names().await, ["db", "new"]);
    engine.change(|truth| truth.containers.get_mut("db").unwrap()["Name"] = "/old".into());
    engine.happened("rename", "db");
    let told = asking.next().await.containers;
    assert_eq!((&*told[0].name, &told[0].labels), ("old", &labels(["docker:name:old"])));
}

#[tokio::test]
async fn only_whom_an_event_is_about_is_asked_for_again() {
    let engine = two();
    let mut asking = Asking::of(&engine);
    let before = asking.begun().await;
    engine.asked();
    let attributes = json!({"container": "web", "name": "bridge"});
    let event =
        json!({"Type": "network", "Action": "connect", "Actor": {"ID": "n", "Attributes": attributes}});
    engine.tell(event.to_string());
    let after = asking.next().await;
    assert_eq!(
        engine.asked(),
        ["/containers/json", "/networks", "/containers/web/json", "/containers/web/json"]
    );
    assert_eq!(after.containers[0], before.containers[0], "what was asked earlier is as old as it was");
    assert!(after.containers[1].asked_at > before.containers[1].asked_at);
}

#[tokio::test]
async fn a_burst_of_events_in_pieces_is_one_list() {
    let engine = two();
    let mut asking = Asking::of(&engine);
    asking.begun().await;
    engine.asked();
    engine.tell(r#"{"Actor":{"ID":"a"}}{"Actor":{"ID":"b"}}"#.to_owned() + "\n{\"Actor\":{\"ID\":\"we");
    engine.tell("b\"}}\n");
    asking.next().await;
    starts(&engine, "new");
    asking.next().await;
    let lists = engine.asked().into_iter().filter(|path| path == "/containers/json");
    assert_eq!(lists.count(), 2);
}

#[tokio::test]
async fn workloads_that_come_are_a_reason_to_ask_again() {
    let engine = two();
    let mut asking = Asking::of(&engine);
    asking.begun().await;
    engine.asked();
    // The kernel had no better id for it before its veth came.
    asking.host.nsids.lock().unwrap().insert(7, 6);
    *asking.host.newcomers.lock().unwrap() = [3].into();
    asking.host.wanted.notify_one();
    let told = asking.next().await.containers;
    assert_eq!((told[0].nsid, told[1].nsid), (Some(4), Some(6)));
    assert!(!engine.asked().contains(&"/containers/db/json".to_owned()));
}

/// Whoever came since the list before is no newcomer for the list after.
#[tokio::test]
async fn a_list_made_for_another_reason_asks_for_newcomers_too() {
    let engine = two();
    let mut asking = Asking::of(&engine);
    asking.begun().await;
    asking.host.nsids.lock().unwrap().insert(7, 6);
    *asking.host.newcomers.lock().unwrap() = [3].into();
    starts(&engine, "new");
    let told = asking.next().await.containers;
    let web = told.iter().find(|container| container.name == "web").unwrap();
    assert_eq!(web.nsid, Some(6));
}

#[tokio::test]
async fn who_had_no_namespace_is_asked_for_again_when_workloads_come() {
    let engine = two();
    engine.change(|truth| truth.containers.get_mut("db").unwrap()["State"]["Pid"] = 70.into());
    let mut asking = Asking::of(&engine);
    assert_eq!(asking.begun().await.containers[0].nsid, None);
    asking.host.nsids.lock().unwrap().insert(70, 12);
    *asking.host.newcomers.lock().unwrap() = [12].into();
    asking.host.wanted.notify_one();
    assert_eq!(asking.next().await.containers[0].nsid, Some(12));
}

#[tokio::test]
async fn what_was_known_stays_while_the_engine_is_away() {
    let mut engine = two();
    let mut asking = Asking::of(&engine);
    asking.begun().await;
    engine.stop();
    engine.change(|truth| drop(truth.containers.remove("db")));
    engine.start();
    assert_eq!(asking.names().await, ["web"], "nothing is told in between");
    starts(&engine, "new");
    assert_eq!(asking.names().await, ["new", "web"], "events are listened to again");
}

#[tokio::test]
async fn without_a_socket_there_are_no_containers_until_there_is_one() {
    let mut engine = Engine::new();
    engine.change(|truth| drop(truth.containers.insert("web".to_owned(), container("web", 7, &[]))));
    let mut asking = Asking::of(&engine);
    assert_eq!(asking.names().await, [""; 0]);
    engine.start();
    assert_eq!(asking.names().await, ["web"]);
}

#[tokio::test]
async fn switched_off_it_asks_nobody() {
    let mut asking = Asking::at(None);
    assert_eq!(asking.next().await, Running::nothing());
    assert!(asking.heard.recv().await.is_none(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_silent_engine_is_waited_for_for_five_seconds() {
    let engine = two();
    engine.breaks("/containers/json", Answer::Silence);
    let mut asking = Asking::of(&engine);
    let begun = Instant::now();
    assert_eq!(asking.names().await, [""; 0]);
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[rstest]
#[case::a_list_of_nonsense("/containers/json", Answer::Text("nonsense"))]
#[case::no_list("/containers/json", Answer::Text("{}"))]
#[case::a_list_without_ids("/containers/json", Answer::Text("[{}]"))]
#[case::no_answer_to_lists("/containers/json", Answer::Status(500))]
#[case::an_endless_list("/containers/json", Answer::Endless(" "))]
#[case::networks_of_nonsense("/networks", Answer::Text("[[]]"))]
#[case::no_answer_to_networks("/networks", Answer::Status(503))]
#[case::endless_networks("/networks", Answer::Endless(" "))]
#[case::an_endless_container("/containers/web/json", Answer::Endless(" "))]
#[tokio::test]
async fn what_was_known_stays_while_answers_are_wrong(#[case] path: &str, #[case] answer: Answer) {
    let engine = two();
    let mut asking = Asking::of(&engine);
    asking.begun().await;
    engine.breaks(path, answer);
    engine.asked();
    starts(&engine, "web");
    // It goes away, comes back, and finds the same.
    let again = async {
        while engine.truth.lock().unwrap().asked.iter().filter(|asked| *asked == path).count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("it does not try again");
    assert!(asking.heard.try_recv().is_err(), "nothing was told");
    engine.change(|truth| truth.broken.clear());
    assert_eq!(asking.names().await, ["db", "web"]);
}

#[rstest]
#[case::nonsense(Answer::Text("nonsense"))]
#[case::an_event_that_is_none(Answer::Text("[]"))]
#[case::a_refusal(Answer::Status(500))]
#[case::the_end_at_once(Answer::Text(""))]
#[case::an_event_without_end(Answer::Endless("["))]
#[case::a_string_without_end(Answer::Endless("\"a"))]
#[tokio::test]
async fn events_that_cannot_be_understood_are_asked_for_anew(#[case] answer: Answer) {
    let engine = two();
    engine.breaks("/events", answer);
    let mut asking = Asking::of(&engine);
    assert_eq!(asking.names().await, ["db", "web"], "the first list needs no events");
    let again = async {
        while engine.truth.lock().unwrap().asked.iter().filter(|asked| *asked == "/events").count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("it does not try again");
    engine.change(|truth| truth.broken.clear());
    while !engine.is_heard() {
        asking.next().await;
    }
    while asking.heard.try_recv().is_ok() {}
    starts(&engine, "new");
    while asking.names().await != ["db", "new", "web"] {}
}

#[rstest]
#[case::gone(Answer::Status(404))]
#[case::on_its_way_out(Answer::Status(409))]
#[case::unreadable(Answer::Status(500))]
#[case::nonsense(Answer::Text("nonsense"))]
#[case::of_another_shape(Answer::Text(r#"{"Name": 7}"#))]
#[case::with_another_process_each_time(Answer::Restarting)]
#[tokio::test]
async fn one_that_cannot_be_asked_for_hides_no_other(#[case] answer: Answer) {
    let engine = two();
    engine.breaks("/containers/db/json", answer);
    let mut asking = Asking::of(&engine);
    assert_eq!(asking.names().await, ["web"]);
    assert_eq!(asking.names().await, ["web"]);
    engine.change(|truth| truth.broken.clear());
    starts(&engine, "new");
    assert_eq!(asking.names().await, ["db", "new", "web"], "it is asked for each time");
}

#[tokio::test]
async fn one_that_does_not_run_yet_is_not_told() {
    let engine = two();
    let mut asking = Asking::of(&engine);
    asking.begun().await;
    // It goes between list and inspection.
    engine.change(|truth| {
        let mut created = container("web", 0, &[]);
        created["State"]["Pid"] = 0.into();
        truth.broken.insert("/containers/json".to_owned(), Answer::Text(r#"[{"Id":"db"},{"Id":"web"}]"#));
        truth.containers.insert("web".to_owned(), created);
    });
    engine.happened("die", "web");
    assert_eq!(asking.names().await, ["db"]);
}

async fn only(inspected: serde_json::Value) -> Container {
    let engine = two();
    engine.change(|truth| truth.containers = [("it".to_owned(), inspected)].into());
    let told = Asking::of(&engine).next().await;
    told.containers.into_iter().next().unwrap()
}

#[rstest]
#[case::the_hosts_own_network("host", &["host"], None, Some("it has the host's own network"))]
#[case::macvlan("lan", &["lan"], Some(3), Some("its network lan is macvlan"))]
#[case::a_bridge_and_macvlan("bridge", &["bridge", "lan"], Some(3), Some("its network lan is macvlan"))]
#[case::a_network_made_since("new", &["new"], Some(3), None)]
#[case::no_network_but_a_veth_by_hand("none", &["none"], Some(3), None)]
#[tokio::test]
async fn whom_no_veth_leads_to_is_known_as_unseen(
    #[case] mode: &str,
    #[case] networks: &[&str],
    #[case] nsid: Option<i32>,
    #[case] unseen: Option<&str>,
) {
    let told = only(on(container("it", 7, &[("a", "b")]), mode, networks)).await;
    assert_eq!((told.nsid, told.unseen.as_deref()), (nsid, unseen));
    assert!(told.labels.contains("docker:label:a=b"));
}

#[tokio::test]
async fn several_in_one_namespace_are_told_one_by_one() {
    let engine = two();
    engine.change(|truth| {
        let proxy = on(container("proxy", 9, &[("team", "mesh")]), "container:web", &[]);
        truth.containers.insert("proxy".to_owned(), proxy);
    });
    let mut asking = Asking::of(&engine);
    asking.host.nsids.lock().unwrap().insert(9, 3);
    let told = asking.begun().await.containers;
    let here: Vec<&str> = told.iter().filter(|one| one.nsid == Some(3)).map(|one| &*one.name).collect();
    assert_eq!(here, ["proxy", "web"]);
}
