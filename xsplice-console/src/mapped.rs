//! Maps input files into memory, or reads standard input. The only unsafe code of this crate.
//!
//! A base image with debug information has hundreds of megabytes, most of which are never read, so
//! inputs are mapped.
#![expect(
    unsafe_code,
    reason = "a memory map is unsafe to create; nothing else in this crate is"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// An input's bytes.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    /// A file, mapped read-only and private.
    Mapped(memmap2::Mmap),
    /// An empty file, which cannot be mapped, or what a pipe brought.
    Read(Vec<u8>),
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened or mapped, or is a folder.
    pub fn open(path: &Path) -> io::Result<MappedFile> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let bytes = if metadata.len() == 0 {
            Bytes::Read(Vec::new())
        } else {
            // SAFETY: the map is private and read-only. A build tool's inputs are finished files;
            // one that is rewritten under us gives wrong bytes, and one that is cut short ends
            // the process by SIGBUS, which memmap2 documents as the price of any file map. Every
            // reader treats the bytes as hostile, so wrong bytes are an error, not a fault.
            Bytes::Mapped(unsafe { memmap2::Mmap::map(&file) }?)
        };
        Ok(MappedFile {
            path: path.to_owned(),
            bytes,
        })
    }

    /// As [`MappedFile::open`]; `-` is standard input, which is read to its end.
    ///
    /// # Errors
    /// As [`MappedFile::open`], or standard input cannot be read.
    pub fn open_or_standard_input(path: &Path) -> io::Result<MappedFile> {
        if path.as_os_str() != "-" {
            return MappedFile::open(path);
        }
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        Ok(MappedFile {
            path: path.to_owned(),
            bytes: Bytes::Read(bytes),
        })
    }

    /// Gives back the memory of what was read so far. What is read again comes from the file again.
    pub fn release(&self) {
        if let Bytes::Mapped(map) = &self.bytes {
            // SAFETY: the map is private and nobody writes to it, so that its pages hold nothing
            // but what the file holds, and come back with that. Its addresses stay its own. Where
            // this fails, the pages stay.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// Where the bytes came from, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MappedFile;

    #[test]
    fn what_was_given_back_reads_as_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        std::fs::write(&path, &bytes).expect("a folder of our own");
        let file = MappedFile::open(&path).expect("it is there");
        let held = &file[90_000..];
        assert_eq!(file[..], bytes[..]);
        file.release();
        assert_eq!(held, &bytes[90_000..]);
        assert_eq!(file[..], bytes[..]);
    }
}
