//! The state directory as the daemon needs it: small files that are there wholly or not at all.

use std::{
    fs,
    io::{self, Write},
    panic,
    path::PathBuf,
    sync::mpsc,
    thread,
};

/// Names are relative, with at most one directory in front.
pub trait Disk: Sized {
    /// What people call a file.
    fn path(&self, name: &str) -> PathBuf;
    /// What a file holds; `None` if it does not exist.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes a file, wholly or not at all.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file a second name, in place of whatever had it; takes no room.
    fn link(&mut self, name: &str, second: &str) -> io::Result<()>;
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
pub struct Directory(pub PathBuf);

impl Directory {
    /// Makes a change of the directory that `name` is in outlast a power failure.
    fn sync(&self, name: &str) -> io::Result<()> {
        let path = self.0.join(name);
        fs::File::open(path.parent().unwrap_or(&self.0))?.sync_all()
    }
}

impl Disk for Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        // In the state directory itself, so that nobody takes what a crash leaves for a file of ours.
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        self.sync(name)
    }

    fn link(&mut self, name: &str, second: &str) -> io::Result<()> {
        const BESIDE: &str = "link.new";
        // A link cannot replace a file, a rename can.
        self.remove(BESIDE)?;
        fs::hard_link(self.0.join(name), self.0.join(BESIDE))?;
        fs::rename(self.0.join(BESIDE), self.0.join(second))?;
        // Renaming a file to another name of itself does nothing at all.
        self.remove(BESIDE)?;
        self.sync(second)
    }

    fn remove(&mut self, name: &str) -> io::Result<bool> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.0.join(directory)) {
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
