//! The host as an end, from the words of the host file to the ranges of the kernel's table.

use std::ops::RangeInclusive;

use enforcer_common::{
    host::{HOST_ALLOW, HostEnd, MAX_HOST_SERVICES, Services},
    policy::Point,
};

use crate::policy::service::Service;

/// The services of one list are more than the kernel searches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "these are {count} ranges of services, and a list holds {MAX_HOST_SERVICES}; write wider ranges or a rule"
)]
pub struct TooManyServices {
    /// How many there are, neighbours joined.
    pub count: usize,
}

/// The ranges of a list: as few as say it, in order.
pub fn ranges(services: &[Service]) -> Result<[Services; MAX_HOST_SERVICES], TooManyServices> {
    let mut points: Vec<RangeInclusive<Point>> =
        services.iter().flat_map(|service| service.points()).collect();
    points.sort_unstable_by_key(|range| (*range.start(), *range.end()));
    let mut joined: Vec<Services> = Vec::new();
    for range in points {
        let (first, last) = range.into_inner();
        match joined.last_mut() {
            Some(before) if first.0 <= before.last.0.saturating_add(1) => before.last = before.last.max(last),
            _ => joined.push(Services { first, last }),
        }
    }
    let mut list = [Services::NONE; MAX_HOST_SERVICES];
    let room = list.get_mut(..joined.len()).ok_or(TooManyServices { count: joined.len() })?;
    room.copy_from_slice(&joined);
    Ok(list)
}

/// The host as it is where no host file says anything: [`HOST_ALLOW`], SSH from outside, and all that it asks.
pub fn builtin() -> HostEnd {
    let list = |text: &str| {
        let services: Vec<Service> =
            text.split(", ").map(|text| text.parse().expect("the list is written in services")).collect();
        ranges(&services).expect("the list is short")
    };
    HostEnd { allow: list(HOST_ALLOW), failsafe: list("tcp/22"), flags: 0 }
}

#[cfg(test)]
mod tests {
    use enforcer_common::host::lists;

    use super::*;

    fn services(texts: &[&str]) -> Vec<Service> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_built_in_list_admits_what_its_text_says() {
        let allow = builtin().allow;
        for (point, listed) in [
            (Point::port(17, 53), true),
            (Point::port(6, 53), true),
            (Point::port(17, 67), true),
            (Point::port(6, 67), false),
            (Point::port(1, 8 << 8), true),
            (Point::port(58, 128 << 8), true),
            (Point::port(1, 0), false),
            (Point::port(6, 22), false),
        ] {
            assert_eq!(lists(&allow, point), listed, "{point:?}");
        }
        assert!(lists(&builtin().failsafe, Point::port(6, 22)));
    }

    #[test]
    fn neighbours_and_what_overlaps_are_one_range() {
        let list = ranges(&services(&["tcp/80-90", "tcp/91", "tcp/85-100", "udp/53"])).unwrap();
        let used: Vec<Services> = list.into_iter().filter(|range| *range != Services::NONE).collect();
        assert_eq!(used.len(), 2);
        assert_eq!((used[0].first, used[0].last), (Point::port(6, 80), Point::port(6, 100)));
    }

    #[test]
    fn any_is_one_range_and_too_many_are_refused() {
        assert!(lists(&ranges(&services(&["any"])).unwrap(), Point::port(6, 1)));
        let many: Vec<Service> = (0..33).map(|n| format!("tcp/{}", 1000 + 2 * n).parse().unwrap()).collect();
        assert_eq!(ranges(&many), Err(TooManyServices { count: 33 }));
        assert!(ranges(&many[1..]).is_ok());
    }
}
