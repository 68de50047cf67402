//! Text for an answer: bounded, and without a panic when there is no memory for it.

use alloc::vec::Vec;
use core::fmt;

use xsplice_abi::channel::AREA_BYTES_MAX;
use xsplice_abi::errno::Errno;

/// What stands at the end of a text that was longer than an answer can be.
const CUT: &str = "\n(cut: the rest does not fit into one answer)\n";

/// Collects text up to the size of an answer.
#[derive(Debug, Default)]
pub struct Text {
    bytes: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Whole,
    Cut,
    NoMemory,
}

impl Text {
    /// The text of what `write` writes.
    ///
    /// # Errors
    /// -ENOMEM.
    pub fn of(write: impl FnOnce(&mut Text) -> fmt::Result) -> Result<Vec<u8>, Errno> {
        let mut text = Text::default();
        // The state says what went wrong.
        let _ = write(&mut text);
        if text.state == State::Cut {
            // Room for it was left.
            text.append(CUT)?;
        }
        match text.state {
            State::NoMemory => Err(Errno::ENOMEM),
            State::Whole | State::Cut => Ok(text.bytes),
        }
    }

    fn append(&mut self, part: &str) -> Result<(), Errno> {
        if self.bytes.try_reserve(part.len()).is_err() {
            self.state = State::NoMemory;
            return Err(Errno::ENOMEM);
        }
        self.bytes.extend_from_slice(part.as_bytes());
        Ok(())
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.state != State::Whole {
            return Err(fmt::Error);
        }
        if part.len() > AREA_BYTES_MAX - CUT.len() - self.bytes.len() {
            self.state = State::Cut;
            return Err(fmt::Error);
        }
        self.append(part).map_err(|_| fmt::Error)
    }
}
