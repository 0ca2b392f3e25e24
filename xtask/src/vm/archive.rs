//! The archive that a kernel unpacks as its first file system: cpio, format "newc", uncompressed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being written.
pub struct Archive<W> {
    out: W,
    written: u64,
    number: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// An empty one.
    pub const fn new(out: W) -> Self {
        Self { out, written: 0, number: 0, directories: BTreeSet::new() }
    }

    /// A directory, and those above it.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return Ok(());
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above)?;
        }
        self.entry(path, DIRECTORY, &[])
    }

    /// A file that everybody may run.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.above(path)?;
        self.entry(path.trim_matches('/'), PROGRAM, content)
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.above(path)?;
        self.entry(path.trim_matches('/'), LINK, target.as_bytes())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()
    }

    fn above(&mut self, path: &str) -> io::Result<()> {
        let above = Path::new(path).parent().map(|parent| parent.to_string_lossy().into_owned());
        above.map_or(Ok(()), |above| self.directory(&above))
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.number += 1;
        let (size, name) = (content.len() as u32, path.len() as u32 + 1);
        // Number, mode, owner, group, links, time, size, four of devices, length of the name, checksum.
        let fields = [self.number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(path.as_bytes())?;
        self.put(b"\0")?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.put(&[0; 3][..missing as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.file("/a/b/x", b"12345").unwrap();
        archive.link("/a/b/y", "x").unwrap();
        archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let entries: Vec<_> =
            text.split("070701").skip(1).map(|entry| entry[104..].split('\0').next().unwrap()).collect();
        assert_eq!(entries, ["a", "a/b", "a/b/x", "a/b/y", "TRAILER!!!"]);
        assert!(text.contains("12345\x00\x00\x00070701"));
    }
}
