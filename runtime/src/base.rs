//! The image that runs, as payloads are judged by it.

use core::ops::Range;

use crate::read::symbols::Symbols;

/// What the runtime needs to know about the running image.
#[derive(Debug)]
pub struct Base<'base> {
    /// Its symbols; [`Symbols::from_elf`] reads them from the image file.
    pub symbols: Symbols<'base>,
    /// Its build-id, the bytes alone.
    pub build_id: &'base [u8],
    /// Addresses of its executable code.
    pub text: Range<u64>,
}
