//! Finds the code of the functions of a diff in both builds, for listings.
//!
//! A function is known by its name and file in the patched object; its record, its out-of-line
//! parts and its bytes are looked up once for all functions, so that a diff of thousands is
//! listed in linear time.

use std::collections::HashMap;

use object::elf;

use crate::extract::Part;
use crate::extract::{Extract, OriginalItem, OriginalTarget, Place, Record, SymbolIndex};
use crate::report::object_diff::{FunctionChange, ObjectDiff};
use crate::tell::disassembly::{Code, Field, content};
use crate::verdict::kinds::Status;

/// The code of one function.
#[derive(Debug, Default)]
pub struct FunctionCode<'diff> {
    /// Its record in the extract; `None` for a new one.
    pub record: Option<&'diff Record<'diff>>,
    /// Before; `None` for a new function.
    pub old: Option<Code<'diff>>,
    /// After; `None` where the extract does not hold it.
    pub new: Option<Code<'diff>>,
    /// Out-of-line parts, by name.
    pub parts: Vec<PartCode<'diff>>,
}

/// The code of an out-of-line part.
#[derive(Debug)]
pub struct PartCode<'diff> {
    /// Its name.
    pub name: &'diff str,
    /// In the original; empty for a part that was added.
    pub old: Code<'diff>,
    /// In the patched object; empty for a part that was removed.
    pub new: Code<'diff>,
}

/// The code of all functions of a diff.
#[derive(Debug)]
pub struct Codes<'diff> {
    extract: &'diff Extract<'diff>,
    symbols: HashMap<(&'diff str, Option<&'diff str>), SymbolIndex>,
    records: HashMap<SymbolIndex, &'diff Record<'diff>>,
    parts: HashMap<SymbolIndex, Vec<&'diff Part<'diff>>>,
}

impl<'diff> Codes<'diff> {
    /// Indexes a diff; `None` when nothing is included.
    #[must_use]
    pub fn new(diff: &'diff ObjectDiff<'diff>) -> Option<Codes<'diff>> {
        let extract = diff.extract.as_ref()?;
        let is_function = |kind: u8| kind == elf::STT_FUNC.0;
        let mut codes = Codes {
            extract,
            symbols: HashMap::new(),
            records: extract
                .records
                .iter()
                .map(|record| (record.symbol, record))
                .collect(),
            parts: HashMap::new(),
        };
        for (index, symbol) in extract.symbols.iter().enumerate() {
            if is_function(symbol.kind) && matches!(symbol.place, Place::Section { .. }) {
                let key = (symbol.name.as_str(), symbol.file.as_deref());
                codes.symbols.entry(key).or_insert(SymbolIndex(index));
            }
        }
        for part in &diff.parts {
            codes.parts.entry(part.record).or_default().push(part);
        }
        Some(codes)
    }

    /// The code of one function of the diff.
    #[must_use]
    pub fn of(&self, function: &FunctionChange) -> FunctionCode<'diff> {
        let key = (function.name.as_str(), function.file.as_deref());
        let Some(symbol) = self.symbols.get(&key) else {
            return FunctionCode::default();
        };
        let record = self
            .records
            .get(symbol)
            .copied()
            .filter(|_| function.status == Status::Changed);
        let parts = record.and_then(|_| self.parts.get(symbol));
        FunctionCode {
            record,
            old: record.map(|record| original_code(&record.original)),
            new: symbol_code(self.extract, *symbol),
            parts: parts
                .into_iter()
                .flatten()
                .map(|part| self.part(part))
                .collect(),
        }
    }

    fn part(&self, part: &'diff Part<'diff>) -> PartCode<'diff> {
        let new = part
            .patched
            .and_then(|symbol| symbol_code(self.extract, symbol));
        PartCode {
            name: &part.name,
            old: part
                .original
                .as_ref()
                .map(original_code)
                .unwrap_or_default(),
            new: new.unwrap_or_default(),
        }
    }
}

/// The code of an item of the original.
fn original_code<'item>(item: &'item OriginalItem<'_>) -> Code<'item> {
    let fields = item.relocations.iter().map(|relocation| Field {
        offset: relocation.offset,
        kind: relocation.kind,
        target: original_target(&relocation.target),
        addend: relocation.addend,
    });
    Code {
        bytes: &item.bytes,
        fields: fields.collect(),
    }
}

fn original_target(target: &OriginalTarget<'_>) -> String {
    match target {
        OriginalTarget::Symbol { name, .. } => name.clone(),
        OriginalTarget::Content { bytes, .. } => content(bytes),
        OriginalTarget::SectionOffset {
            section,
            offset,
            near,
        } => match near {
            Some((name, _, 0)) => name.clone(),
            Some((name, _, distance)) => format!("{name}+{distance:#x}"),
            None => format!("{section}+{offset:#x}"),
        },
        OriginalTarget::Absolute(number) => format!("{number:#x}"),
    }
}

/// The code of a symbol of an extract; `None` when the extract does not hold it.
fn symbol_code<'diff>(extract: &'diff Extract<'_>, symbol: SymbolIndex) -> Option<Code<'diff>> {
    let symbol = extract.symbols.get(symbol.0)?;
    let Place::Section { section, value } = symbol.place else {
        return None;
    };
    let size = symbol.size;
    let section = extract.sections.get(section.0)?;
    let end = value.checked_add(size)?;
    let range = usize::try_from(value).ok()?..usize::try_from(end).ok()?;
    let bytes = section.data.get(range)?;
    let fields = section
        .relocations
        .iter()
        .filter(|relocation| (value..end).contains(&relocation.offset))
        .map(|relocation| Field {
            offset: relocation.offset - value,
            kind: relocation.kind,
            target: included_target(extract, relocation.symbol),
            addend: relocation.addend,
        });
    Some(Code {
        bytes,
        fields: fields.collect(),
    })
}

fn included_target(extract: &Extract<'_>, index: SymbolIndex) -> String {
    let Some(symbol) = extract.symbols.get(index.0) else {
        return "?".to_owned();
    };
    if !symbol.name.is_empty() {
        return symbol.name.clone();
    }
    match symbol.place {
        Place::Section { section, value } => extract
            .sections
            .get(section.0)
            .and_then(|section| section.data.get(usize::try_from(value).ok()?..))
            .map_or_else(|| "?".to_owned(), content),
        Place::Absolute(number) => format!("{number:#x}"),
        Place::Base | Place::Undefined => "?".to_owned(),
    }
}
