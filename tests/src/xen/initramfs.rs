//! Writes dom0's root file system: a cpio archive in the "newc" format the Linux kernel unpacks.
//!
//! The format (documented in the kernel's buffer-format text for initramfs) is a header of
//! thirteen eight-digit hexadecimal fields, the name, and the data, each padded to four bytes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY_MODE: u32 = 0o040_755;
const PROGRAM_MODE: u32 = 0o100_755;
const LINK_MODE: u32 = 0o120_777;
/// Everything in the archive is padded to this many bytes.
const ALIGNMENT_BYTES: usize = 4;

/// A cpio archive being written.
#[derive(Debug, Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    inode: u32,
    directories: Vec<String>,
}

impl Initramfs {
    /// Adds a file that anyone may read and run, and the folders above it.
    pub fn file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, PROGRAM_MODE, data)
    }

    /// Adds a file with the content of `from`.
    pub fn file_from(&mut self, path: &str, from: &Path) -> Result<()> {
        let data = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, &data)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, LINK_MODE, target.as_bytes())
    }

    /// Adds an empty folder, and the folders above it.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        self.parents(path)?;
        if !self.directories.iter().any(|known| known == path) {
            self.directories.push(path.to_owned());
            self.entry(path, DIRECTORY_MODE, &[])?;
        }
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(TRAILER, 0, &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => self.directory(parent),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(data.len()).with_context(|| format!("{path} is over 4 GiB"))?;
        let name_size = u32::try_from(path.len() + 1).context("a name over 4 GiB")?;
        // inode, mode, uid, gid, links, mtime, size, device ×2, special device ×2, name, checksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(ALIGNMENT_BYTES);
        self.bytes.resize(padded, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Initramfs;

    #[test]
    fn every_entry_starts_on_four_bytes_and_folders_come_before_their_files() {
        let mut archive = Initramfs::default();
        archive.file("a/b/c", b"12345").expect("a small file fits");
        archive.link("a/d", "b/c").expect("a link fits");
        let bytes = archive.finish().expect("the trailer fits");
        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        let names: Vec<&str> = starts
            .iter()
            .filter_map(|at| {
                text.get(at + 110..)
                    .and_then(|rest| rest.split('\0').next())
            })
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/d", "TRAILER!!!"]);
    }
}
