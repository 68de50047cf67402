//! The place of a refusal, and the one way in which it is written.

use std::fmt;

use crate::read::items::ItemId;
use crate::read::side::Build;

/// A place in an object; all empty: the object as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The section.
    pub section: Option<String>,
    /// The symbol.
    pub symbol: Option<String>,
    /// Offset in the section, in bytes.
    pub offset: Option<u64>,
}

impl Place {
    /// Where an item of a build is.
    #[must_use]
    pub fn of(build: &Build<'_>, item: ItemId) -> Place {
        let name = build.name(item);
        Place {
            section: Some(build.section_name(item).to_owned()),
            symbol: (!name.is_empty()).then(|| name.to_owned()),
            offset: Some(build.items.item(item).offset),
        }
    }

    /// A section as a whole.
    #[must_use]
    pub fn section(name: &str) -> Place {
        Place {
            section: Some(name.to_owned()),
            ..Place::default()
        }
    }

    /// A symbol that has no section.
    #[must_use]
    pub fn symbol(name: &str) -> Place {
        Place {
            symbol: Some(name.to_owned()),
            ..Place::default()
        }
    }

    /// The same section, at this offset in bytes.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Place {
        self.offset = Some(offset);
        self
    }

    /// The same, this many bytes further on.
    #[must_use]
    pub(crate) fn plus(mut self, bytes: u64) -> Place {
        self.offset = self.offset.map(|offset| offset.saturating_add(bytes));
        self
    }

    /// Whether it is the object as a whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Place::default()
    }

    /// The name by which it is accepted: its symbol, or its section.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.symbol.as_deref().or(self.section.as_deref())
    }

    /// All names by which it may be accepted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.symbol
            .as_deref()
            .into_iter()
            .chain(self.section.as_deref())
    }
}

/// What follows the name of the object: `:section+0x10 (symbol)`.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(section) = &self.section {
            write!(out, ":{section}")?;
            if let Some(offset) = self.offset {
                write!(out, "+{offset:#x}")?;
            }
        }
        match &self.symbol {
            Some(symbol) => write!(out, " ({symbol})"),
            None => Ok(()),
        }
    }
}
