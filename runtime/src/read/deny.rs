//! The deny list, which names text that no payload may replace: its syntax, and the addresses of
//! its lines.
//!
//! A kernel has the list compiled in; `xsplice-build` and `xsplice-link verify` read it from a
//! file. A line is a function, as the base's symbol table names it (locals `file#name`), or a range
//! of text, `START .. END`: from one symbol up to, and without, another. Spaces stand around the
//! dots, as a name may have dots in it. `#` at the start of a line begins a comment.

use alloc::vec::Vec;
use core::ops::Range;

use thiserror::Error;

/// One line of a deny list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied<'list> {
    /// Its number, from 1.
    pub line: usize,
    /// The new text.
    pub what: Text<'list>,
}

/// Text that may not be patched, by the names of symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'list> {
    /// A function.
    Function(&'list str),
    /// All that lies between two symbols.
    Between {
        /// Symbol at the first byte.
        start: &'list str,
        /// Symbol behind the last byte.
        end: &'list str,
    },
}

/// Why a deny list cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// A line with the dots of a range, but not one symbol on either side.
    #[error("{line}: is neither a function nor START .. END, with one symbol on either side")]
    Range {
        /// Its number, from 1.
        line: usize,
    },
    /// Not text.
    #[error("{line}: is not UTF-8")]
    NotText {
        /// Number of the line, from 1.
        line: usize,
    },
    /// Memory for the lines could not be had.
    #[error("out of memory")]
    OutOfMemory,
}

/// Why a line protects nothing on this base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DenyError<'list> {
    /// No symbol of this name.
    #[error(
        "line {line} of the deny list: {name} is not in the base's symbol table; name it as the \
         base does"
    )]
    Unknown {
        /// Number of the line, from 1.
        line: usize,
        /// The name.
        name: &'list str,
    },
    /// Several addresses of this name.
    #[error(
        "line {line} of the deny list: {name} stands for several addresses; qualify it as file#name"
    )]
    Ambiguous {
        /// Number of the line, from 1.
        line: usize,
        /// The name.
        name: &'list str,
    },
    /// A range that ends where it starts, or before.
    #[error("line {line} of the deny list: {end} does not lie above {start}")]
    Empty {
        /// Number of the line, from 1.
        line: usize,
        /// Symbol at the start.
        start: &'list str,
        /// Symbol at the end.
        end: &'list str,
    },
}

/// Result of a lookup by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// One address.
    Once {
        /// The address.
        address: u64,
        /// Size in bytes; 0 when unknown.
        size: u64,
    },
    /// Several addresses.
    Several,
    /// Nothing.
    Nowhere,
}

/// Reads a deny list.
///
/// # Errors
/// See [`ListError`].
pub fn parse(list: &[u8]) -> Result<Vec<Denied<'_>>, ListError> {
    let mut denied = Vec::new();
    for (line, text) in (1..).zip(list.split(|byte| *byte == b'\n')) {
        let text = core::str::from_utf8(text).map_err(|_| ListError::NotText { line })?;
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let what = Text::parse(text).ok_or(ListError::Range { line })?;
        denied.try_reserve(1).map_err(|_| ListError::OutOfMemory)?;
        denied.push(Denied { line, what });
    }
    Ok(denied)
}

impl<'list> Text<'list> {
    fn parse(text: &'list str) -> Option<Text<'list>> {
        if !text.split_ascii_whitespace().any(|word| word == "..") {
            return Some(Text::Function(text));
        }
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(start), Some(".."), Some(end), None) if start != ".." && end != ".." => {
                Some(Text::Between { start, end })
            }
            _ => None,
        }
    }
}

impl<'list> Denied<'list> {
    /// The addresses, by what `lookup` knows of names. A function of unknown size is denied at its
    /// first byte.
    ///
    /// # Errors
    /// See [`DenyError`].
    pub fn addresses(
        &self,
        lookup: impl Fn(&str) -> Named,
    ) -> Result<Range<u64>, DenyError<'list>> {
        let line = self.line;
        let find = |name| match lookup(name) {
            Named::Once { address, size } => Ok((address, size)),
            Named::Several => Err(DenyError::Ambiguous { line, name }),
            Named::Nowhere => Err(DenyError::Unknown { line, name }),
        };
        match self.what {
            Text::Function(name) => {
                let (address, size) = find(name)?;
                Ok(address..address.saturating_add(size.max(1)))
            }
            Text::Between { start, end } => {
                let addresses = find(start)?.0..find(end)?.0;
                if addresses.is_empty() {
                    return Err(DenyError::Empty { line, start, end });
                }
                Ok(addresses)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Denied, DenyError, ListError, Named, Text, parse};

    #[test]
    fn a_line_is_a_function_or_a_range() {
        let list = b"# idle\nidle_loop\n\n  a b.c#x..y \n_start .. a.c#end\r\n";
        let denied = |line, what| Denied { line, what };
        assert_eq!(
            parse(list).unwrap(),
            [
                denied(2, Text::Function("idle_loop")),
                // Files may have spaces in their names, and symbols dots.
                denied(4, Text::Function("a b.c#x..y")),
                denied(
                    5,
                    Text::Between {
                        start: "_start",
                        end: "a.c#end"
                    }
                ),
            ]
        );
    }

    #[test]
    fn half_a_range_is_refused_with_its_line() {
        for half in [
            "a ..",
            ".. b",
            "..",
            "a .. b c",
            "a .. b .. c",
            "a .. ..",
            ".. .. b",
        ] {
            let list = [b"# first\n", half.as_bytes()].concat();
            assert_eq!(parse(&list), Err(ListError::Range { line: 2 }), "{half}");
        }
        assert_eq!(parse(b"a\n\xff\n"), Err(ListError::NotText { line: 2 }));
    }

    #[test]
    fn a_line_that_protects_nothing_is_an_error() {
        let lookup = |name: &str| match name {
            "f" => Named::Once {
                address: 0x10,
                size: 4,
            },
            "end" => Named::Once {
                address: 0x40,
                size: 0,
            },
            "twice" => Named::Several,
            _ => Named::Nowhere,
        };
        let addresses = |list: &'static str| parse(list.as_bytes()).unwrap()[0].addresses(lookup);
        assert_eq!(addresses("f"), Ok(0x10..0x14));
        assert_eq!(addresses("end"), Ok(0x40..0x41));
        assert_eq!(addresses("f .. end"), Ok(0x10..0x40));
        let (line, name) = (1, "twice");
        assert_eq!(addresses("twice"), Err(DenyError::Ambiguous { line, name }));
        let name = "gone";
        assert_eq!(
            addresses("f .. gone"),
            Err(DenyError::Unknown { line, name })
        );
        for (list, start, end) in [("end .. f", "end", "f"), ("f .. f", "f", "f")] {
            assert_eq!(addresses(list), Err(DenyError::Empty { line, start, end }));
        }
    }
}
