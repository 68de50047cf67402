//! One function or word that a payload changes: its old contents, the new contents, and the undo
//! data.
//!
//! A patch is prepared before the rendezvous, because reading and encoding may fail. Inside the
//! rendezvous it is compared again before the first byte is written. It records whether it is
//! applied.

pub mod memory;
pub(crate) mod open_text;
pub(crate) mod overlay;
pub mod record;
pub mod trampoline;

use crate::check::Fault;
use crate::names::Name;
use crate::patch::open_text::OpenText;
use crate::patch::overlay::Overlay;
use crate::patch::record::{Expectation, Record, Replacement, Word};
use crate::patch::trampoline::{Trampoline, WINDOW_BYTES, window_bytes};
use crate::platform::Platform;

/// Whether a patch is in the running image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// A function that is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Patch {
    /// Name of the function, in the payload's names.
    pub name: Name,
    /// Start of the old function.
    pub old_address: u64,
    /// Its size in bytes.
    pub old_bytes: u32,
    /// What takes its place.
    pub replacement: Replacement,
    /// Size of the new function or number of NOPs, in bytes.
    pub new_bytes: u32,
    /// What it must start with.
    pub expectation: Expectation,
    /// Whether it is in the running image.
    pub applied: Applied,
    /// Whether it was applied when a reverting action was prepared: a REPLACE that a hook stops has
    /// to restore that.
    before: Applied,
    /// First bytes of the old function as they were when the action was prepared.
    seen: [u8; WINDOW_BYTES],
    /// How many bytes of `seen` matter.
    window: usize,
    /// Where the patch writes, once it is prepared.
    site: Option<Site>,
    /// What it writes there, and what was there: as many bytes as the site has.
    new: [u8; WINDOW_BYTES],
    undo: [u8; WINDOW_BYTES],
}

/// Where a patch writes.
#[derive(Clone, Copy, Debug)]
struct Site {
    address: u64,
    bytes: usize,
}

impl Patch {
    /// A patch that is not applied.
    #[must_use]
    pub const fn new(record: &Record<'_>, name: Name) -> Patch {
        Patch {
            name,
            old_address: record.old_address,
            old_bytes: record.old_bytes,
            replacement: record.replacement,
            new_bytes: record.new_bytes,
            expectation: record.expectation,
            applied: Applied::No,
            before: Applied::No,
            seen: [0; WINDOW_BYTES],
            window: 0,
            site: None,
            new: [0; WINDOW_BYTES],
            undo: [0; WINDOW_BYTES],
        }
    }

    /// Where the patch writes: address and bytes, once it is prepared.
    #[must_use]
    #[inline]
    pub fn written(&self) -> Option<(u64, &[u8])> {
        let site = self.site?;
        Some((site.address, self.new.get(..site.bytes)?))
    }

    /// What it wrote over, while it is applied.
    #[must_use]
    #[inline]
    pub fn undo(&self) -> Option<(u64, &[u8])> {
        let site = self.site.filter(|_| self.applied == Applied::Yes)?;
        Some((site.address, self.undo.get(..site.bytes)?))
    }

    /// Reads the first `bytes` bytes of the old function, at most as many as it has.
    fn read_window(&self, platform: &impl Platform, bytes: usize) -> Option<[u8; WINDOW_BYTES]> {
        let mut now = [0; WINDOW_BYTES];
        let window = now.get_mut(..bytes)?;
        platform.read(self.old_address, window).ok()?;
        Some(now)
    }

    /// Prepares to apply: reads the old function as it will be once the payloads in `overlay` are
    /// reverted, compares it with the expectation, and encodes the jump.
    ///
    /// # Errors
    /// The function cannot be read or is not what is expected; the jump does not fit or reach.
    pub fn prepare(&mut self, platform: &impl Platform, overlay: &Overlay) -> Result<(), Fault> {
        let address = self.old_address;
        let machine = platform.machine();
        let window = window_bytes(self.old_bytes);
        let seen = self
            .read_window(platform, window)
            .ok_or(Fault::RecordOld { address })?;
        self.seen = seen;
        let mut code = seen;
        let code = code.get_mut(..window).unwrap_or_default();
        overlay.reveal(address, code, Overlay::EVERYTHING);
        if !code.starts_with(self.expectation.bytes()) {
            return Err(Fault::ExpectFailed);
        }
        let trampoline = Trampoline::new(machine, address, self.old_bytes, code, self.replacement)?;
        let offset = usize::from(trampoline.offset());
        let length = trampoline.bytes().len();
        let site = Site {
            address: address
                .checked_add(trampoline.offset().into())
                .ok_or(Fault::RecordOutOfReach)?,
            bytes: length,
        };
        // The overwritten bytes are saved now, so that they need not be read in the zone.
        let covered = code.get(offset..).unwrap_or_default();
        for (to, from) in self.new.iter_mut().zip(trampoline.bytes()) {
            *to = *from;
        }
        for (to, from) in self.undo.iter_mut().zip(covered).take(length) {
            *to = *from;
        }
        // In the zone only expected and overwritten bytes are compared.
        self.window = self.expectation.bytes().len().max(offset + length);
        self.site = Some(site);
        Ok(())
    }

    /// Prepares to revert: checks that the bytes which the patch wrote are still there, below the
    /// `depth` payloads above it.
    ///
    /// # Errors
    /// Other bytes are there.
    pub(crate) fn prepare_revert(
        &mut self,
        platform: &impl Platform,
        overlay: &Overlay,
        depth: usize,
    ) -> Result<(), Fault> {
        let address = self.old_address;
        let window = window_bytes(self.old_bytes);
        self.seen = self
            .read_window(platform, window)
            .ok_or(Fault::RecordOld { address })?;
        self.before = self.applied;
        if self.applied == Applied::No {
            return Ok(());
        }
        let (start, bytes) = self.written().ok_or(Fault::ExpectFailed)?;
        let mut now = self.seen;
        let now = now.get_mut(..window).unwrap_or_default();
        overlay.reveal(address, now, depth);
        let offset = usize::try_from(start - address).unwrap_or(usize::MAX);
        if now.get(offset..).is_some_and(|now| now.starts_with(bytes)) {
            Ok(())
        } else {
            Err(Fault::ExpectFailed)
        }
    }

    /// Inside the zone: whether the image is still as it was when the action was prepared.
    #[must_use]
    #[inline]
    pub(crate) fn is_confirmed(&self, platform: &impl Platform) -> bool {
        self.seen
            .get(..self.window)
            .is_some_and(|seen| platform.holds(self.old_address, seen))
    }

    /// Inside the zone: writes the jump.
    #[inline]
    pub fn apply(&mut self, text: &OpenText<'_, impl Platform>) {
        if let Some((address, bytes)) = self.written() {
            text.write(address, bytes);
            self.applied = Applied::Yes;
        }
    }

    /// Inside the zone: writes the jump again if this action has taken it away.
    pub(crate) fn put_back(&mut self, text: &OpenText<'_, impl Platform>) {
        if self.before == Applied::Yes {
            self.apply(text);
        }
    }

    /// Inside the zone: writes back what was there.
    #[inline]
    pub fn revert(&mut self, text: &OpenText<'_, impl Platform>) {
        if let Some((address, bytes)) = self.undo() {
            text.write(address, bytes);
            self.applied = Applied::No;
        }
    }
}

/// A word of data that is changed in place.
#[derive(Clone, Copy, Debug)]
pub struct WordPatch {
    /// Name, in the payload's names.
    pub name: Name,
    /// Its address.
    pub address: u64,
    /// What it holds while the patch is not applied.
    pub expected: u64,
    /// What it holds while the patch is applied.
    pub value: u64,
    /// Whether it is applied.
    pub applied: Applied,
    /// Whether it was when the action was prepared.
    before: Applied,
    /// What it held when the action was prepared.
    seen: u64,
    /// Whether a revert writes it.
    changed: ChangedWord,
}

/// What a revert does about a word that holds something else than the payload wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedWord {
    /// It is refused: the base's value would be lost.
    Refused,
    /// The word is left as it is; the operator says so.
    Left,
}

impl WordPatch {
    /// A patch that is not applied.
    #[must_use]
    pub const fn new(word: &Word<'_>, name: Name) -> WordPatch {
        WordPatch {
            name,
            address: word.address,
            expected: word.expected,
            value: word.value,
            applied: Applied::No,
            before: Applied::No,
            seen: word.expected,
            changed: ChangedWord::Refused,
        }
    }

    /// What the word holds in the running image.
    fn read(&self, platform: &impl Platform) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        let address = self.address;
        platform
            .read(address, &mut bytes)
            .map_err(|_| Fault::WordAddress { address })?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Finds that the word holds what an apply (or, when it is applied, a revert) expects, once
    /// the payloads above have been reverted; `changed` says what is to become of one that does not
    /// hold what was written.
    ///
    /// # Errors
    /// It does not.
    pub fn prepare(
        &mut self,
        platform: &impl Platform,
        overlay: &Overlay,
        depth: usize,
        changed: ChangedWord,
    ) -> Result<(), Fault> {
        let now = self.read(platform)?;
        self.seen = now;
        self.before = self.applied;
        self.changed = ChangedWord::Refused;
        let holds = overlay.word(self.address, depth).unwrap_or(now);
        let wanted = match self.applied {
            Applied::Yes => self.value,
            Applied::No => self.expected,
        };
        match (holds == wanted, self.applied, changed) {
            (true, ..) => Ok(()),
            (false, Applied::Yes, ChangedWord::Left) => {
                self.changed = ChangedWord::Left;
                Ok(())
            }
            (false, Applied::Yes, ChangedWord::Refused) => Err(Fault::WordChanged { holds }),
            (false, Applied::No, _) => Err(Fault::WordFailed { holds }),
        }
    }

    /// Inside the zone: whether the word is still as it was when the action was prepared.
    #[must_use]
    pub(crate) fn is_confirmed(&self, platform: &impl Platform) -> bool {
        platform.holds(self.address, &self.seen.to_le_bytes())
    }

    /// Inside the zone: writes the value.
    pub fn apply(&mut self, text: &OpenText<'_, impl Platform>) {
        text.write_word(self.address, self.value);
        self.applied = Applied::Yes;
    }

    /// Inside the zone: writes the value again if this action has taken it away.
    pub(crate) fn put_back(&mut self, text: &OpenText<'_, impl Platform>) {
        if self.before == Applied::Yes {
            self.apply(text);
        }
    }

    /// Inside the zone: writes back what was there.
    pub fn revert(&mut self, text: &OpenText<'_, impl Platform>) {
        if self.applied == Applied::Yes {
            if self.changed == ChangedWord::Refused {
                text.write_word(self.address, self.expected);
            }
            self.applied = Applied::No;
        }
    }
}
