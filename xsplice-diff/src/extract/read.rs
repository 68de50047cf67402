//! Reads an extract from its ELF form.

use std::borrow::Cow;

use xsplice_abi::Profile;

use super::description::{DESCRIPTION, Description, ORIGINALS, RecordDescription, VERSION};
use super::{Constant, Extract, OriginalItem, Place, Record, Relocation, Section, SymbolIndex};
use crate::read::error::{DiffError, ExtractError, ObjectProblem, Part};
use crate::read::object::{ElfObject, SectionId};

/// Reads what [`write`](super::write()) wrote.
///
/// # Errors
///
/// When `bytes` are not an extract or were damaged.
pub fn read(bytes: &[u8]) -> Result<Extract<'_>, ExtractError> {
    let object = ElfObject::parse("extract", bytes).map_err(not_an_object)?;
    let own = |name: &'static str| {
        object
            .sections()
            .find(|(_, section)| section.name == name && !section.is_allocated())
            .map(|(_, section)| section.data)
            .ok_or(ExtractError::Missing { section: name })
    };
    let description: Description<'_> =
        serde_json::from_slice(own(DESCRIPTION)?).map_err(|error| ExtractError::Metadata {
            section: DESCRIPTION,
            detail: error.to_string(),
        })?;
    if description.version != VERSION {
        return Err(ExtractError::Metadata {
            section: DESCRIPTION,
            detail: format!("it is of version {}, not {VERSION}", description.version),
        });
    }
    let abi = Profile::by_name(&description.abi)
        .ok_or_else(|| ExtractError::Abi(description.abi.clone()))?;
    let originals = own(ORIGINALS)?;
    let mut extract_index = vec![None; object.symbols.len()];
    for (index, elf) in description.elf_symbols.iter().enumerate() {
        let slot = usize::try_from(*elf)
            .ok()
            .and_then(|elf| extract_index.get_mut(elf));
        *slot.ok_or(dangling(DESCRIPTION, 0))? = Some(SymbolIndex(index));
    }
    let mut sections = Vec::new();
    for (id, _) in object
        .sections()
        .filter(|(_, section)| section.is_allocated())
    {
        sections.push(section(&object, id, &extract_index)?);
    }
    for symbol in &description.symbols {
        if let Place::Section { section, value } = symbol.place
            && sections
                .get(section.0)
                .is_none_or(|section: &Section<'_>| value > section.size)
        {
            return Err(dangling(DESCRIPTION, 0));
        }
    }
    let symbols = description.symbols;
    let is_sound = |symbol: SymbolIndex| {
        let meant = symbols.get(symbol.0);
        meant.is_some_and(|meant| meant.otherwise.is_none())
    };
    let mut otherwise = symbols.iter().filter_map(|symbol| symbol.otherwise);
    if !otherwise.all(|one| is_sound(one.symbol)) {
        return Err(dangling(DESCRIPTION, 0));
    }
    let records = description
        .records
        .into_iter()
        .map(|one| record(one, originals, symbols.len()))
        .collect::<Result<_, _>>()?;
    let constants = description
        .constants
        .into_iter()
        .map(|one| {
            if one.symbol.0 >= symbols.len() {
                return Err(dangling(DESCRIPTION, 0));
            }
            let original = OriginalItem {
                bytes: one.bytes,
                ..one.original
            };
            Ok(Constant {
                symbol: one.symbol,
                original,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Extract {
        object: description.object,
        machine: object.machine,
        abi,
        sections,
        symbols,
        records,
        constants,
        accepted: description.accepted,
        compiled_by: description.compiled_by,
    })
}

fn not_an_object(error: DiffError) -> ExtractError {
    match error.problem {
        ObjectProblem::Malformed { part, detail } => ExtractError::Malformed { part, detail },
        other => ExtractError::Malformed {
            part: Part::Header,
            detail: other.to_string(),
        },
    }
}

fn dangling(section: &str, offset: u64) -> ExtractError {
    ExtractError::Dangling {
        section: section.to_owned(),
        offset,
    }
}

fn section<'data>(
    object: &ElfObject<'data>,
    id: SectionId,
    extract_index: &[Option<SymbolIndex>],
) -> Result<Section<'data>, ExtractError> {
    let header = object.section(id);
    let relocations = object
        .relocations_of(id)
        .iter()
        .map(|relocation| {
            let symbol = usize::try_from(relocation.symbol.0)
                .ok()
                .and_then(|symbol| *extract_index.get(symbol)?);
            Ok(Relocation {
                offset: relocation.offset,
                kind: relocation.kind,
                symbol: symbol.ok_or_else(|| dangling(header.name, relocation.offset))?,
                addend: relocation.addend,
            })
        })
        .collect::<Result<_, ExtractError>>()?;
    Ok(Section {
        name: header.name.to_owned(),
        kind: header.kind,
        flags: header.flags,
        alignment: header.alignment,
        entry_size: header.entry_size,
        size: header.size,
        data: Cow::Borrowed(header.data),
        relocations,
    })
}

fn record<'data>(
    one: RecordDescription<'data>,
    originals: &'data [u8],
    symbols: usize,
) -> Result<Record<'data>, ExtractError> {
    let (at, length) = one.bytes;
    let bytes = usize::try_from(at)
        .ok()
        .zip(
            at.checked_add(length)
                .and_then(|end| usize::try_from(end).ok()),
        )
        .and_then(|(from, to)| originals.get(from..to))
        .ok_or_else(|| dangling(ORIGINALS, at))?;
    if one.symbol.0 >= symbols {
        return Err(dangling(DESCRIPTION, 0));
    }
    let mut original = one.original;
    original.bytes = Cow::Borrowed(bytes);
    Ok(Record {
        name: one.name,
        file: one.file,
        binding: one.binding,
        symbol: one.symbol,
        old_size: one.old_size,
        new_size: one.new_size,
        address_taken: one.address_taken,
        aliases: one.aliases,
        original,
    })
}
