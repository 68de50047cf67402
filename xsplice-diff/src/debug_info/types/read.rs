//! Reads the entries of an object's debug information.
//!
//! Places count through `.debug_info` first and, from [`TYPES_START`] on, through `.debug_types`
//! (type units of DWARF 4). A unit that cannot be read is left out as a whole, so that half-read
//! types are never compared; other units are kept.

use gimli::{
    Dwarf, DwarfSections, EndianSlice, EntriesRaw, LittleEndian, UnitRef, UnitSectionOffset,
    UnitType,
};

use super::places::Places;
use super::{Entry, EntryId, Function, Reference, SHARED_UNIT, Types};
use crate::debug_info::debug_sections::DebugSections;
use crate::read::object::ElfObject;

type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// Where places in `.debug_types` begin.
const TYPES_START: u64 = 1 << 62;

/// What an entry takes at least, in all but the smallest units.
const ENTRY_BYTES: usize = 10;

/// The debug sections that types are read from, unpacked and relocated.
#[derive(Debug)]
pub(crate) struct TypeSections(DwarfSections<Vec<u8>>);

impl TypeSections {
    /// Unpacks them; `None` when the object has no debug information, or none that can be read.
    #[must_use]
    pub(crate) fn new(object: &ElfObject<'_>) -> Option<TypeSections> {
        let sections = DebugSections::new(object);
        if !sections.has(".debug_info") {
            return None;
        }
        let load = |id: gimli::SectionId| {
            let wanted = matches!(
                id,
                gimli::SectionId::DebugAbbrev
                    | gimli::SectionId::DebugAddr
                    | gimli::SectionId::DebugInfo
                    | gimli::SectionId::DebugLine
                    | gimli::SectionId::DebugLineStr
                    | gimli::SectionId::DebugRanges
                    | gimli::SectionId::DebugRngLists
                    | gimli::SectionId::DebugStr
                    | gimli::SectionId::DebugStrOffsets
                    | gimli::SectionId::DebugTypes
            );
            let has = wanted && sections.has(id.name());
            // A section that exists but cannot be unpacked makes the rest unreliable.
            if has {
                sections.contents(id.name()).ok_or(())
            } else {
                Ok(Vec::new())
            }
        };
        DwarfSections::load(load).ok().map(TypeSections)
    }

    /// The sections as a reader takes them.
    pub(crate) fn dwarf(&self) -> Dwarf<Slice<'_>> {
        self.0
            .borrow(|section| EndianSlice::new(section, LittleEndian))
    }

    /// Reads all entries; `None` when there are none.
    #[must_use]
    pub(crate) fn read(&self) -> Option<Types<'_>> {
        let dwarf = self.dwarf();
        let mut types = Types::default();
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            read_unit(&dwarf, header, &mut types);
        }
        let mut units = dwarf.type_units();
        while let Ok(Some(header)) = units.next() {
            read_unit(&dwarf, header, &mut types);
        }
        if types.is_empty() {
            return None;
        }
        types.places = Places::new(types.entries.iter().map(|entry| entry.place).collect());
        types.functions.sort_by_key(|function| function.address);
        types.name_types();
        Some(types)
    }
}

fn place(offset: UnitSectionOffset, section: gimli::SectionId) -> u64 {
    let offset = offset.0 as u64;
    match section {
        gimli::SectionId::DebugTypes => offset.saturating_add(TYPES_START),
        _ => offset,
    }
}

/// Reads one unit; leaves `types` as it was when the unit is damaged.
fn read_unit<'d>(
    dwarf: &Dwarf<Slice<'d>>,
    header: gimli::UnitHeader<Slice<'d>>,
    types: &mut Types<'d>,
) {
    let (entries, functions) = (types.entries.len(), types.functions.len());
    if read_entries(dwarf, header, types).is_err() {
        types.entries.truncate(entries);
        types.functions.truncate(functions);
        let kept = |id: &EntryId| id.index() < entries;
        types.variables.retain(|_, id| kept(id));
    }
}

fn read_entries<'d>(
    dwarf: &Dwarf<Slice<'d>>,
    header: gimli::UnitHeader<Slice<'d>>,
    types: &mut Types<'d>,
) -> gimli::Result<()> {
    let section = header.section();
    let unit = dwarf.unit(header)?;
    let unit = unit.unit_ref(dwarf);
    let is_type_unit = matches!(unit.header.type_(), UnitType::Type { .. });
    let number = if is_type_unit {
        SHARED_UNIT
    } else {
        u32::try_from(types.producers.len()).map_err(|_| gimli::Error::TooManyIterations)?
    };
    if let UnitType::Type {
        type_signature,
        type_offset,
    } = unit.header.type_()
    {
        let at = place(type_offset.to_unit_section_offset(&unit.header), section);
        types.signatures.insert(type_signature.0, at);
    }
    // Growing by doubling would copy most entries once more.
    types
        .entries
        .reserve(unit.header.unit_length() / ENTRY_BYTES);
    let mut cursor = unit.entries_raw(None)?;
    let mut open: Vec<(isize, EntryId)> = Vec::new();
    let mut producer = "";
    while !cursor.is_empty() {
        let (offset, depth) = (cursor.next_offset(), cursor.next_depth());
        let Some(form) = cursor.read_abbreviation()? else {
            continue;
        };
        let id = EntryId(
            u32::try_from(types.entries.len()).map_err(|_| gimli::Error::TooManyIterations)?,
        );
        while open.last().is_some_and(|(above, _)| *above >= depth) {
            close(types, open.pop(), id);
        }
        let offset = place(offset.to_unit_section_offset(&unit.header), section);
        let mut read = Entry::new(offset, form.tag());
        let said = attributes(&unit, (&mut cursor, form), section, &mut read)?;
        let mut entry = read;
        entry.parent = open.last().map(|(_, parent)| *parent);
        entry.end = EntryId(id.0 + 1);
        entry.unit = number;
        if entry.parent.is_none() {
            producer = said.producer;
        }
        match entry.tag {
            gimli::DW_TAG_subprogram => types.functions.extend(
                said.addresses
                    .into_iter()
                    .map(|address| Function { address, entry: id }),
            ),
            gimli::DW_TAG_variable if open.len() == 1 && !entry.name.is_empty() => {
                // A definition comes behind its declaration.
                types.variables.insert((number, entry.name), id);
            }
            _ => {}
        }
        types.entries.push(entry);
        open.push((depth, id));
    }
    let end =
        EntryId(u32::try_from(types.entries.len()).map_err(|_| gimli::Error::TooManyIterations)?);
    while let Some(last) = open.pop() {
        close(types, Some(last), end);
    }
    if !is_type_unit {
        types.producers.push(producer);
    }
    Ok(())
}

fn close(types: &mut Types<'_>, entry: Option<(isize, EntryId)>, end: EntryId) {
    if let Some((_, id)) = entry
        && let Some(entry) = types.entries.get_mut(id.index())
    {
        entry.end = end;
    }
}

/// What an entry says of the code, and of what compiled it.
struct Said<'d> {
    addresses: Vec<u64>,
    producer: &'d str,
}

/// Whether an attribute is read: most others say where in the source something is.
fn matters(name: gimli::DwAt) -> bool {
    matches!(
        name,
        gimli::DW_AT_name
            | gimli::DW_AT_type
            | gimli::DW_AT_abstract_origin
            | gimli::DW_AT_specification
            | gimli::DW_AT_signature
            | gimli::DW_AT_byte_size
            | gimli::DW_AT_bit_size
            | gimli::DW_AT_data_member_location
            | gimli::DW_AT_data_bit_offset
            | gimli::DW_AT_bit_offset
            | gimli::DW_AT_const_value
            | gimli::DW_AT_count
            | gimli::DW_AT_upper_bound
            | gimli::DW_AT_encoding
            | gimli::DW_AT_declaration
            | gimli::DW_AT_low_pc
            | gimli::DW_AT_ranges
            | gimli::DW_AT_producer
    )
}

/// Reads what matters of the entry that `cursor` has come to, whose form is known.
fn attributes<'d>(
    unit: &UnitRef<'_, Slice<'d>>,
    (cursor, form): (&mut EntriesRaw<'_, Slice<'d>>, &gimli::Abbreviation),
    section: gimli::SectionId,
    entry: &mut Entry<'d>,
) -> gimli::Result<Said<'d>> {
    let mut producer = "";
    let mut addresses = Vec::new();
    // Bits from the top of a storage unit, as DWARF before version 4 counts bit-fields.
    let mut from_the_top = None;
    let mut forms = form.attributes();
    while let Some((next, rest)) = forms.split_first() {
        if !matters(next.name()) {
            let end = rest.iter().position(|form| matters(form.name()));
            let (skipped, rest) = forms.split_at(1 + end.unwrap_or(rest.len()));
            cursor.skip_attributes(skipped)?;
            forms = rest;
            continue;
        }
        forms = rest;
        let attribute = cursor.read_attribute_inline(*next)?;
        let value = attribute.value();
        match attribute.name() {
            gimli::DW_AT_name => {
                entry.name = str::from_utf8(unit.attr_string(value)?.slice()).unwrap_or("");
            }
            gimli::DW_AT_type => entry.reference = reference(unit, &value, section),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                entry.origin = reference(unit, &value, section);
            }
            gimli::DW_AT_signature => {
                // It means the type in that unit, whether or not it is marked as a declaration.
                entry.origin = reference(unit, &value, section);
                entry.is_declaration = true;
            }
            gimli::DW_AT_byte_size => entry.size_bytes = attribute.udata_value(),
            gimli::DW_AT_bit_size => entry.size_bits = attribute.udata_value(),
            gimli::DW_AT_data_member_location => {
                let bytes = attribute
                    .udata_value()
                    .or_else(|| plus_constant(unit, &value));
                entry.offset_bits = entry
                    .offset_bits
                    .saturating_add(bytes.unwrap_or(0).saturating_mul(8));
            }
            gimli::DW_AT_data_bit_offset => {
                entry.offset_bits = attribute.udata_value().unwrap_or(0);
            }
            gimli::DW_AT_bit_offset => from_the_top = attribute.udata_value(),
            gimli::DW_AT_const_value => {
                entry.value = attribute
                    .udata_value()
                    .map(i128::from)
                    .or_else(|| attribute.sdata_value().map(i128::from));
            }
            gimli::DW_AT_count => entry.count = attribute.udata_value(),
            gimli::DW_AT_upper_bound => {
                // An empty array ends at -1.
                entry.count = attribute
                    .udata_value()
                    .and_then(|last| last.checked_add(1))
                    .filter(|count| *count <= u64::from(u32::MAX));
            }
            gimli::DW_AT_encoding => {
                if let gimli::AttributeValue::Encoding(encoding) = value {
                    entry.encoding = Some(encoding);
                }
            }
            gimli::DW_AT_declaration => {
                entry.is_declaration |= value == gimli::AttributeValue::Flag(true);
            }
            gimli::DW_AT_producer => {
                let name = unit.attr_string(value).ok();
                producer = name.map_or("", |name| str::from_utf8(name.slice()).unwrap_or(""));
            }
            gimli::DW_AT_low_pc => addresses.extend(unit.attr_address(value)?),
            gimli::DW_AT_ranges if entry.tag == gimli::DW_TAG_subprogram => {
                if let Some(mut ranges) = unit.attr_ranges(value)? {
                    while let Some(range) = ranges.next()? {
                        addresses.push(range.begin);
                    }
                }
            }
            _ => {}
        }
    }
    if let (Some(from_the_top), Some(storage), Some(bits)) =
        (from_the_top, entry.size_bytes, entry.size_bits)
    {
        let from_the_bottom = storage
            .saturating_mul(8)
            .saturating_sub(from_the_top)
            .saturating_sub(bits);
        entry.offset_bits = entry.offset_bits.saturating_add(from_the_bottom);
    }
    Ok(Said {
        addresses,
        producer,
    })
}

fn reference(
    unit: &UnitRef<'_, Slice<'_>>,
    value: &gimli::AttributeValue<Slice<'_>>,
    section: gimli::SectionId,
) -> Reference {
    match value {
        gimli::AttributeValue::UnitRef(offset) => {
            Reference::Place(place(offset.to_unit_section_offset(&unit.header), section))
        }
        gimli::AttributeValue::DebugInfoRef(offset) => Reference::Place(offset.0 as u64),
        gimli::AttributeValue::DebugTypesRef(signature) => Reference::Signature(signature.0),
        _ => Reference::None,
    }
}

/// The number in `DW_OP_plus_uconst NUMBER`, as DWARF 2 writes the offset of a member.
fn plus_constant(
    unit: &UnitRef<'_, Slice<'_>>,
    value: &gimli::AttributeValue<Slice<'_>>,
) -> Option<u64> {
    let expression = value.exprloc_value()?;
    let mut operations = expression.operations(unit.encoding());
    match operations.next().ok()?? {
        gimli::Operation::PlusConstant { value } => Some(value),
        _ => None,
    }
}
