//! The base's symbols by name and by address, as payloads name them: globals bare, locals
//! `file#name` with the `STT_FILE` entry that precedes them.
//!
//! A name with several addresses is reported as ambiguous and never guessed.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use thiserror::Error;

use crate::read::deny::Named;
use crate::read::elf::{self, ElfError};
use crate::read::view::{Place, STB_LOCAL, STT_FILE, STT_FUNC, STT_SECTION};

/// One symbol of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseSymbol<'base> {
    /// File that qualifies a local; empty for globals and for locals without one.
    pub file: &'base str,
    /// Name within the file.
    pub name: &'base str,
    /// Address.
    pub address: u64,
    /// Size in bytes; 0 when unknown.
    pub size: u64,
    /// What it names.
    pub kind: SymbolKind,
}

/// What a symbol of the base names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// Code.
    Function,
    /// Data or a plain label.
    Other,
}

impl fmt::Display for BaseSymbol<'_> {
    /// The name by which payloads refer to it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            out.write_str(self.name)
        } else {
            write!(out, "{}#{}", self.file, self.name)
        }
    }
}

/// Why a base has no usable symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SymbolsError {
    /// The image is not readable as ELF.
    #[error("the base image cannot be read: {0}")]
    Elf(ElfError),
    /// It has no named symbols.
    #[error("the base image has no symbols; load it unstripped")]
    None,
    /// Memory for the table could not be had.
    #[error("out of memory")]
    OutOfMemory,
}

/// Result of a lookup by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'base> {
    /// Exactly one address.
    Found(BaseSymbol<'base>),
    /// Several addresses; the two lowest.
    Ambiguous(u64, u64),
    /// Nothing.
    Missing,
}

/// Index over the base's symbols.
#[derive(Debug)]
pub struct Symbols<'base> {
    /// By name, then file, then address.
    by_name: Vec<BaseSymbol<'base>>,
    /// By address.
    by_address: Vec<BaseSymbol<'base>>,
}

impl<'base> Symbols<'base> {
    /// Reads the symbol table of the base's ELF file.
    ///
    /// # Errors
    /// See [`SymbolsError`].
    pub fn from_elf(file: &'base [u8]) -> Result<Self, SymbolsError> {
        let symbols = elf::symbols_of(file).map_err(SymbolsError::Elf)?;
        let mut list = Vec::new();
        list.try_reserve_exact(symbols.len())
            .map_err(|_| SymbolsError::OutOfMemory)?;
        let mut current_file = "";
        for symbol in &symbols {
            if symbol.kind == STT_FILE {
                current_file = symbol.name;
                continue;
            }
            if symbol.name.is_empty()
                || symbol.kind == STT_SECTION
                || !matches!(symbol.place, Place::Section(_) | Place::Absolute)
            {
                continue;
            }
            list.push(BaseSymbol {
                file: if symbol.binding == STB_LOCAL {
                    current_file
                } else {
                    ""
                },
                name: symbol.name,
                address: symbol.value,
                size: symbol.size,
                kind: if symbol.kind == STT_FUNC {
                    SymbolKind::Function
                } else {
                    SymbolKind::Other
                },
            });
        }
        Symbols::new(list)
    }

    /// An index over `list`, in any order.
    ///
    /// # Errors
    /// [`SymbolsError::None`] for an empty list, [`SymbolsError::OutOfMemory`].
    pub fn new(list: Vec<BaseSymbol<'base>>) -> Result<Self, SymbolsError> {
        if list.is_empty() {
            return Err(SymbolsError::None);
        }
        let mut by_name = list;
        let mut by_address = Vec::new();
        by_address
            .try_reserve_exact(by_name.len())
            .map_err(|_| SymbolsError::OutOfMemory)?;
        by_address.extend_from_slice(&by_name);
        by_name.sort_unstable_by(|a, b| key(a).cmp(&key(b)).then(a.address.cmp(&b.address)));
        by_address.sort_unstable_by_key(|symbol| symbol.address);
        Ok(Symbols {
            by_name,
            by_address,
        })
    }

    /// Looks up `name`: `file#name` for a local, otherwise a global or a local without a file.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Lookup<'base> {
        let (file, name) = name.rsplit_once('#').unwrap_or(("", name));
        let start = self
            .by_name
            .partition_point(|symbol| key(symbol).cmp(&(name, file)) == Ordering::Less);
        let matches = self
            .by_name
            .iter()
            .skip(start)
            .take_while(|symbol| key(symbol) == (name, file));
        let mut found: Option<BaseSymbol<'base>> = None;
        for symbol in matches {
            match found {
                Some(first) if first.address != symbol.address => {
                    return Lookup::Ambiguous(first.address, symbol.address);
                }
                // Of aliases at one address, one with a size is preferred.
                Some(first) if first.size >= symbol.size => {}
                _ => found = Some(*symbol),
            }
        }
        found.map_or(Lookup::Missing, Lookup::Found)
    }

    /// The same for a deny list.
    pub(crate) fn named(&self, name: &str) -> Named {
        match self.lookup(name) {
            Lookup::Found(BaseSymbol { address, size, .. }) => Named::Once { address, size },
            Lookup::Ambiguous(..) => Named::Several,
            Lookup::Missing => Named::Nowhere,
        }
    }

    /// The function that covers `address`: the nearest one at or below it whose size reaches it.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<BaseSymbol<'base>> {
        let end = self
            .by_address
            .partition_point(|symbol| symbol.address <= address);
        self.by_address
            .iter()
            .take(end)
            .rev()
            .take_while(|symbol| symbol.kind != SymbolKind::Function || covers(symbol, address))
            .find(|symbol| symbol.kind == SymbolKind::Function)
            .copied()
    }
}

fn key<'base>(symbol: &BaseSymbol<'base>) -> (&'base str, &'base str) {
    (symbol.name, symbol.file)
}

fn covers(symbol: &BaseSymbol<'_>, address: u64) -> bool {
    address
        .checked_sub(symbol.address)
        .is_some_and(|offset| offset < symbol.size)
}

#[cfg(test)]
mod tests {
    use super::{BaseSymbol, Lookup, SymbolKind, Symbols};
    use alloc::string::ToString;
    use alloc::vec;

    fn symbol<'a>(file: &'a str, name: &'a str, address: u64, size: u64) -> BaseSymbol<'a> {
        BaseSymbol {
            file,
            name,
            address,
            size,
            kind: SymbolKind::Function,
        }
    }

    #[test]
    fn locals_are_found_under_their_file_alone() {
        let symbols = Symbols::new(vec![
            symbol("a.c", "f", 0x10, 4),
            symbol("b.c", "f", 0x20, 4),
            symbol("", "g", 0x30, 0),
            symbol("", "g", 0x30, 8),
        ])
        .unwrap();
        assert_eq!(
            symbols.lookup("a.c#f"),
            Lookup::Found(symbol("a.c", "f", 0x10, 4))
        );
        assert_eq!(
            symbols.lookup("b.c#f"),
            Lookup::Found(symbol("b.c", "f", 0x20, 4))
        );
        assert_eq!(symbols.lookup("f"), Lookup::Missing);
        assert_eq!(symbols.lookup("g"), Lookup::Found(symbol("", "g", 0x30, 8)));
        assert_eq!(symbol("a.c", "f", 0, 0).to_string(), "a.c#f");
    }

    #[test]
    fn a_name_of_two_addresses_is_ambiguous() {
        let symbols = Symbols::new(vec![
            symbol("a.c", "f", 0x20, 4),
            symbol("a.c", "f", 0x10, 4),
        ])
        .unwrap();
        assert_eq!(symbols.lookup("a.c#f"), Lookup::Ambiguous(0x10, 0x20));
    }

    #[test]
    fn an_address_belongs_to_the_function_that_covers_it() {
        let symbols =
            Symbols::new(vec![symbol("", "f", 0x10, 4), symbol("", "g", 0x20, 4)]).unwrap();
        assert_eq!(symbols.function_at(0x13).map(|s| s.name), Some("f"));
        assert_eq!(symbols.function_at(0x14), None);
        assert_eq!(symbols.function_at(0x20).map(|s| s.name), Some("g"));
        assert_eq!(symbols.function_at(0xf), None);
    }

    #[test]
    fn of_aliases_the_one_with_a_size_is_found_wherever_it_stands() {
        for sizes in [[0, 8], [8, 0]] {
            let list = sizes.map(|size| symbol("", "g", 0x30, size)).to_vec();
            let symbols = Symbols::new(list).unwrap();
            assert_eq!(symbols.lookup("g"), Lookup::Found(symbol("", "g", 0x30, 8)));
        }
    }

    #[test]
    fn labels_inside_a_function_do_not_hide_it_and_the_order_does_not_matter() {
        let label = |address| BaseSymbol {
            kind: SymbolKind::Other,
            ..symbol("", "label", address, 0)
        };
        let symbols = Symbols::new(vec![
            symbol("", "h", 0x30, 0x10),
            label(0x18),
            symbol("", "f", 0x10, 0x10),
            label(0x14),
            symbol("", "g", 0x20, 0x10),
        ])
        .unwrap();
        for (address, name) in [(0x1c, "f"), (0x14, "f"), (0x20, "g"), (0x3f, "h")] {
            let found = symbols.function_at(address).map(|symbol| symbol.name);
            assert_eq!(found, Some(name), "{address:#x}");
        }
        assert_eq!(symbols.function_at(0x40), None);
    }
}
