//! Events of drops: how many a second brings depends on when it began, and so does what a drop costs.

use std::time::Duration;

use aya::maps::{Map, MapData, MapInfo, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use enforcer_common::event::EventBudget;
use enforcer_common::limits::EVENTS_PER_SECOND;
use nix::time::{ClockId, clock_gettime};

use super::Lab;

impl Lab {
    /// Lets the datapath tell of no drop for a second.
    pub fn spend_events(&mut self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
        let since = Duration::from(now).as_nanos() as u64;
        let spent = EventBudget { since, sent: u64::from(EVENTS_PER_SECOND), lost: 0 };
        let cpus = nr_cpus().expect("the number of processors");
        let spent = PerCpuValues::try_from(vec![spent; cpus]).expect("a value for each processor");
        self.event_budget().set(0, spent, 0).expect("the table has one entry");
    }

    fn event_budget(&mut self) -> PerCpuArray<MapData, EventBudget> {
        let tables = self.program("from_endpoint").map_ids().expect("the kernel tells").unwrap_or_default();
        let named =
            |id: &u32| MapInfo::from_id(*id).is_ok_and(|info| info.name_as_str() == Some("EVENT_BUDGET"));
        let id = tables.into_iter().find(named).expect("the program tells of drops");
        let map = MapData::from_id(id).and_then(Map::from_map_data).expect("the table is there");
        map.try_into().expect("it has a value for each processor")
    }
}
