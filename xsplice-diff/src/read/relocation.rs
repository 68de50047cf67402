//! What relocations point at.
//!
//! An assembler may write the same target in several ways: by its symbol, or by the symbol of its
//! section and a distance; and the addend of a PC-relative field counts from the field while the
//! processor counts from the end of the instruction. Here every relocation is resolved once, to the
//! item that is meant. Later phases compare neither symbols nor addends.

use iced_x86::{Decoder, DecoderOptions, Instruction};
use xsplice_abi::machine::{OF_RUNTIME, UseInPayload};

use xsplice_abi::tables::BugFrame;

use crate::read::items::{Extents, GapReference, ItemId, Items};
use crate::read::object::{ElfObject, Relocation, SectionId, SymbolId, SymbolPlace};
use crate::read::section_class::SectionClass;
use crate::read::special_sections::{Line, Origin, Table, entry_bytes};

/// What a relocation points at. Offsets keep the addend as written (without line numbers): for a
/// PC-relative field, `offset + bias` is the byte that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An item of this object.
    Item {
        /// The item.
        item: ItemId,
        /// From the item's start, in bytes.
        offset: i64,
        /// What to add to reach the byte that is meant.
        bias: i32,
    },
    /// A symbol that is not defined in a section of this object.
    Symbol {
        /// The symbol.
        symbol: SymbolId,
        /// Added to its value.
        addend: i64,
    },
    /// A section without items.
    Section {
        /// The section.
        section: SectionId,
        /// From its start, in bytes.
        offset: i64,
    },
}

impl Target {
    /// The item, if it is one.
    #[must_use]
    pub fn item(self) -> Option<ItemId> {
        match self {
            Target::Item { item, .. } => Some(item),
            _ => None,
        }
    }

    /// Offset in the item of the byte that is meant; 0 for what is no item.
    #[must_use]
    pub fn meant(self) -> i64 {
        match self {
            Target::Item { offset, bias, .. } => offset.saturating_add(i64::from(bias)),
            _ => 0,
        }
    }
}

/// Whether the field counts from its own place.
#[must_use]
pub fn is_pc_relative(kind: u32) -> bool {
    OF_RUNTIME
        .relocation(kind)
        .is_some_and(|known| known.field.is_relative())
}

/// Whether included code or data may have a relocation of this type: the linker can handle it.
#[must_use]
pub fn is_known(kind: u32) -> bool {
    OF_RUNTIME
        .relocation(kind)
        .is_some_and(|known| known.use_in_payload == UseInPayload::Carried)
}

/// The type under which two fields that are computed alike compare equal: where nothing is
/// linked dynamically, a call through the PLT is a plain call.
#[must_use]
pub fn comparable(kind: u32) -> u32 {
    OF_RUNTIME
        .relocation(kind)
        .map_or(kind, |known| known.alike)
}

/// psABI name of a relocation type, for people.
#[must_use]
pub fn kind_name(kind: u32) -> String {
    match OF_RUNTIME.relocation(kind) {
        Some(known) => format!("{}{}", OF_RUNTIME.relocation_prefix, known.name),
        None => format!("relocation type {kind}"),
    }
}

/// Resolves every relocation of `object`, in the order of [`ElfObject::relocations`].
#[must_use]
pub fn resolve(object: &ElfObject<'_>, items: &Items) -> Vec<Target> {
    let mut targets = Vec::with_capacity(object.relocations.len());
    let mut reader = BiasReader::default();
    for (id, section) in by_place(object) {
        let class = items.class_of(id);
        let table = TableFields::new(object, id, class);
        for relocation in &object.relocations[section.relocations.clone()] {
            targets.push(resolve_one(
                object,
                items,
                id,
                table.as_ref(),
                relocation,
                &mut reader,
            ));
        }
    }
    targets
}

/// Sections that have relocations, in the order of the flat array.
fn by_place<'o, 'data>(
    object: &'o ElfObject<'data>,
) -> impl Iterator<Item = (SectionId, &'o crate::read::object::Section<'data>)> {
    object
        .sections()
        .filter(|(_, section)| !section.relocations.is_empty())
}

fn resolve_one<'data>(
    object: &ElfObject<'data>,
    items: &Items,
    source: SectionId,
    table: Option<&TableFields>,
    relocation: &Relocation,
    reader: &mut BiasReader<'data>,
) -> Target {
    let symbol = object.symbol(relocation.symbol);
    let addend = table.map_or(relocation.addend, |table| table.addend(relocation));
    let SymbolPlace::Section(section) = symbol.place else {
        return Target::Symbol {
            symbol: relocation.symbol,
            addend,
        };
    };
    let value = value(symbol.value).saturating_add(addend);
    let named = (!symbol.is_section())
        .then(|| items.of_symbol(relocation.symbol))
        .flatten();
    let bias = if !is_pc_relative(relocation.kind) {
        0
    } else if let Some(table) = table {
        table.bias(relocation)
    } else if object.section(source).is_executable() {
        if named.is_some() {
            // Decoding is left out for named targets, where the bias is nearly always four bytes.
            FIELD_BYTES
        } else {
            let start = items
                .at(source, relocation.offset)
                .map_or(0, |item| items.item(item).offset);
            reader.bias(object, source, start, relocation.offset)
        }
    } else {
        let start = items.referenced_at_or_below(source, relocation.offset);
        let start = start.filter(|_| items.class_of(source).is_constant());
        start.map_or(0, |start| {
            i32::try_from(relocation.offset - start).map_or(0, |distance| -distance)
        })
    };
    let item = named.or_else(|| {
        let meant = value.saturating_add(i64::from(bias));
        items.at(section, u64::try_from(meant).unwrap_or(0))
    });
    match item {
        Some(item) => Target::Item {
            item,
            offset: value.saturating_sub(self::value(items.item(item).offset)),
            bias,
        },
        None => Target::Section {
            section,
            offset: value,
        },
    }
}

/// An offset in a section; sections of allocated sections are below `i64::MAX` by the object
/// reader's check, symbols lie inside.
fn value(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// References into sections that symbols do not cover from end to end, by section and offset.
pub(crate) fn gap_references(
    object: &ElfObject<'_>,
    classes: &[SectionClass],
    extents: &Extents,
) -> Vec<GapReference> {
    let has_gaps: Vec<bool> = object
        .sections
        .iter()
        .zip(0..)
        .map(|(section, id)| {
            section.is_allocated()
                && !matches!(
                    classes[id as usize],
                    SectionClass::Content | SectionClass::Ignored(_)
                )
                && !extents.cover(object, SectionId(id))
        })
        .collect();
    let mut references = Vec::new();
    let mut reader = BiasReader::default();
    for (source, section) in by_place(object) {
        let class = classes[source.0 as usize];
        if matches!(class, SectionClass::Ignored(_)) {
            continue;
        }
        let table = TableFields::new(object, source, class);
        for relocation in &object.relocations[section.relocations.clone()] {
            let symbol = object.symbol(relocation.symbol);
            let SymbolPlace::Section(target) = symbol.place else {
                continue;
            };
            let unnamed = symbol.is_section() || symbol.name.starts_with(".L");
            if !unnamed || !has_gaps[target.0 as usize] {
                continue;
            }
            // Jump tables lead into functions, and the start of the functions' own tables is not
            // known yet.
            if table.is_none()
                && is_pc_relative(relocation.kind)
                && !section.is_executable()
                && object.section(target).is_executable()
            {
                continue;
            }
            let start = match &table {
                Some(table) => relocation.offset - relocation.offset % table.entry_bytes,
                None => extents.start_of(source, relocation.offset),
            };
            let addend = table
                .as_ref()
                .map_or(relocation.addend, |table| table.addend(relocation));
            let bias = match &table {
                _ if !is_pc_relative(relocation.kind) => 0,
                Some(table) => table.bias(relocation),
                None if section.is_executable() => {
                    reader.bias(object, source, start, relocation.offset)
                }
                None => 0,
            };
            let meant = value(symbol.value)
                .saturating_add(addend)
                .saturating_add(i64::from(bias));
            if let Ok(offset) = u64::try_from(meant)
                && offset < object.section(target).size
            {
                let from = table
                    .as_ref()
                    .and_then(|table| table.owner(object, classes, extents, source, relocation))
                    .unwrap_or_else(|| match table {
                        Some(_) => (source, start),
                        None => referrer(classes, extents, source, relocation.offset),
                    });
                references.push(GapReference {
                    section: target,
                    offset,
                    from,
                });
            }
        }
    }
    references.sort_unstable_by_key(|one| (one.section, one.offset, one.from));
    references.dedup_by_key(|one| (one.section, one.offset, one.from));
    references
}

/// A key that is equal for all references from one function: the offset at which the function
/// begins. Special code without a symbol is not cut into pieces yet, so there each place is its own
/// key.
fn referrer(
    classes: &[SectionClass],
    extents: &Extents,
    section: SectionId,
    offset: u64,
) -> (SectionId, u64) {
    let is_special = classes[section.0 as usize] == SectionClass::SpecialCode;
    if is_special && extents.holding(section, offset).is_none() {
        return (section, offset);
    }
    (section, extents.start_of(section, offset))
}

/// How the fields of a special section are to be read.
struct TableFields {
    table: &'static Table,
    entry_bytes: u64,
}

impl TableFields {
    fn new(object: &ElfObject<'_>, section: SectionId, class: SectionClass) -> Option<TableFields> {
        let SectionClass::Special(table) = class else {
            return None;
        };
        Some(TableFields {
            table,
            entry_bytes: entry_bytes(object, section, table).unwrap_or(1),
        })
    }

    /// The start of the function that the entry around `relocation` is for. Two entries of one
    /// function must not cut its special code in two; entries of two functions must.
    fn owner(
        &self,
        object: &ElfObject<'_>,
        classes: &[SectionClass],
        extents: &Extents,
        source: SectionId,
        relocation: &Relocation,
    ) -> Option<(SectionId, u64)> {
        let entry = relocation.offset - relocation.offset % self.entry_bytes;
        let field = entry.checked_add(self.table.owner)?;
        let range = object.relocation_range(source, field..field.checked_add(1)?);
        let owner = object.relocations.get(range)?.first()?;
        let symbol = object.symbol(owner.symbol);
        let SymbolPlace::Section(section) = symbol.place else {
            return None;
        };
        let at = value(symbol.value)
            .saturating_add(self.addend(owner))
            .saturating_add(i64::from(self.bias(owner)));
        let offset = u64::try_from(at).ok()?;
        Some(referrer(classes, extents, section, offset))
    }

    /// The addend without the line number that some tables hide in it.
    fn addend(&self, relocation: &Relocation) -> i64 {
        match self.table.line {
            Line::TopBits if relocation.offset % self.entry_bytes < BugFrame::LINE_FIELDS_BYTES => {
                BugFrame::part_addend(relocation.addend).0
            }
            _ => relocation.addend,
        }
    }

    fn bias(&self, relocation: &Relocation) -> i32 {
        match self.table.origin {
            Origin::Field => 0,
            Origin::Entry => {
                i32::try_from(relocation.offset % self.entry_bytes).map_or(0, |offset| -offset)
            }
        }
    }
}

/// Size of a 32-bit field: the distance from a PC-relative field to the end of its instruction,
/// when no immediate follows.
const FIELD_BYTES: i32 = 4;

/// Finds the distance from a PC-relative field to the end of its instruction. Fields of one
/// function must be queried in the order of their offsets: then each function is decoded at most
/// once, and only when an immediate may follow the field.
#[derive(Default)]
struct BiasReader<'data> {
    open: Option<(SectionId, u64, Decoder<'data>)>,
    instruction: Instruction,
}

impl<'data> BiasReader<'data> {
    fn bias(
        &mut self,
        object: &ElfObject<'data>,
        section: SectionId,
        start: u64,
        field: u64,
    ) -> i32 {
        let data = object.section(section).data;
        let Ok(at) = usize::try_from(field) else {
            return FIELD_BYTES;
        };
        if no_immediate_follows(&data[..at.min(data.len())]) {
            return FIELD_BYTES;
        }
        // The instruction that was decoded last may hold this field as well.
        let from_here_on = self.instruction.ip();
        let is_open = self
            .open
            .as_ref()
            .is_some_and(|(id, from, _)| *id == section && *from == start && from_here_on <= field);
        if !is_open {
            let from = usize::try_from(start).unwrap_or(usize::MAX);
            let code = data.get(from..).unwrap_or_default();
            let decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
            self.open = Some((section, start, decoder));
            self.instruction = Instruction::default();
            self.instruction.set_ip(start);
        }
        let Some((_, _, decoder)) = &mut self.open else {
            return FIELD_BYTES;
        };
        while decoder.can_decode() && decoder.ip() <= field {
            decoder.decode_out(&mut self.instruction);
        }
        let end = self.instruction.next_ip();
        match end.checked_sub(field).map(i32::try_from) {
            Some(Ok(bias @ FIELD_BYTES..=15)) if !self.instruction.is_invalid() => bias,
            _ => FIELD_BYTES,
        }
    }
}

/// Whether a PC-relative field is the operand of a near call or jump, and so ends the instruction.
/// A displacement may be followed by an immediate, and only the decoder can tell: the same opcode
/// byte takes one in some opcode maps and none in others.
fn no_immediate_follows(before: &[u8]) -> bool {
    let [.., opcode, last] = before else {
        return false;
    };
    let is_rip_relative = last & 0b1100_0111 == 0b0000_0101;
    !is_rip_relative && (matches!(last, 0xe8 | 0xe9) || (*opcode == 0x0f && last & 0xf0 == 0x80))
}

#[cfg(test)]
mod tests {
    use super::no_immediate_follows;

    #[test]
    fn only_the_operands_of_branches_are_known_to_end_their_instruction() {
        assert!(no_immediate_follows(&[0x90, 0xe8]));
        assert!(no_immediate_follows(&[0x0f, 0x84]));
        // lea x(%rip), %rdi
        assert!(!no_immediate_follows(&[0x48, 0x8d, 0x3d]));
        // cmpl $imm, x(%rip); movb $imm, x(%rip)
        assert!(!no_immediate_follows(&[0x83, 0x3d]));
        assert!(!no_immediate_follows(&[0xc6, 0x05]));
        // vextracti128 $imm, %ymm0, x(%rip), whose opcode is that of a cmp without one
        assert!(!no_immediate_follows(&[0xc4, 0xe3, 0x7d, 0x39, 0x05]));
    }
}
