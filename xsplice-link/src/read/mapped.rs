//! Maps input files into memory: the one place of this crate that is not safe Rust.
//!
//! A base image with debug information is hundreds of megabytes and most of it is never looked
//! at, so inputs are mapped, not read.
#![expect(
    unsafe_code,
    reason = "a memory map is unsafe to create; nothing else in this crate is"
)]

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::error::LinkError;

/// A file's bytes, mapped read-only and private.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`LinkError::Read`] when it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<MappedFile, LinkError> {
        let failed = |source| LinkError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let map = if metadata.len() == 0 {
            None
        } else {
            // SAFETY: the map is private and read-only. A build tool's inputs are finished files;
            // one that is rewritten under us gives wrong bytes, and one that is cut short ends
            // the process by SIGBUS, which memmap2 documents as the price of any file map. Every
            // reader treats the bytes as hostile, so wrong bytes are an error, not a fault.
            Some(unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?)
        };
        Ok(MappedFile {
            path: path.to_owned(),
            map,
        })
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
        self.map.as_deref().unwrap_or_default()
    }
}
