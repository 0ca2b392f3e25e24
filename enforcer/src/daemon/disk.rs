//! The state directory as the daemon needs it: small files that are there wholly or not at all, drafts as long as
//! the power lasts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    panic,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

/// Names are relative, with at most one directory in front. A power failure may undo changes since the latest
/// [`keep`](Disk::keep); it leaves no file half-written but a draft.
pub trait Disk: Sized {
    /// What people call a file.
    fn path(&self, name: &str) -> PathBuf;
    /// What a file holds; `None` if it does not exist.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes a file, wholly or not at all.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// The same without a wait for the disk: until it is kept, a power failure damages it under all its names.
    fn draft(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()>;
    /// Gives a file a second name, in place of whatever had it; takes no room.
    fn link(&mut self, name: &str, second: &str) -> io::Result<()>;
    /// Makes files drafted so far outlast a power failure, and all names given to files, whoever did that. What the disk
    /// refused to somebody before is not noticed.
    fn keep(&mut self) -> io::Result<()>;
    /// Removes a file; returns whether there was one.
    fn remove(&mut self, name: &str) -> io::Result<bool>;
    /// The names of the files in a directory, without it; none if it does not exist.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Changes files, and does something else; who has to wait for his disk does it meanwhile. Where the change fails
    /// the other thing was done or not.
    fn beside<C, T, E>(&mut self, change: C, meanwhile: impl FnOnce() -> T) -> Result<T, E>
    where
        C: FnOnce(&mut Self) -> Result<(), E> + Send,
        E: Send,
    {
        change(self)?;
        Ok(meanwhile())
    }
}

/// A directory of the host.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    /// It and those in it whose entries changed since they were kept, and files that somebody before us may have drafted.
    changed: BTreeSet<PathBuf>,
    /// By name.
    drafts: BTreeMap<String, Draft>,
    /// Somebody before us may have changed something, too.
    is_inherited: bool,
}

/// A file that is not known to be on the disk.
#[derive(Clone, Debug)]
struct Draft {
    bytes: Vec<u8>,
    /// `None` once the disk refused it: the kernel tells that once, and takes it for written ever after.
    file: Option<Arc<fs::File>>,
}

impl Directory {
    /// Nothing is touched yet.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, changed: BTreeSet::new(), drafts: BTreeMap::new(), is_inherited: true }
    }

    fn put(
        &mut self,
        name: &str,
        bytes: &[u8],
        finish: impl FnOnce(&fs::File) -> io::Result<()>,
    ) -> io::Result<fs::File> {
        let path = self.place(name)?;
        // In the state directory itself, so that nobody takes what a crash leaves for a file of ours.
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        file.write_all(bytes)?;
        finish(file.as_file())?;
        let file = file.persist(&path).map_err(|error| error.error)?;
        self.drafts.remove(name);
        Ok(file)
    }

    fn keep_drafts(&mut self) -> io::Result<()> {
        while let Some((name, draft)) = self.drafts.pop_first() {
            let kept = match &draft.file {
                Some(file) => file.sync_all(),
                None => self.put(&name, &draft.bytes, fs::File::sync_all).map(drop),
            };
            if let Err(error) = kept {
                self.drafts.insert(name, Draft { file: None, ..draft });
                return Err(error);
            }
        }
        Ok(())
    }

    /// Where `name` is about to lie: its entry changes, that of its directory may be new.
    fn place(&mut self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.path))?;
        self.changes(name);
        Ok(path)
    }

    fn changes(&mut self, name: &str) {
        self.changed.extend(Path::new(name).ancestors().skip(1).map(|directory| self.path.join(directory)));
    }
}

impl Disk for Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(name, bytes, fs::File::sync_all).map(drop)
    }

    fn draft(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let file = self.put(name, &bytes, |_| Ok(()))?;
        self.drafts.insert(name.to_owned(), Draft { bytes, file: Some(file.into()) });
        Ok(())
    }

    fn link(&mut self, name: &str, second: &str) -> io::Result<()> {
        const BESIDE: &str = "link.new";
        // A link cannot replace a file, a rename can.
        self.remove(BESIDE)?;
        fs::hard_link(self.path.join(name), self.path.join(BESIDE))?;
        let place = self.place(second)?;
        fs::rename(self.path.join(BESIDE), place)?;
        // Renaming a file to another name of itself does nothing at all. In nobody's way where that fails.
        drop(self.remove(BESIDE));
        Ok(())
    }

    fn keep(&mut self) -> io::Result<()> {
        if self.is_inherited {
            self.changed.extend(inherited(&self.path)?);
            self.is_inherited = false;
        }
        self.keep_drafts()?;
        // First those that lie in it: what a name stands for is there before the name is.
        while let Some(path) = self.changed.pop_last() {
            match fs::File::open(&path).and_then(|opened| opened.sync_all()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && path != self.path => {}
                Err(error) => {
                    self.changed.insert(path);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<bool> {
        self.drafts.remove(name);
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            outcome => outcome?,
        }
        self.changes(name);
        Ok(true)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn beside<C, T, E>(&mut self, change: C, meanwhile: impl FnOnce() -> T) -> Result<T, E>
    where
        C: FnOnce(&mut Self) -> Result<(), E> + Send,
        E: Send,
    {
        thread::scope(|scope| {
            // It is given only to a thread that is there.
            let (give, take) = mpsc::sync_channel::<(C, &mut Self)>(1);
            let changing = move || take.recv().map(|(change, disk)| change(disk));
            let Ok(changing) = thread::Builder::new().name("disk".to_owned()).spawn_scoped(scope, changing)
            else {
                change(self)?;
                return Ok(meanwhile());
            };
            give.send((change, self)).unwrap_or_else(|_| unreachable!("it waits for this"));
            let done = meanwhile();
            let changed = changing.join().unwrap_or_else(|payload| panic::resume_unwind(payload));
            changed.expect("it was given something").map(|()| done)
        })
    }
}

/// A directory, those in it, and the files in these; nothing where it does not exist.
fn inherited(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut found = vec![path.to_owned()];
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
            for file in fs::read_dir(entry.path())? {
                let file = file?;
                // Opening something else may take forever.
                found.extend(file.file_type()?.is_file().then(|| file.path()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_kept_until_nothing_of_them_is_new() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = Directory::new(root.path().to_owned());
        disk.keep().unwrap();
        disk.draft("generations/1.json", b"one".to_vec()).unwrap();
        assert_eq!(disk.changed, [root.path().to_owned(), root.path().join("generations")].into());
        assert!(disk.drafts.contains_key("generations/1.json"));
        disk.keep().unwrap();
        assert!(disk.changed.is_empty() && disk.drafts.is_empty());
        disk.link("generations/1.json", "policy.json").unwrap();
        assert_eq!(disk.changed, [root.path().to_owned()].into());
        assert_eq!(disk.read("policy.json").unwrap().as_deref(), Some(&b"one"[..]));
        let next =
            [root.path().to_owned(), root.path().join("generations"), root.path().join("generations/1.json")];
        assert_eq!(inherited(root.path()).unwrap(), next, "what the next one keeps first");
    }

    #[test]
    fn a_draft_that_the_disk_refused_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = Directory::new(root.path().to_owned());
        disk.draft("generations/1.json", b"one".to_vec()).unwrap();
        disk.drafts.get_mut("generations/1.json").unwrap().file = None;
        fs::write(root.path().join("generations/1.json"), b"").unwrap();
        disk.keep().unwrap();
        assert_eq!(disk.read("generations/1.json").unwrap().as_deref(), Some(&b"one"[..]));
        assert!(disk.drafts.is_empty());
    }

    #[test]
    fn a_draft_that_was_removed_stays_away() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = Directory::new(root.path().to_owned());
        disk.draft("generations/1.json", b"one".to_vec()).unwrap();
        disk.drafts.get_mut("generations/1.json").unwrap().file = None;
        assert!(disk.remove("generations/1.json").unwrap());
        disk.keep().unwrap();
        assert_eq!(disk.read("generations/1.json").unwrap(), None);
    }

    #[test]
    fn what_could_not_be_kept_is_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = Directory::new(root.path().join("state"));
        disk.write("policy.json", b"one").unwrap();
        fs::rename(root.path().join("state"), root.path().join("away")).unwrap();
        assert_eq!(disk.keep().unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::rename(root.path().join("away"), root.path().join("state")).unwrap();
        disk.keep().unwrap();
        assert!(disk.changed.is_empty());
    }
}
