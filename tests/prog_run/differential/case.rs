//! A case: facts, a policy and what happens then, as data; it runs anywhere, and is kept when it was once
//! found to fail.

use std::{fmt::Write as _, net::IpAddr, time::Instant};

use enforcer::{
    host_end::ranges,
    policy::oracle::{self, Answer, Arrival, Endpoint, HostEnd, Memory, Stamp, Uplink, Why, World},
};
use enforcer_common::{endpoint, event::Hook, host, mode::Mode};
use enforcer_tests::kernel;
use enforcer_tests::prog_run::{Judged, Lab};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything that a verdict depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Case {
    /// The policy before the first step; none only in a lab that never had any.
    pub(super) policy: Option<String>,
    pub(super) endpoints: Vec<Workload>,
    pub(super) host: Vec<IpNet>,
    #[serde(default)]
    pub(super) host_end: HostEnd,
    pub(super) uplinks: Vec<String>,
    /// Nobody behind them is a member of anything.
    #[serde(default)]
    pub(super) external: bool,
    pub(super) steps: Vec<Step>,
}

/// An [`Endpoint`], written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Workload {
    name: String,
    mac: Option<[u8; 6]>,
    addresses: Vec<IpNet>,
    dhcp_server: bool,
    router: bool,
    #[serde(default)]
    mode: Option<Mode>,
}

/// Something happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    /// Another policy.
    Apply(String),
    /// A frame comes to a hook.
    Frame(Place, Hex),
    /// The host, or a workload, in another mode.
    Mode(Option<String>, Option<Mode>),
}

/// Where a frame is seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) hook: Hook,
    pub(super) endpoint: String,
    pub(super) stamp: Option<String>,
    /// It was let go on where it entered; whether its source was proven there.
    #[serde(default)]
    pub(super) relaxed: Option<bool>,
    pub(super) locally_generated: bool,
}

/// Bytes that are written as hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Hex(pub(super) Vec<u8>);

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.0.iter().fold(Self::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for Hex {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits: Vec<String> =
            text.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into()).collect();
        digits.iter().map(|pair| u8::from_str_radix(pair, 16)).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Endpoint> for Workload {
    fn from(endpoint: Endpoint) -> Self {
        let Endpoint { name, mac, addresses, dhcp_server, router, mode } = endpoint;
        Self { name, mac, addresses, dhcp_server, router, mode }
    }
}

impl From<&Workload> for Endpoint {
    fn from(workload: &Workload) -> Self {
        let Workload { name, mac, addresses, dhcp_server, router, mode } = workload.clone();
        Self { name, mac, addresses, dhcp_server, router, mode }
    }
}

impl Workload {
    fn provides(&self) -> u32 {
        let flag = |declared, flag| if declared { flag } else { 0 };
        flag(self.dhcp_server, endpoint::Endpoint::DHCP_SERVER)
            | flag(self.router, endpoint::Endpoint::ROUTER)
    }
}

impl Case {
    /// The case without one of its parts, numbered from 0: a step, or what somebody owns.
    pub(super) fn without(&self, part: usize) -> Option<Self> {
        let mut smaller = self.clone();
        let Some(mut part) = part.checked_sub(self.steps.len()) else {
            smaller.steps.remove(part);
            return Some(smaller);
        };
        let owned = smaller.endpoints.iter_mut().map(|workload| &mut workload.addresses);
        let mut removed = false;
        for addresses in owned.chain([&mut smaller.host]) {
            if part < addresses.len() {
                addresses.remove(part);
                removed = true;
                break;
            }
            part -= addresses.len();
        }
        removed.then_some(smaller)
    }

    /// Runs it; every frame's answer goes to `seen`. The error is a page of text, for who has to tell who is
    /// wrong.
    pub(super) fn run(&self, lab: &mut Lab, mut seen: impl FnMut(Hook, &Answer)) -> Result<(), String> {
        let mut world = self.set_up(lab);
        let mut memory = Memory::default();
        let begin = Instant::now();
        let mut before: Option<(&Place, &[u8], Answer)> = None;
        for (number, step) in self.steps.iter().enumerate() {
            let (place, frame) = match step {
                Step::Frame(place, Hex(frame)) => (place, frame),
                Step::Apply(text) => {
                    lab.apply(text);
                    world.apply(lab.policy().clone());
                    continue;
                }
                Step::Mode(endpoint, mode) => {
                    set_mode(lab, &mut world, endpoint.as_deref(), *mode);
                    continue;
                }
            };
            let arrival = Arrival {
                hook: place.hook,
                endpoint: &place.endpoint,
                frame,
                stamp: behind(before.as_ref(), place, frame),
                locally_generated: place.locally_generated,
                now: begin.elapsed(),
            };
            if let Some(feature) = Lab::wants(&arrival).filter(|feature| kernel::may_lack(*feature)) {
                kernel::leave_out(feature);
                continue;
            }
            let expected = oracle::judge(&world, &mut memory, &arrival);
            let judged = lab.judge(&arrival);
            if !judged.as_ref().is_ok_and(|&judged| agree(&expected, judged, &arrival)) {
                let judged = judged.map_or_else(|error| error, |judged| judged.to_string());
                let report = report(lab, &arrival, &world);
                return Err(format!("\nstep {number}\nreference: {expected:?}\nkernel: {judged}\n{report}"));
            }
            seen(place.hook, &expected);
            before = Some((place, frame, expected));
        }
        Ok(())
    }

    /// Makes the lab this scene, and nothing else; what it looks like to the reference.
    fn set_up(&self, lab: &mut Lab) -> World {
        lab.forget_everybody();
        lab.forget_memory();
        lab.host_mode(Mode::Enforce);
        for workload in &self.endpoints {
            lab.endpoint(&workload.name);
            lab.provides(&workload.name, workload.provides());
            lab.endpoint_mode(&workload.name, workload.mode);
            if let Some(mac) = workload.mac {
                lab.endpoint(&workload.name).has_mac(mac);
            }
            if !workload.addresses.is_empty() {
                lab.endpoint(&workload.name).owns(workload.addresses.clone());
            }
        }
        lab.host_owns(self.host.clone());
        lab.host_is(&self.written_host_end());
        for uplink in &self.uplinks {
            if self.external { lab.external_uplink(uplink) } else { lab.uplink(uplink) }
        }
        let mut world = World {
            endpoints: self.endpoints.iter().map(Endpoint::from).collect(),
            host: self.host.clone(),
            host_end: self.host_end.clone(),
            uplinks: self
                .uplinks
                .iter()
                .map(|name| Uplink { name: name.clone(), external: self.external })
                .collect(),
            ..World::default()
        };
        if let Some(text) = &self.policy {
            lab.apply(text);
            world.apply(lab.policy().clone());
        }
        world
    }

    /// As the kernel's table has it.
    fn written_host_end(&self) -> host::HostEnd {
        let HostEnd { allow, failsafe, asks_by_rules } = &self.host_end;
        let [allow, failsafe] = [allow, failsafe].map(|services| {
            ranges(&services.iter().copied().collect::<Vec<_>>()).expect("few services are written")
        });
        let flags = if *asks_by_rules { host::HostEnd::ASKS_BY_RULES } else { 0 };
        host::HostEnd { allow, failsafe, flags }
    }
}

/// What passes at its destination was counted, with its reason, where it entered; what passes a guard is
/// counted behind it.
fn agree(expected: &Answer, judged: Judged, arrival: &Arrival) -> bool {
    match (judged, expected) {
        (Judged::As(verdict), _) => expected.agrees_with(verdict),
        (Judged::CountedBefore, Answer::WouldDrop { .. }) => {
            arrival.hook == Hook::Guard || arrival.stamp.is_relaxed()
        }
        (Judged::CountedBefore, _) => expected.is_pass(),
    }
}

fn set_mode(lab: &mut Lab, world: &mut World, endpoint: Option<&str>, mode: Option<Mode>) {
    let Some(name) = endpoint else {
        world.mode = mode.unwrap_or_default();
        return lab.host_mode(world.mode);
    };
    lab.endpoint_mode(name, mode);
    for endpoint in world.endpoints.iter_mut().filter(|endpoint| endpoint.name == name) {
        endpoint.mode = mode;
    }
}

/// A packet that was let go on where it entered a moment ago bears the stamp that says so.
fn behind<'c>(before: Option<&(&Place, &[u8], Answer)>, place: &'c Place, frame: &[u8]) -> Stamp<'c> {
    match before {
        Some((entered, same, Answer::WouldDrop { why, .. }))
            if entered.hook == Hook::FromEndpoint
                && place.hook == Hook::ToEndpoint
                && place.stamp.as_ref() == Some(&entered.endpoint)
                && *same == frame =>
        {
            let proven = matches!(why, Why::Exactly(reason) if reason.is_relaxed_by(Mode::Audit));
            if proven { Stamp::Relaxed } else { Stamp::Doubtful }
        }
        _ => place.stamp(),
    }
}

impl Place {
    fn stamp(&self) -> Stamp<'_> {
        match self.relaxed {
            Some(true) => Stamp::Relaxed,
            Some(false) => Stamp::Doubtful,
            None => Stamp::of(self.stamp.as_deref()),
        }
    }
}

fn report(lab: &Lab, arrival: &Arrival, world: &World) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:?} of {}, stamp {:?}, locally generated: {}, the host in mode {:?}",
        arrival.hook, arrival.endpoint, arrival.stamp, arrival.locally_generated, world.mode
    );
    for line in arrival.frame.chunks(16) {
        let _ = writeln!(text, "  {line:02x?}");
    }
    for address in addresses(arrival.frame) {
        let _ = writeln!(text, "{address}: {}", lab.memberships(address));
    }
    for endpoint in &world.endpoints {
        let _ = writeln!(text, "{endpoint:02x?}");
    }
    let _ = writeln!(text, "host: {:?}\nids: {:?} {:?}", world.host, world.networks, world.rules);
    let policy = world.policy.as_ref().map(|policy| serde_json::to_string(policy).unwrap_or_default());
    let _ = writeln!(text, "policy: {}", policy.unwrap_or_else(|| "none".to_owned()));
    text
}

/// Source and destination, where an IP packet has them.
fn addresses(frame: &[u8]) -> Vec<IpAddr> {
    let v4 =
        |at: usize| frame.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
    let v6 = |at: usize| {
        frame.get(at..at + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from)
    };
    let pair = match frame.get(12..14) {
        Some([0x08, 0x00]) => [v4(26), v4(30)],
        Some([0x86, 0xdd]) => [v6(22), v6(38)],
        _ => [None, None],
    };
    pair.into_iter().flatten().collect()
}
