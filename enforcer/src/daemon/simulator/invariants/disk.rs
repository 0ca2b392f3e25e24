//! What the disk must hold when all has come to rest: the policy that decides for good, and beside it what is on trial.

use crate::daemon::{
    simulator::{disk::FakeDisk, machine::Machine},
    store::Store,
};

/// See the module.
pub fn at_rest(machine: &Machine, disk: &FakeDisk) -> Option<String> {
    let pending: Vec<String> = disk.names().into_iter().filter(|name| name.contains("pending")).collect();
    if pending.len() != usize::from(machine.word.is_unconfirmed()) {
        return Some(format!("{:?} is published, and the disk holds {pending:?}", machine.word));
    }
    let store = Store::on(disk.spared());
    let last_good = store.last_good().unwrap().map(|saved| saved.number);
    let confirmed = if machine.word.is_unconfirmed() {
        machine.record(machine.word).fallback.generation()
    } else {
        machine.word.generation()
    };
    let newest = store.generations().unwrap().first().copied();
    let is_kept = last_good == Some(confirmed).filter(|number| *number != 0) && newest == last_good;
    (!is_kept).then(|| {
        format!("generation {confirmed} is confirmed, the disk holds {last_good:?} and keeps {newest:?}")
    })
}
