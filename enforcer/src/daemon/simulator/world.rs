//! A daemon, its host, and everybody who wants something of it: carries out the steps of a life.

mod orders;

use std::{cell::RefCell, collections::VecDeque, ops::AddAssign, path::Path, rc::Rc, sync::Arc};

use enforcer_common::{control::ControlWord, endpoint::AddressOwner};

use super::{
    disk::FakeDisk,
    faults::{Fault, Faults},
    host::{CONFIG, LABELS, NAMES},
    invariants,
    kernel::FakeKernel,
    machine::Machine,
    pool::WORKLOADS,
    trace::{Damage, Step},
};
use crate::{
    config::Config,
    daemon::{containers::Running, core::Core, event::Event, store::Store},
};

const SECOND: u64 = 1_000_000_000;

/// Inspections after which everything is mended: even what the daemon thinks somebody fights about.
const PATIENCE: usize = 150;

/// What is under way to the daemon.
type Mail = VecDeque<Event>;

/// See the module.
pub struct World {
    config: Arc<Config>,
    faults: Rc<Faults>,
    machine: Rc<RefCell<Machine>>,
    disk: FakeDisk,
    mail: Mail,
    next: Option<Fault>,
    /// Nanoseconds until the next daemon.
    absence: u64,
    core: Option<Core<FakeKernel, FakeDisk>>,
    effects: Effects,
}

/// What came of a life, or of many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effects {
    /// Operations that went wrong.
    pub faults: u32,
    /// Policies that were applied.
    pub applies: u32,
    /// Those that were confirmed.
    pub confirms: u32,
}

impl AddAssign for Effects {
    fn add_assign(&mut self, other: Self) {
        self.faults += other.faults;
        self.applies += other.applies;
        self.confirms += other.confirms;
    }
}

/// Lives a life to its rest, and tells what came of it; an error says what must not have been, and at which step.
pub fn live(steps: &[Step]) -> Result<Effects, String> {
    let mut world = World::new();
    for (number, step) in steps.iter().enumerate() {
        world.step(*step);
        world.check().map_err(|violation| format!("step {number}, {step:?}: {violation}"))?;
    }
    world.rest().map_err(|violation| format!("at rest: {violation}"))?;
    world.advance(100);
    world.rest().map_err(|violation| format!("at rest, beyond every deadline: {violation}"))?;
    Ok(Effects { faults: world.faults.struck(), ..world.effects })
}

/// Lives `before`, loses the state directory, and lives `after` with the next daemon; not to its rest, since
/// nobody knows what policy it is any more.
pub fn live_on_unsaved(before: &[Step], after: &[Step]) -> Result<(), String> {
    let mut world = World::new();
    for step in before {
        world.step(*step);
    }
    world.disk = FakeDisk::new(world.faults.clone());
    world.start();
    for (number, step) in after.iter().enumerate() {
        world.step(*step);
        let violation = invariants::always(&world.machine.borrow());
        violation.map_or(Ok(()), Err).map_err(|violation| format!("step {number}, {step:?}: {violation}"))?;
    }
    Ok(())
}

impl World {
    fn new() -> Self {
        let config = Config::parse(Path::new("enforcer.toml"), CONFIG).unwrap();
        let faults = Rc::<Faults>::default();
        let disk = FakeDisk::new(faults.clone());
        let mut world = Self {
            config: Arc::new(config),
            faults,
            machine: Rc::default(),
            disk,
            mail: Mail::new(),
            next: None,
            absence: 0,
            core: None,
            effects: Effects::default(),
        };
        world.start();
        world
    }

    /// A new daemon, which dies as often as it is to: but a step brings one fault only.
    fn start(&mut self) {
        self.replace_process();
        self.mail.clear();
        self.faults.revive();
        let decided = {
            let mut machine = self.machine.borrow_mut();
            machine.now += std::mem::take(&mut self.absence);
            let on_trial =
                machine.word.is_unconfirmed() && machine.now < machine.record(machine.word).deadline;
            // Of a trial it may be the end.
            machine.deciding().filter(|_| !on_trial).map(|record| record.digest)
        };
        if let Ok(mut core) = Core::new(self.config.clone(), self.kernel(), Store::on(self.disk.clone())) {
            core.restore_policy(&self.config);
            core.handle(self.observed());
            self.core = Some(core);
        }
        let goes_on = self.machine.borrow().deciding().map(|record| record.digest);
        if decided.is_some() && goes_on != decided {
            self.fail("the next daemon does not go on with the policy that decided".to_owned());
        }
        if self.faults.is_dead() {
            self.faults.begin(None);
            self.start();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Fault(fault) => return self.next = Some(fault),
            Step::Absence { seconds } => return self.absence = seconds * SECOND,
            _ => {}
        }
        self.faults.begin(self.next.take());
        self.host_changes(step);
        self.daemon_hears(step);
        self.somebody_orders(step);
        if self.core.is_none() || self.faults.is_dead() {
            self.faults.begin(None);
            self.start();
        }
        self.faults.begin(None);
    }

    fn host_changes(&mut self, step: Step) {
        let machine = self.machine.clone();
        let mut machine = machine.borrow_mut();
        match step {
            Step::Add { ifindex, name, mask, routed } if machine.host.add(ifindex, NAMES[name]) => {
                doubt(&mut self.mail, ifindex);
                machine.host.interfaces.get_mut(&ifindex).expect("it was added").readdress(mask, routed);
                if NAMES[name].starts_with("veth") {
                    self.mail.push_back(Event::Appeared { ifindex, name: NAMES[name].to_owned() });
                }
            }
            Step::Remove { ifindex } if machine.host.interfaces.remove(&ifindex).is_some() => {
                doubt(&mut self.mail, ifindex);
                self.mail.push_back(Event::Vanished { ifindex });
            }
            Step::Rename { ifindex, name } if machine.host.by_name(NAMES[name]).is_none() => {
                if let Some(interface) = machine.host.interfaces.get_mut(&ifindex) {
                    NAMES[name].clone_into(&mut interface.veth.name);
                }
            }
            Step::Readdress { ifindex, mask, routed } => {
                if let Some(interface) = machine.host.interfaces.get_mut(&ifindex) {
                    interface.readdress(mask, routed);
                }
            }
            Step::HostAddress { address } => {
                let address: std::net::IpAddr = WORKLOADS[address].parse().unwrap();
                if !machine.host.addresses.remove(&address.into()) {
                    machine.host.addresses.insert(address.into());
                }
            }
            Step::Relabel { ifindex, label } => {
                if let Some(interface) = machine.host.interfaces.get_mut(&ifindex) {
                    interface.relabel(LABELS[label]);
                }
            }
            Step::Damage { ifindex, what } => damage(&mut machine, ifindex, what),
            Step::Wait { seconds } => machine.now += seconds * SECOND,
            Step::Reboot { is_undone } => {
                machine.reboot();
                self.disk.fail(is_undone);
            }
            _ => {}
        }
        for interface in machine.host.interfaces.values_mut() {
            interface.give(&self.config);
        }
    }

    fn daemon_hears(&mut self, step: Step) {
        match step {
            Step::Deliver { place } => {
                if let Some(event) = self.take(place) {
                    self.core().handle(event);
                }
            }
            Step::Lose { place } => drop(self.take(place)),
            Step::Duplicate { place } => {
                // A look is told once.
                let again =
                    self.mail.get(place).filter(|event| !matches!(event, Event::Observed(_))).cloned();
                self.mail.extend(again);
            }
            Step::Overrun => {
                self.mail.clear();
                self.look();
            }
            Step::Look => self.look(),
            Step::LookAhead => {
                // There is one look at a time.
                self.mail.retain(|event| !matches!(event, Event::Observed(_)));
                let seen = self.observed();
                self.mail.push_back(seen);
            }
            Step::Glimpse { ifindex } => {
                let glimpse = self.machine.borrow().host.glimpse(ifindex);
                self.core().handle(Event::Glimpsed(glimpse));
            }
            Step::AskContainers => {
                let running = self.running();
                self.mail.retain(|event| !matches!(event, Event::Containers(_)));
                self.mail.push_back(running);
            }
            Step::Containers => {
                self.hear_containers();
                self.look();
                self.look();
            }
            Step::Inspect => self.core().inspect(),
            Step::Tick => self.core().expire(),
            Step::Restart | Step::Reboot { .. } => self.start(),
            _ => {}
        }
    }

    fn take(&mut self, place: usize) -> Option<Event> {
        self.mail.remove(place.min(self.mail.len().checked_sub(1)?))
    }

    /// What was seen before is older than what is seen now.
    fn look(&mut self) {
        self.mail.retain(|event| !matches!(event, Event::Observed(_)));
        let seen = self.observed();
        self.core().handle(seen);
    }

    /// What is told now is newer than what is under way.
    fn hear_containers(&mut self) {
        self.mail.retain(|event| !matches!(event, Event::Containers(_)));
        let running = self.running();
        self.core().handle(running);
    }

    fn running(&mut self) -> Event {
        let looks = self.core().state.containers.looks();
        let containers = self.machine.borrow().host.containers(looks);
        Event::Containers(Running { containers, asked_at: looks, told_at: looks })
    }

    fn observed(&self) -> Event {
        Event::Observed(self.machine.borrow().host.observe())
    }

    fn core(&mut self) -> &mut Core<FakeKernel, FakeDisk> {
        self.core.as_mut().expect("a daemon runs after every step")
    }

    fn replace_process(&mut self) {
        self.core = None;
        let mut machine = self.machine.borrow_mut();
        machine.daemon += 1;
        // No packet is under way for as long as one needs to start.
        machine.before = ControlWord::default();
    }

    fn kernel(&self) -> FakeKernel {
        FakeKernel { machine: self.machine.clone(), faults: self.faults.clone() }
    }

    fn fail(&self, violation: String) {
        self.machine.borrow_mut().violation.get_or_insert(violation);
    }

    fn check(&self) -> Result<(), String> {
        let mut machine = self.machine.borrow_mut();
        let saved = self.core.as_ref().and_then(|core| core.policies().saved()).cloned();
        let violation = machine
            .violation
            .take()
            .or_else(|| invariants::always(&machine))
            .or_else(|| invariants::told(&machine, saved.as_deref()))
            .or_else(|| invariants::named(&mut machine, saved.as_deref()?));
        violation.map_or(Ok(()), Err)
    }

    fn advance(&mut self, seconds: u64) {
        self.machine.borrow_mut().now += seconds * SECOND;
    }

    /// Nothing goes wrong any more, and the daemon looks until all is well.
    fn rest(&mut self) -> Result<(), String> {
        self.mail.clear();
        self.faults.begin(None);
        let mut outcome = Ok(());
        for _ in 0..PATIENCE {
            self.core().expire();
            self.look();
            self.daemon_hears(Step::Containers);
            self.core().inspect();
            self.check()?;
            outcome =
                invariants::at_rest(&self.machine.borrow(), &self.disk, &self.config).map_or(Ok(()), Err);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// A look that is under way may know the last one with this index.
fn doubt(mail: &mut Mail, ifindex: u32) {
    for event in mail {
        if let Event::Observed(observation) = event {
            observation.doubt(ifindex);
        }
    }
}

fn damage(machine: &mut Machine, ifindex: u32, what: Damage) {
    match what {
        Damage::Programs => drop(machine.links.remove(&ifindex)),
        Damage::Record => drop(machine.endpoints.remove(&ifindex)),
        Damage::Addresses => machine.addresses.retain(|_, owner| owner.ifindex != ifindex),
        Damage::Guard => drop(machine.guards.remove(&ifindex)),
        Damage::Uplink => drop(machine.uplinks.remove(&ifindex)),
        Damage::Modes => (machine.modes, machine.host_end) = Default::default(),
        Damage::Senders => machine.senders.clear(),
        Damage::Owner => {
            for owner in machine.addresses.values_mut().filter(|owner| owner.ifindex == ifindex) {
                *owner = AddressOwner::default();
            }
        }
    }
}
