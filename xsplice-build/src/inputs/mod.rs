//! Brings the files of both trees into memory, once each.

pub(crate) mod archives;
pub(crate) mod base;
pub(crate) mod content;
pub(crate) mod dependencies;
pub(crate) mod name;
pub mod pair;

use std::ops::{Deref, Range};
use std::sync::Arc;

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
}

/// Maps the files of all `pairs`, in their order.
///
/// # Errors
///
/// The first file that cannot be opened or mapped.
pub fn open_all(pairs: Vec<Pair>) -> Result<Vec<Input>> {
    pairs.into_par_iter().map(Input::open).collect()
}

impl Input {
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
        Ok(Input { name, bytes })
    }

    /// The original object, where there is one.
    #[must_use]
    pub fn original(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Both { original, .. } | Bytes::Removed { original } => Some(original),
            Bytes::Added { .. } => None,
        }
    }

    /// The patched object, where there is one.
    #[must_use]
    pub fn patched(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Both { patched, .. } | Bytes::Added { patched } => Some(patched),
            Bytes::Removed { .. } => None,
        }
    }
}
