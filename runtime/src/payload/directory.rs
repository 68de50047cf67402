//! Names and tables of loaded payloads, for fault handlers and for the payloads that come later.
//!
//! It has its own lock, which is held for writing only briefly and with interrupts off. So a fault
//! handler can always read the tables, whatever else the runtime is doing.

use alloc::vec::Vec;
use core::fmt;

use spin::RwLock;

use crate::locks::{Holder, check_interrupts};
use crate::names::{Name, OutOfMemory};
use crate::payload::tables::{BugFrame, Exception};
use crate::payload::{PayloadId, Placed};
use crate::platform::Platform;
use crate::rendezvous::cpu::Interrupts;

/// Whether a symbol is something new, or the new version of what the base has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Later payloads may refer to it by name, so the name must be unique.
    New,
    /// The new code of a function that the payload replaces.
    Replaces,
}

/// A symbol of a payload.
#[derive(Clone, Copy, Debug)]
pub struct PayloadSymbol {
    /// Name, in [`Listing::names`].
    pub name: Name,
    /// Address.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// Whether it is new.
    pub novelty: Novelty,
}

/// What is known of one loaded payload.
#[derive(Debug)]
pub struct Listing {
    /// Which.
    pub id: PayloadId,
    /// Its name, NUL included.
    pub payload: Vec<u8>,
    /// Names of its symbols, one after the other.
    pub names: Vec<u8>,
    /// Its symbols, by address.
    pub symbols: Vec<PayloadSymbol>,
    /// Indices of the new ones in `symbols`, by name.
    pub new: Vec<u32>,
    /// Its exception table, by address.
    pub exceptions: Vec<Exception>,
    /// Its bug frames, by address.
    pub bugs: Vec<BugFrame>,
    /// Its memory.
    pub regions: Vec<Placed>,
}

impl Listing {
    /// The new symbol of this name.
    #[must_use]
    pub fn new_symbol(&self, name: &str) -> Option<&PayloadSymbol> {
        let symbol = |index: &u32| self.symbols.get(usize::try_from(*index).ok()?);
        let at = self.new.partition_point(|index| {
            symbol(index).is_some_and(|symbol| symbol.name.read(&self.names) < name)
        });
        self.new
            .get(at)
            .and_then(symbol)
            .filter(|symbol| symbol.name.read(&self.names) == name)
    }

    /// Sorts what is looked up by order.
    ///
    /// # Errors
    /// No memory.
    pub fn index(&mut self) -> Result<(), OutOfMemory> {
        self.symbols.sort_unstable_by_key(|symbol| symbol.address);
        self.new
            .try_reserve_exact(self.symbols.len())
            .map_err(|_| OutOfMemory)?;
        let numbered = (0_u32..).zip(&self.symbols);
        let new = numbered.filter(|(_, symbol)| symbol.novelty == Novelty::New);
        self.new.extend(new.map(|(index, _)| index));
        let (symbols, names) = (&self.symbols, &self.names);
        self.new.sort_unstable_by_key(|index| {
            usize::try_from(*index)
                .ok()
                .and_then(|index| symbols.get(index))
                .map_or("", |symbol| symbol.name.read(names))
        });
        Ok(())
    }

    fn covers(&self, address: u64) -> bool {
        self.regions
            .iter()
            .any(|placed| placed.region.contains(address))
    }
}

/// A bug frame that covers an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Kind, the number of its `.bug_frames.N` section: 0 to 3.
    pub kind: u8,
    /// Address of the NUL-terminated file name, or of a function for kind 0.
    pub pointer: u64,
    /// Line in that file.
    pub line: u32,
    /// Address of the NUL-terminated message of an assertion (kind 3).
    pub message: Option<u64>,
}

/// Listings of all loaded payloads.
#[derive(Debug, Default)]
pub struct Directory {
    listings: RwLock<Vec<Listing>>,
    writer: Holder,
}

/// How often a fault handler tries to read while another CPU moves listings.
const READ_ATTEMPTS: usize = 1_000_000;

impl Directory {
    /// Reads the listings, in order of upload. Not for fault handlers.
    pub fn read<T>(&self, platform: &impl Platform, look: impl FnOnce(&[Listing]) -> T) -> T {
        check_interrupts(platform, Interrupts::On);
        self.writer.check_before_waiting(platform);
        look(&self.listings.read())
    }

    /// Who changes it.
    pub(crate) const fn writer(&self) -> &Holder {
        &self.writer
    }

    /// Adds a listing.
    ///
    /// # Errors
    /// No memory.
    pub fn add(&self, platform: &impl Platform, listing: Listing) -> Result<(), OutOfMemory> {
        self.write(platform, |listings| {
            listings.try_reserve(1).map_err(|_| OutOfMemory)?;
            listings.push(listing);
            Ok(())
        })
    }

    /// Takes out the listing of a payload.
    pub fn remove(&self, platform: &impl Platform, id: PayloadId) {
        // Freed at the end, after the lock: freeing takes the allocator's lock.
        let _removed = self.write(platform, |listings| {
            let index = listings.iter().position(|listing| listing.id == id)?;
            Some(listings.remove(index))
        });
    }

    fn write<T>(&self, platform: &impl Platform, change: impl FnOnce(&mut Vec<Listing>) -> T) -> T {
        let before: Interrupts = platform.interrupts_off();
        let result = self
            .writer
            .during(platform, || change(&mut self.listings.write()));
        platform.interrupts_restore(before);
        result
    }

    /// For fault handlers: gives up instead of waiting for a CPU that it may have interrupted.
    fn try_read<T>(&self, look: impl Fn(&Listing) -> Option<T>) -> Option<T> {
        for _ in 0..READ_ATTEMPTS {
            if let Some(listings) = self.listings.try_read() {
                return listings.iter().find_map(look);
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Where a fault at `address` continues.
    #[must_use]
    pub fn exception(&self, address: u64) -> Option<u64> {
        self.try_read(|listing| {
            let at = listing
                .exceptions
                .binary_search_by_key(&address, |entry| entry.fault)
                .ok()?;
            Some(listing.exceptions.get(at)?.resume)
        })
    }

    /// The bug frame at `address`.
    #[must_use]
    pub fn bug(&self, address: u64) -> Option<Bug> {
        self.try_read(|listing| {
            let at = listing
                .bugs
                .binary_search_by_key(&address, |frame| frame.address)
                .ok()?;
            let frame = listing.bugs.get(at)?;
            Some(Bug {
                kind: frame.kind,
                pointer: frame.pointer,
                line: frame.line,
                message: frame.message,
            })
        })
    }

    /// Writes `payload:symbol+0xoffset/0xsize` for an address inside a payload.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn describe(&self, address: u64, out: &mut dyn fmt::Write) -> fmt::Result {
        let out = core::cell::RefCell::new(out);
        self.try_read(|listing| {
            if !listing.covers(address) {
                return None;
            }
            let payload = listing.payload.strip_suffix(&[0]).unwrap_or_default();
            let payload = core::str::from_utf8(payload).unwrap_or_default();
            let end = listing
                .symbols
                .partition_point(|symbol| symbol.address <= address);
            let symbol = end.checked_sub(1).and_then(|at| listing.symbols.get(at));
            let mut out = out.borrow_mut();
            Some(match symbol {
                Some(symbol) => {
                    // The linker puts the payload's name before its symbols' names too.
                    let name = symbol.name.read(&listing.names);
                    let name = name
                        .strip_prefix(payload)
                        .and_then(|rest| rest.strip_prefix(':'))
                        .unwrap_or(name);
                    let offset = address - symbol.address;
                    write!(out, "{payload}:{name}+{offset:#x}/{:#x}", symbol.size)
                }
                None => write!(out, "{payload}:{address:#x}"),
            })
        })
        .unwrap_or(Ok(()))
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::Directory;
    use crate::patch::memory::MemoryPlatform;
    use crate::platform::Platform as _;

    fn platform() -> MemoryPlatform {
        MemoryPlatform::new(0..0x1000)
    }

    #[test]
    #[should_panic(expected = "waits for a lock that it has")]
    fn the_directory_is_not_read_within_a_change() {
        let (platform, directory) = (platform(), Directory::default());
        let read = || directory.read(&platform, <[_]>::len);
        directory.writer().during(&platform, read);
    }

    #[test]
    #[should_panic(expected = "interrupts where a lock is taken")]
    fn the_directory_is_not_waited_for_with_interrupts_off() {
        let (platform, directory) = (platform(), Directory::default());
        assert_eq!(directory.read(&platform, <[_]>::len), 0);
        platform.interrupts_off();
        directory.read(&platform, <[_]>::len);
    }
}
