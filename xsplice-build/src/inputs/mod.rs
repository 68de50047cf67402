//! Brings the files of both trees into memory, once each.

pub(crate) mod archives;
pub(crate) mod base;
pub(crate) mod content;
pub mod dependencies;
pub(crate) mod name;
pub(crate) mod order;
pub mod pair;

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use rayon::prelude::*;
use xsplice_console::MappedFile;
use xsplice_link::command::input;

use crate::inputs::pair::Pair;

/// An object's bytes: a file, or a member of an archive.
#[derive(Clone, Debug)]
pub struct ObjectBytes {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl ObjectBytes {
    /// The whole of a file.
    #[must_use]
    pub fn whole(file: MappedFile) -> ObjectBytes {
        ObjectBytes {
            range: 0..file.len(),
            file: Arc::new(file),
        }
    }

    /// A part of these bytes, which must be within them.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> ObjectBytes {
        let start = self.range.start;
        ObjectBytes {
            file: Arc::clone(&self.file),
            range: start + range.start..start + range.end,
        }
    }
}

impl Deref for ObjectBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

/// Files from this size on are compared through a buffer. What is read through a map stays in
/// memory as long as the map does, and debug information is most of a file and mostly read only to
/// learn that it is equal.
const MAPPED_BYTES_MAX: usize = 1 << 16;

/// Up to this size, whether both trees hold the same is asked before anything is read: of an object
/// that is equal, one file is enough. Larger ones are mostly merged ones, which are never compared.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Size of that buffer.
const BUFFER_BYTES: usize = 1 << 16;

impl ObjectBytes {
    fn is_equal_to(&self, other: &ObjectBytes) -> bool {
        if self.len() != other.len() {
            return false;
        }
        if self.len() <= MAPPED_BYTES_MAX {
            return self[..] == other[..];
        }
        // Standard input cannot be opened again.
        compare_files(self, other).unwrap_or_else(|_| self[..] == other[..])
    }

    /// Gives back the memory of a large file.
    fn release(&self) {
        if self.file.len() > MAPPED_BYTES_MAX {
            self.file.release();
        }
    }

    /// Where the bytes at `at` stand in the file.
    fn file_offset(&self, at: usize) -> io::Result<u64> {
        u64::try_from(self.range.start + at).map_err(io::Error::other)
    }
}

/// Whether two objects of one size are equal, read through a buffer.
fn compare_files(one: &ObjectBytes, other: &ObjectBytes) -> io::Result<bool> {
    let files = [File::open(one.file.path())?, File::open(other.file.path())?];
    let mut buffers = vec![0; 2 * BUFFER_BYTES];
    let (ours, theirs) = buffers.split_at_mut(BUFFER_BYTES);
    for at in (0..one.len()).step_by(BUFFER_BYTES) {
        let size = BUFFER_BYTES.min(one.len() - at);
        files[0].read_exact_at(&mut ours[..size], one.file_offset(at)?)?;
        files[1].read_exact_at(&mut theirs[..size], other.file_offset(at)?)?;
        if ours[..size] != theirs[..size] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bytes of one [`Pair`].
#[derive(Debug)]
pub enum Bytes {
    /// Both trees have it.
    Both {
        original: ObjectBytes,
        patched: ObjectBytes,
    },
    /// Only the patched tree has it.
    Added { patched: ObjectBytes },
    /// Only the original tree has it.
    Removed { original: ObjectBytes },
}

/// An object with its bytes.
#[derive(Debug)]
pub struct Input {
    /// Path relative to the tree.
    pub name: String,
    /// The file or files.
    pub bytes: Bytes,
    /// Whether both trees hold the same; decided once, when it is asked for.
    equal: OnceLock<bool>,
}

/// Maps the files of all `pairs`, in their order.
///
/// # Errors
///
/// The first file that cannot be opened or mapped.
pub fn open_all(pairs: Vec<Pair>) -> Result<Vec<Input>> {
    pairs.into_par_iter().map(Input::open).collect()
}

/// Gives back the memory of what was read of the files so far. A page that is touched brings those
/// around it along, so that after a step which looks at debug information or at merged objects,
/// nearly all of both trees is in memory, and the next step needs little of it.
pub(crate) fn release<'i>(inputs: impl IntoIterator<Item = &'i Input>) {
    for input in inputs {
        match &input.bytes {
            Bytes::Both { original, patched } => {
                original.release();
                patched.release();
            }
            Bytes::Added { patched: one } | Bytes::Removed { original: one } => one.release(),
        }
    }
}

impl Input {
    /// An object of this name.
    #[must_use]
    pub fn new(name: String, bytes: Bytes) -> Input {
        Input {
            name,
            bytes,
            equal: OnceLock::new(),
        }
    }

    /// Whether both trees have the object, equal to the byte.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        *self.equal.get_or_init(|| match &self.bytes {
            Bytes::Both { original, patched } => original.is_equal_to(patched),
            Bytes::Added { .. } | Bytes::Removed { .. } => false,
        })
    }

    /// Maps the files of `pair`.
    ///
    /// # Errors
    ///
    /// A file that cannot be opened or mapped.
    pub fn open(pair: Pair) -> Result<Input> {
        let map = |path: &std::path::Path| {
            input::open(path)
                .map(ObjectBytes::whole)
                .with_context(|| "every object of both trees must be readable")
        };
        let (name, bytes) = match pair {
            Pair::Both {
                name,
                original,
                patched,
            } => {
                let bytes = Bytes::Both {
                    original: map(&original)?,
                    patched: map(&patched)?,
                };
                (name, bytes)
            }
            Pair::Added { name, patched } => (
                name,
                Bytes::Added {
                    patched: map(&patched)?,
                },
            ),
            Pair::Removed { name, original } => (
                name,
                Bytes::Removed {
                    original: map(&original)?,
                },
            ),
        };
        let input = Input::new(name, bytes);
        if input
            .original()
            .is_some_and(|bytes| bytes.len() <= COMPILED_BYTES_MAX)
        {
            let _ = input.is_equal();
        }
        Ok(input)
    }

    /// The original object, where there is one.
    #[must_use]
    pub fn original(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Both { original, .. } | Bytes::Removed { original } => Some(original),
            Bytes::Added { .. } => None,
        }
    }

    /// The patched object, where there is one. One that is known to be equal is not read again.
    #[must_use]
    pub fn patched(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Both { original, .. } if self.equal.get() == Some(&true) => Some(original),
            Bytes::Both { patched, .. } | Bytes::Added { patched } => Some(patched),
            Bytes::Removed { .. } => None,
        }
    }
}
