//! Names of base symbols: how locals are qualified, and which names are ambiguous.
//!
//! Xen's own table and the test kernel's name a local `FILE#name`, where FILE is the `STT_FILE`
//! symbol before it. Two symbols with the same qualified name at different addresses are ambiguous:
//! the loader might take either, so the linker refuses and lists both.

use std::fmt;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::{BaseSymbol, Scope};

/// What stands before the name that a linker leads to a wrapper (`--wrap`).
pub(crate) const WRAPPER: &str = "__wrap_";

/// The name that another one is led to: `__real_NAME` is what NAME was.
pub(crate) fn without_real(name: &str) -> &str {
    name.strip_prefix("__real_").unwrap_or(name)
}

/// Index into [`super::Base::symbols`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolId(pub usize);

/// A symbol's name as the base knows it: `file#name` for a local, bare for a global.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName<'name> {
    /// `STT_FILE` name of a local.
    pub file: Option<&'name str>,
    /// Bare name.
    pub name: &'name str,
}

impl<'name> QualifiedName<'name> {
    /// Splits `file#name`; a name without `#` is bare.
    #[must_use]
    pub fn parse(text: &'name str) -> QualifiedName<'name> {
        match text.rsplit_once('#') {
            Some((file, name)) => QualifiedName {
                file: Some(file),
                name,
            },
            None => QualifiedName {
                file: None,
                name: text,
            },
        }
    }
}

impl fmt::Display for QualifiedName<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file {
            Some(file) => write!(out, "{file}#{}", self.name),
            None => out.write_str(self.name),
        }
    }
}

/// What a name means in the base.
#[derive(Clone, Debug)]
pub enum Lookup<'base, 'data> {
    /// One symbol, or several of this name at one address.
    Found(&'base BaseSymbol<'data>),
    /// Several addresses. Each candidate is one symbol, in symbol-table order.
    Ambiguous(Vec<&'base BaseSymbol<'data>>),
    /// Not in the base.
    Absent,
}

impl<'base, 'data> Lookup<'base, 'data> {
    /// The symbol, when there is exactly one.
    #[must_use]
    pub fn found(self) -> Option<&'base BaseSymbol<'data>> {
        match self {
            Lookup::Found(symbol) => Some(symbol),
            Lookup::Ambiguous(_) | Lookup::Absent => None,
        }
    }
}

/// Symbols by qualified name.
#[derive(Debug)]
pub(super) struct NameIndex<'data> {
    first: HashMap<QualifiedName<'data>, SymbolId>,
    /// Only names with several symbols; all of their symbols, including the first.
    several: HashMap<QualifiedName<'data>, Vec<SymbolId>>,
    /// What stands behind [`WRAPPER`] in a name.
    wrapped: HashSet<&'data str>,
}

impl<'data> NameIndex<'data> {
    pub(super) fn new(symbols: &[BaseSymbol<'data>]) -> NameIndex<'data> {
        let mut index = NameIndex {
            first: HashMap::with_capacity(symbols.len()),
            several: HashMap::new(),
            wrapped: HashSet::new(),
        };
        for (position, symbol) in symbols.iter().enumerate() {
            let name = symbol.qualified();
            index.add(name, SymbolId(position));
            index.wrapped.extend(symbol.name.strip_prefix(WRAPPER));
            // Objects know it as the global that it was.
            if symbol.scope == Scope::Hidden && name.file.is_some() {
                let global = QualifiedName { file: None, ..name };
                index.add(global, SymbolId(position));
            }
        }
        index
    }

    fn add(&mut self, name: QualifiedName<'data>, id: SymbolId) {
        let first = *self.first.entry(name).or_insert(id);
        if first != id {
            let several = self.several.entry(name);
            several.or_insert_with(|| vec![first]).push(id);
        }
    }

    pub(super) fn may_be_wrapped(&self, name: &str) -> bool {
        !self.wrapped.is_empty() && self.wrapped.contains(without_real(name))
    }

    pub(super) fn lookup<'base>(
        &self,
        symbols: &'base [BaseSymbol<'data>],
        name: QualifiedName<'_>,
    ) -> Lookup<'base, 'data> {
        let Some(&SymbolId(first)) = self.first.get(&name) else {
            return Lookup::Absent;
        };
        let first = &symbols[first];
        let Some(ids) = self.several.get(&name) else {
            return Lookup::Found(first);
        };
        let all: Vec<_> = ids.iter().map(|&SymbolId(index)| &symbols[index]).collect();
        if all.iter().all(|symbol| symbol.address == first.address) {
            // A symbol with a size is more useful than a label.
            let best = all.iter().find(|symbol| symbol.size_bytes != 0);
            Lookup::Found(best.copied().unwrap_or(first))
        } else {
            Lookup::Ambiguous(all)
        }
    }
}
