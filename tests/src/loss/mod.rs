//! The loss trial: numbered packets between allowed and between denied pairs, all the time, while the enforcer is
//! killed, replaced and told other policies. What is allowed must lose nothing, what is denied must gain nothing.

mod datagrams;
mod disturbance;
mod outcome;
mod owners;
mod pace;
mod records;
mod report;
mod route;
mod scene;
mod segments;
mod sequence;

use std::io;
use std::sync::atomic::Ordering;

pub(crate) use pace::spawn_pinned;

pub use disturbance::{Diary, Disturbance, Plan};
pub use report::{Flow, Report};
pub use scene::Scene;

use datagrams::Datagrams;
use outcome::Outcome;
use owners::Owners;
use pace::Stop;
use records::{Attempts, Records};
use route::{Fate, Route};

/// How much is sent on each route.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Datagrams a second; as many come back.
    pub datagrams: u32,
    /// Records a second over TCP; as many come back.
    pub records: u32,
}

/// Disturbs the enforcer of a scene while packets are under way.
#[track_caller]
pub fn run(scene: &mut Scene, rates: Rates, disturbances: &[Disturbance]) -> Report {
    let before = Owners::read(scene);
    let stop = Stop::default();
    let routes = scene.routes();
    let flows: io::Result<Vec<_>> = routes.iter().map(|route| Running::start(route, rates, &stop)).collect();
    let flows = flows.unwrap_or_else(|error| panic!("a flow does not start: {error}"));
    let mut diary = Diary::default();
    for disturbance in disturbances {
        diary.note(disturbance, || disturbance.strike(&mut scene.daemon));
    }
    stop.store(true, Ordering::Release);
    let flows = flows.into_iter().flat_map(Running::finish).collect();
    Report { flows, diary, owners: Owners::read(scene).since(&before) }
}

/// The flows of a route, under way.
struct Running {
    name: String,
    fate: Fate,
    datagrams: Datagrams,
    stream: Stream,
}

/// What a route's TCP does.
enum Stream {
    Records(Records),
    Attempts(Attempts),
}

impl Running {
    fn start(route: &Route<'_>, rates: Rates, stop: &Stop) -> io::Result<Self> {
        let stream = match route.fate {
            Fate::Allowed => Stream::Records(Records::start(route, rates.records, stop)?),
            Fate::Denied => Stream::Attempts(Attempts::start(route, stop)),
        };
        Ok(Self {
            name: format!("{}, {}", route.name, route.family()),
            fate: route.fate,
            datagrams: Datagrams::start(route, rates.datagrams, stop)?,
            stream,
        })
    }

    fn finish(self) -> [Flow; 2] {
        let flow = |protocol, outcome: Outcome| Flow {
            name: format!("{protocol} {}", self.name),
            fate: self.fate,
            outcome,
        };
        let stream = match self.stream {
            Stream::Records(records) => {
                records.finish().unwrap_or_else(|error| panic!("{}: no counts: {error}", self.name))
            }
            Stream::Attempts(attempts) => attempts.finish(),
        };
        [flow("udp", self.datagrams.finish()), flow("tcp", stream)]
    }
}
