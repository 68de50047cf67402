//! A guard during which text may be written. It is created inside the quiescent zone, and dropped
//! on every way out.
//!
//! Opening may cost more than the writes themselves (clearing CR0.WP flushes translated code), so
//! it is done once for all records of a payload.

use crate::platform::Platform;
use crate::rendezvous::Quiesced;

/// Text that is open for writing, until this is dropped.
#[derive(Debug)]
pub struct OpenText<'zone, P: Platform> {
    platform: &'zone P,
    quiesced: &'zone Quiesced,
}

impl<'zone, P: Platform> OpenText<'zone, P> {
    /// Opens it.
    pub fn new(platform: &'zone P, quiesced: &'zone Quiesced) -> OpenText<'zone, P> {
        platform.open_text(quiesced);
        OpenText { platform, quiesced }
    }

    /// Writes bytes that were read successfully before the rendezvous.
    #[inline]
    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.platform.write_text(self.quiesced, address, bytes);
    }

    /// Writes an aligned word that was read successfully before the rendezvous.
    #[inline]
    pub fn write_word(&self, address: u64, value: u64) {
        self.platform.write_word(self.quiesced, address, value);
    }
}

impl<P: Platform> Drop for OpenText<'_, P> {
    fn drop(&mut self) {
        self.platform.close_text(self.quiesced);
    }
}
