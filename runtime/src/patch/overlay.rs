//! What the running image will look like once payloads above have been reverted.
//!
//! REPLACE must check the new payload, and the older ones of the stack, before the first byte is
//! written: by the bytes that the functions will have then, not by the jumps that are there now.

use alloc::vec::Vec;

use crate::names::OutOfMemory;
use crate::patch::trampoline::WINDOW_BYTES;
use crate::patch::{Applied, Patch, WordPatch};

/// Bytes that a revert puts back.
#[derive(Clone, Copy, Debug)]
struct Piece {
    address: u64,
    /// 0 for the payload on top of the stack, 1 for the next, and so on.
    depth: usize,
    length: usize,
    bytes: [u8; WINDOW_BYTES],
}

/// The undo bytes of applied payloads.
#[derive(Debug, Default)]
pub struct Overlay {
    /// By address.
    pieces: Vec<Piece>,
    /// By address, then depth: what a revert puts into words.
    words: Vec<(u64, usize, u64)>,
}

impl Overlay {
    /// Depth that takes every payload back.
    pub const EVERYTHING: usize = usize::MAX;

    /// Nothing is taken back.
    #[must_use]
    pub const fn nothing() -> Overlay {
        Overlay {
            pieces: Vec::new(),
            words: Vec::new(),
        }
    }

    /// Takes back what payloads changed, the newest first.
    ///
    /// # Errors
    /// No memory.
    pub fn of<'a>(
        payloads: impl Iterator<Item = (&'a [Patch], &'a [WordPatch])>,
    ) -> Result<Overlay, OutOfMemory> {
        let mut overlay = Overlay::nothing();
        for (depth, (patches, words)) in payloads.enumerate() {
            overlay
                .pieces
                .try_reserve(patches.len())
                .map_err(|_| OutOfMemory)?;
            overlay
                .words
                .try_reserve(words.len())
                .map_err(|_| OutOfMemory)?;
            let undone = patches.iter().filter_map(Patch::undo);
            overlay.pieces.extend(undone.map(|(address, undo)| {
                let mut bytes = [0; WINDOW_BYTES];
                for (to, from) in bytes.iter_mut().zip(undo) {
                    *to = *from;
                }
                Piece {
                    address,
                    depth,
                    length: undo.len(),
                    bytes,
                }
            }));
            let is_applied = |word: &&WordPatch| word.applied == Applied::Yes;
            let words = words.iter().filter(is_applied);
            overlay
                .words
                .extend(words.map(|word| (word.address, depth, word.expected)));
        }
        overlay
            .pieces
            .sort_unstable_by_key(|piece| (piece.address, piece.depth));
        overlay.words.sort_unstable();
        Ok(overlay)
    }

    /// Changes `bytes`, read at `address`, to what they will be once the first `depth` payloads
    /// have been reverted.
    pub fn reveal(&self, address: u64, bytes: &mut [u8], depth: usize) {
        let reach = u64::try_from(WINDOW_BYTES).unwrap_or(u64::MAX);
        let end = address.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let first = self
            .pieces
            .partition_point(|piece| piece.address < address.saturating_sub(reach));
        let near = self.pieces.get(first..).unwrap_or_default();
        let near = near
            .get(..near.partition_point(|piece| piece.address < end))
            .unwrap_or_default();
        let deepest = near.iter().map(|piece| piece.depth + 1).max().unwrap_or(0);
        // In the order of the reverts: the undo bytes of a deeper payload are written last.
        for level in 0..deepest.min(depth) {
            for piece in near.iter().filter(|piece| piece.depth == level) {
                let undo = piece.bytes.iter().take(piece.length);
                for (at, byte) in (piece.address..).zip(undo) {
                    let index = at
                        .checked_sub(address)
                        .and_then(|at| usize::try_from(at).ok());
                    if let Some(place) = index.and_then(|index| bytes.get_mut(index)) {
                        *place = *byte;
                    }
                }
            }
        }
    }

    /// What the word at `address` will hold once the first `depth` payloads have been reverted;
    /// `None` when none of them changed it.
    #[must_use]
    pub fn word(&self, address: u64, depth: usize) -> Option<u64> {
        let end = self
            .words
            .partition_point(|(at, level, _)| (*at, *level) < (address, depth));
        let (at, _, value) = self.words.get(end.checked_sub(1)?)?;
        (*at == address).then_some(*value)
    }
}
