//! What a port has received and not decoded yet: bounded, and free of what is left of a connection
//! that is over.
//!
//! A console tells of connections beside its bytes, not among them: when a new one is known, what
//! has just arrived may be its first bytes or the last ones of the one before. Each connection
//! begins with [`PREAMBLE`] at the start of a piece, so what stands before the last of them is old.

use alloc::vec::Vec;

use super::{Decoder, Frame, FrameError, PREAMBLE};

/// So many pieces are told apart; those behind them count as one with the last.
const RECENT_MAX: usize = 128;

/// Bytes came that there is no room for: the rest of this connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {bytes} bytes behind an answer that is not read, or no memory for them")]
pub struct Overrun {
    /// How many are held at that moment.
    pub bytes: usize,
}

/// The bytes.
#[derive(Debug)]
pub struct Intake {
    decoder: Decoder,
    /// Not decoded: those from `taken` on.
    input: Vec<u8>,
    taken: usize,
    /// The room of [`Intake::keep_room`], while `input` is larger.
    spare: Option<Vec<u8>>,
    bytes_max: usize,
    /// Starts, in `input`, of the pieces that may be of a connection nobody has told of yet.
    recent: [usize; RECENT_MAX],
    recent_count: usize,
    flow: Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Taking,
    Dropping,
}

impl Intake {
    /// Holds at most `bytes_max` bytes, and a frame that has not ended.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Intake {
        Intake {
            decoder: Decoder::in_the_middle(),
            input: Vec::new(),
            taken: 0,
            spare: None,
            bytes_max,
            recent: [0; RECENT_MAX],
            recent_count: 0,
            flow: Flow::Taking,
        }
    }

    /// Takes room for `bytes` bytes that is not given back: as much is taken in whatever becomes of
    /// memory. Without memory for it now, nothing is kept.
    pub fn keep_room(&mut self, bytes: usize) {
        let mut room = Vec::new();
        if room.try_reserve_exact(bytes).is_ok() {
            self.input = room;
        }
    }

    /// Makes `input` hold `bytes` bytes. Returns whether there was memory for it.
    fn grow(&mut self, bytes: usize) -> bool {
        if bytes <= self.input.capacity() {
            return true;
        }
        let doubled = self.input.capacity().saturating_mul(2).min(self.bytes_max);
        let mut larger = Vec::new();
        if larger.try_reserve_exact(bytes.max(doubled)).is_err() {
            return false;
        }
        larger.extend_from_slice(&self.input);
        let smaller = core::mem::replace(&mut self.input, larger);
        if self.spare.is_none() {
            self.spare = Some(smaller);
        }
        true
    }

    /// Nothing is held: the kept room is enough again.
    fn clear(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.input = spare;
        }
        self.input.clear();
        self.taken = 0;
    }

    /// Takes one piece, as the console gave it.
    ///
    /// # Errors
    /// [`Overrun`], once: what follows of this connection is dropped without a word.
    pub fn take_in(&mut self, piece: &[u8]) -> Result<(), Overrun> {
        if self.flow == Flow::Dropping {
            if !piece.starts_with(&PREAMBLE) {
                return Ok(());
            }
            // A connection begins that nobody told of.
            self.forget();
        }
        self.input.drain(..self.taken);
        for start in &mut self.recent[..self.recent_count] {
            *start = start.saturating_sub(self.taken);
        }
        self.taken = 0;
        let bytes = self.input.len() + piece.len();
        if bytes > self.bytes_max || !self.grow(bytes) {
            let held = self.input.len();
            self.flow = Flow::Dropping;
            return Err(Overrun { bytes: held });
        }
        if let Some(start) = self.recent.get_mut(self.recent_count) {
            *start = self.input.len();
            self.recent_count += 1;
        }
        self.input.extend_from_slice(piece);
        Ok(())
    }

    /// The connection has changed at some time since [`Intake::settle`]; all that arrived before
    /// this was known has been taken in.
    pub fn begin(&mut self) {
        let starts = &self.recent[..self.recent_count];
        let begins = |start: &&usize| {
            let rest = self.input.get(**start..).unwrap_or_default();
            rest.starts_with(&PREAMBLE)
        };
        // Without one, what came last may be a connection that is slow even with this.
        let first = starts.iter().rev().find(begins).or(starts.first());
        let old = first.copied().unwrap_or(self.input.len());
        self.input.drain(..old);
        self.taken = 0;
        self.decoder = Decoder::in_the_middle();
        self.flow = Flow::Taking;
        // It may change once more before the next `settle`.
        let mut kept = 0;
        for at in 0..self.recent_count {
            if let Some(start) = self.recent[at].checked_sub(old) {
                self.recent[kept] = start;
                kept += 1;
            }
        }
        self.recent_count = kept;
    }

    /// What has been taken in so far is of the connection that is known.
    pub fn settle(&mut self) {
        self.recent_count = 0;
    }

    fn forget(&mut self) {
        self.clear();
        self.decoder = Decoder::in_the_middle();
        self.flow = Flow::Taking;
        self.settle();
    }

    /// The next frame, or why there was none; `None` when more has to be taken in first.
    pub fn next_frame(&mut self) -> Option<Result<Frame, FrameError>> {
        let mut rest = self.input.get(self.taken..).unwrap_or_default();
        let frame = self.decoder.next(&mut rest);
        self.taken = self.input.len() - rest.len();
        if frame.is_none() {
            self.clear();
        }
        frame
    }

    /// See [`Decoder::take_unheld`].
    pub fn take_unheld(&mut self) -> Option<Frame> {
        self.decoder.take_unheld()
    }
}
