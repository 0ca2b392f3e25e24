//! Packets on their way through a policy that decides no longer.
//!
//! Whenever another policy is published a wait begins for the programs that run at that moment, an RCU grace period: some ten
//! milliseconds. A policy is built where none was read that decided until the publication before the last one
//! (`daemon/generations.rs`), so that of two orders in a row the second one need not wait.

use std::{
    io,
    sync::Mutex,
    thread::{self, JoinHandle},
};

use super::bpf;

/// A thread that the kernel makes wait; `None` where there was none to be had.
type Wait = Option<JoinHandle<io::Result<()>>>;

/// A wait for each publication, oldest first.
#[derive(Debug, Default)]
pub(super) struct Graces(Mutex<Vec<Wait>>);

impl Graces {
    /// Another policy decides from now on: begins to wait for packets on their way through the one before.
    pub(super) fn begin(&self) {
        self.push(thread::Builder::new().name("grace".to_owned()).spawn(bpf::wait_for_programs).ok());
    }

    /// Waits until no program is on its way through what decided before the publication before the last one.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut waits = self.0.lock().expect("nobody panics with it");
        // Of what another process has published nothing is known.
        let Some(last) = waits.pop() else { return bpf::wait_for_programs() };
        let is_over = |wait: Wait| wait.is_some_and(|wait| wait.join().is_ok_and(|outcome| outcome.is_ok()));
        if !waits.drain(..).all(is_over) {
            // One wait is as good as all of them. Where it fails, too, the next one to settle has to wait.
            bpf::wait_for_programs()?;
        }
        waits.push(last);
        Ok(())
    }

    fn push(&self, wait: Wait) {
        self.0.lock().expect("nobody panics with it").push(wait);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{self, RecvTimeoutError},
        time::Duration,
    };

    use super::*;

    /// Long enough for who waits for nobody.
    const A_WHILE: Duration = Duration::from_millis(100);

    /// A wait, and what ends it.
    fn wait() -> (Wait, mpsc::Sender<()>) {
        let (end, waits) = mpsc::channel::<()>();
        let waiting = thread::spawn(move || {
            waits.recv().ok();
            Ok(())
        });
        (Some(waiting), end)
    }

    #[test]
    fn all_but_the_last_are_waited_for() {
        let (graces, (before, end), (last, _unended)) = (Graces::default(), wait(), wait());
        graces.push(before);
        graces.push(last);
        let (settled, hears) = mpsc::channel();
        thread::scope(|scope| {
            let graces = &graces;
            scope.spawn(move || settled.send(graces.settle().is_ok()));
            assert_eq!(hears.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout), "somebody waits still");
            drop(end);
            assert_eq!(hears.recv(), Ok(true), "and does not any more");
        });
        assert_eq!(graces.0.lock().unwrap().len(), 1, "the last one is to be waited for behind the next");
    }

    #[test]
    fn each_publication_has_its_wait() {
        let graces = Graces::default();
        graces.begin();
        graces.begin();
        assert_eq!(graces.0.lock().unwrap().len(), 2);
    }
}
