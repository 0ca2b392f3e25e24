//! A state directory in memory. Files are replaced whole, and a second name shares what the first one held. A
//! power failure undoes what was not kept, or damages it.

use std::{cell::RefCell, collections::BTreeMap, io, path::PathBuf, rc::Rc};

type Files = BTreeMap<String, Rc<[u8]>>;

use super::faults::Faults;
use crate::daemon::disk::Disk;

/// See the module; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    files: Rc<RefCell<Files>>,
    /// What outlasts a power failure.
    kept: Rc<RefCell<Files>>,
    /// What files hold that are not wholly on the disk.
    drafts: Rc<RefCell<Vec<Rc<[u8]>>>>,
    faults: Rc<Faults>,
}

impl FakeDisk {
    /// Empty.
    pub fn new(faults: Rc<Faults>) -> Self {
        Self { files: Rc::default(), kept: Rc::default(), drafts: Rc::default(), faults }
    }

    /// The same files, seen by somebody to whom nothing goes wrong.
    pub fn spared(&self) -> Self {
        Self { faults: Rc::default(), ..self.clone() }
    }

    /// The power fails: names that were not kept are gone, or are there and stand for nothing whole.
    pub fn fail(&self, is_undone: bool) {
        let drafts = self.drafts.take();
        let mut files = self.files.borrow_mut();
        if is_undone {
            files.clone_from(&self.kept.borrow());
        }
        for bytes in files.values_mut() {
            if drafts.iter().any(|draft| Rc::ptr_eq(draft, bytes)) {
                *bytes = Rc::from([]);
            }
        }
        self.kept.borrow_mut().clone_from(&files);
    }

    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.files.borrow().keys().cloned().collect()
    }
}

impl Disk for FakeDisk {
    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.faults.read()?;
        Ok(self.files.borrow().get(name).map(|bytes| bytes.to_vec()))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.faults.change(|| {
            self.files.borrow_mut().insert(name.to_owned(), bytes.into());
            Ok(())
        })
    }

    fn draft(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.faults.change(|| {
            let bytes = Rc::<[u8]>::from(bytes);
            self.drafts.borrow_mut().push(bytes.clone());
            self.files.borrow_mut().insert(name.to_owned(), bytes);
            Ok(())
        })
    }

    fn link(&mut self, name: &str, second: &str) -> io::Result<()> {
        self.faults.change(|| {
            let mut files = self.files.borrow_mut();
            let bytes = files.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
            files.insert(second.to_owned(), bytes);
            Ok(())
        })
    }

    fn keep(&mut self) -> io::Result<()> {
        if *self.files.borrow() == *self.kept.borrow() {
            return Ok(());
        }
        self.faults.change(|| {
            self.kept.borrow_mut().clone_from(&self.files.borrow());
            self.drafts.take();
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<bool> {
        self.faults.change(|| Ok(self.files.borrow_mut().remove(name).is_some()))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.faults.read()?;
        let files = self.files.borrow();
        let inside = files.keys().filter_map(|name| name.strip_prefix(directory)?.strip_prefix('/'));
        Ok(inside.map(str::to_owned).collect())
    }
}
