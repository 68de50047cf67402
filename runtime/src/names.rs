//! Names that a payload brings, kept one after the other in one buffer, so that a payload of
//! thousands of functions needs two allocations for them and not thousands.

use alloc::vec::Vec;

/// A name within a buffer of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    start: usize,
    end: usize,
}

impl Name {
    /// Appends `name` to `names`.
    ///
    /// # Errors
    /// No memory.
    pub fn store(names: &mut Vec<u8>, name: &str) -> Result<Name, OutOfMemory> {
        names.try_reserve(name.len()).map_err(|_| OutOfMemory)?;
        let start = names.len();
        names.extend_from_slice(name.as_bytes());
        Ok(Name {
            start,
            end: names.len(),
        })
    }

    /// The name in `names`.
    #[must_use]
    pub fn read(self, names: &[u8]) -> &str {
        names
            .get(self.start..self.end)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// Memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct OutOfMemory;
