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
        // A formatter that fails for its own reasons has said as much as it could.
        Text::try_of(|text| write(text).or(Ok(())))
    }

    /// The text of what `write` writes, if it gives no error of its own.
    ///
    /// # Errors
    /// That one; -ENOMEM.
    pub fn try_of(write: impl FnOnce(&mut Text) -> Result<(), Errno>) -> Result<Vec<u8>, Errno> {
        let mut text = Text::default();
        let written = write(&mut text);
        match text.state {
            State::Whole => written?,
            // Room for it was left.
            State::Cut => text.append(CUT)?,
            State::NoMemory => return Err(Errno::ENOMEM),
        }
        Ok(text.bytes)
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
