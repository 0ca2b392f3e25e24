//! A case: facts, a policy and what happens then, as data; it runs anywhere, and is kept when it was once
//! found to fail.

use std::{fmt::Write as _, net::IpAddr, time::Instant};

use enforcer::policy::oracle::{self, Answer, Arrival, Endpoint, Memory, World};
use enforcer_common::{endpoint, event::Hook};
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
    pub(super) uplinks: Vec<String>,
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
}

/// Something happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    /// Another policy.
    Apply(String),
    /// A frame comes to a hook.
    Frame(Place, Hex),
}

/// Where a frame is seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) hook: Hook,
    pub(super) endpoint: String,
    pub(super) stamp: Option<String>,
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
        let Endpoint { name, mac, addresses, dhcp_server, router } = endpoint;
        Self { name, mac, addresses, dhcp_server, router }
    }
}

impl From<&Workload> for Endpoint {
    fn from(workload: &Workload) -> Self {
        let Workload { name, mac, addresses, dhcp_server, router } = workload.clone();
        Self { name, mac, addresses, dhcp_server, router }
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
        for (number, step) in self.steps.iter().enumerate() {
            let (place, frame) = match step {
                Step::Frame(place, Hex(frame)) => (place, frame),
                Step::Apply(text) => {
                    lab.apply(text);
                    world.apply(lab.policy().clone());
                    continue;
                }
            };
            let arrival = Arrival {
                hook: place.hook,
                endpoint: &place.endpoint,
                frame,
                stamp: place.stamp.as_deref(),
                locally_generated: place.locally_generated,
                now: begin.elapsed(),
            };
            let expected = oracle::judge(&world, &mut memory, &arrival);
            let judged = lab.judge(&arrival);
            if !judged.as_ref().is_ok_and(|&judged| agree(&expected, judged)) {
                let judged = judged.map_or_else(|error| error, |judged| judged.to_string());
                let report = report(lab, &arrival, &world);
                return Err(format!("\nstep {number}\nreference: {expected:?}\nkernel: {judged}\n{report}"));
            }
            seen(place.hook, &expected);
        }
        Ok(())
    }

    /// Makes the lab this scene, and nothing else; what it looks like to the reference.
    fn set_up(&self, lab: &mut Lab) -> World {
        lab.forget_everybody();
        lab.forget_memory();
        for workload in &self.endpoints {
            lab.endpoint(&workload.name);
            lab.provides(&workload.name, workload.provides());
            if let Some(mac) = workload.mac {
                lab.endpoint(&workload.name).has_mac(mac);
            }
            if !workload.addresses.is_empty() {
                lab.endpoint(&workload.name).owns(workload.addresses.clone());
            }
        }
        lab.host_owns(self.host.clone());
        for uplink in &self.uplinks {
            lab.uplink(uplink);
        }
        let mut world = World {
            endpoints: self.endpoints.iter().map(Endpoint::from).collect(),
            host: self.host.clone(),
            uplinks: self.uplinks.clone(),
            ..World::default()
        };
        if let Some(text) = &self.policy {
            lab.apply(text);
            world.apply(lab.policy().clone());
        }
        world
    }
}

/// What passes at its destination was counted, with its reason, where it entered; what passes a guard is
/// counted behind it.
fn agree(expected: &Answer, judged: Judged) -> bool {
    match judged {
        Judged::As(verdict) => expected.agrees_with(verdict),
        Judged::CountedBefore => expected.is_pass(),
    }
}

fn report(lab: &Lab, arrival: &Arrival, world: &World) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:?} of {}, stamp {:?}, locally generated: {}",
        arrival.hook, arrival.endpoint, arrival.stamp, arrival.locally_generated
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
