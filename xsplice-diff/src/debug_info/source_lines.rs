//! Which source files an object was compiled from, and which lines became which of its functions
//! and data.
//!
//! A patch changes lines, a payload holds functions. This module relates the two: the line table
//! says which code a line became; the declarations in the debug information say which datum a line
//! declares, and in which function's body a line without code is.

use std::collections::{BTreeMap, BTreeSet};

use gimli::{
    Attribute, AttributeValue, DwTag, Dwarf, DwarfSections, EndianSlice, LittleEndian, Operation,
    UnitRef,
};
use object::elf;
use xsplice_abi::profile;
use xsplice_abi::section::{ACCEPT, HOOKS};

use crate::debug_info::debug_sections::{DebugSections, place};
use crate::debug_info::line_table::{file_paths, may_name};
use crate::read::error::DiffError;
use crate::read::items::ItemKind;
use crate::read::object::{ElfObject, SectionId};
use crate::read::side::Build;

type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// Whether an object has the debug information to tell where its code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineInformation {
    /// It has a line table.
    Present,
    /// It was compiled without `-g`, or stripped.
    Missing,
    /// Its debug sections are compressed in a way that is not read.
    Compressed,
    /// It holds neither code nor data.
    Needless,
}

/// What one object tells about the files of interest.
#[derive(Clone, Debug)]
pub struct SourceLines {
    /// Whether it has the information.
    pub information: LineInformation,
    /// Those of the files of interest that it was compiled from.
    pub files: Vec<CompiledFile>,
}

/// A file that an object was compiled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledFile {
    /// Its path as the debug information has it, folders joined, `.` and `..` resolved.
    pub path: String,
    /// Lines that became code, by line.
    pub code: Vec<CodeLine>,
    /// Declarations at file scope, by line.
    pub declarations: Vec<Declaration>,
}

/// Code of one line in one function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodeLine {
    /// From 1.
    pub line: u64,
    /// The function, by its symbol; a place in its section where there is none.
    pub item: String,
    /// Whether instructions came from it, or the table only mentions it.
    pub weight: Weight,
}

/// What a row of the line table means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A statement begins here, but its instructions belong to another line.
    Mention,
    /// Instructions came from the line.
    Instructions,
}

/// A declaration at file scope, or of a static variable inside a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// From 1.
    pub line: u64,
    /// What kind.
    pub kind: DeclarationKind,
    /// The name in the source.
    pub name: String,
    /// The symbols that hold it: its own, where the object has one, and those of the functions
    /// that it was inlined into.
    pub items: Vec<String>,
}

/// Kinds of declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclarationKind {
    /// A function; its body follows.
    Function,
    /// A variable of file scope; its initial value follows.
    Datum,
    /// A static variable inside a function.
    LocalDatum,
    /// A variable of a function that has no address of its own.
    Automatic,
    /// A type.
    Type,
}

/// Reads what an object says about the files for which `wanted` holds. `wanted` is asked with
/// paths that may lack leading folders, and must then say whether the file may be one. `names` are
/// the last names of all such paths.
///
/// # Errors
///
/// When the object is not a well-formed x86-64 object. Unreadable debug information counts as
/// missing.
pub fn source_lines(
    name: &str,
    bytes: &[u8],
    names: &[&str],
    wanted: impl Fn(&str) -> bool,
) -> Result<SourceLines, DiffError> {
    let object = ElfObject::parse(name, bytes)?;
    let information = information(&object);
    let mut lines = SourceLines {
        information,
        files: Vec::new(),
    };
    // Most objects have nothing to do with the patch. The file names in the header of the line
    // table show that cheaply.
    if information != LineInformation::Present
        || !may_name(&object, names)
        || !file_paths(&object, names).iter().any(|p| wanted(p))
    {
        return Ok(lines);
    }
    let build = Build::cut(object, &profile::XSPLICE);
    let debug = DebugSections::new(&build.object);
    let sections = DwarfSections::load(|id| {
        let contents = is_read(id).then(|| debug.contents(id.name())).flatten();
        Ok::<_, std::convert::Infallible>(contents.unwrap_or_default())
    });
    let Ok(sections) = sections;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
    let mut reader = Reader {
        build: &build,
        names,
        wanted: &wanted,
        files: Vec::new(),
    };
    reader.read(&dwarf);
    for file in &mut reader.files {
        file.code.sort();
        file.code.dedup();
        file.declarations.sort_by_key(|declared| declared.line);
        file.declarations.dedup();
    }
    lines.files = reader.files;
    Ok(lines)
}

/// Whether a section of debug information is needed to tell where lines went.
fn is_read(id: gimli::SectionId) -> bool {
    matches!(
        id,
        gimli::SectionId::DebugAbbrev
            | gimli::SectionId::DebugAddr
            | gimli::SectionId::DebugInfo
            | gimli::SectionId::DebugLine
            | gimli::SectionId::DebugLineStr
            | gimli::SectionId::DebugStr
            | gimli::SectionId::DebugStrOffsets
    )
}

/// What a macro of `xsplice.h` leaves in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A pointer to a hook; the payload's table is made of them.
    Hook,
    /// An accept mark: it is read, and not included in a payload.
    Accept,
}

/// The functions and data that an object defines.
#[derive(Clone, Debug, Default)]
pub struct Defined {
    /// The names of all.
    pub names: BTreeSet<String>,
    /// Those that the author's macros have left.
    pub marks: BTreeMap<String, Mark>,
}

/// Names of the functions and data that an object defines.
///
/// # Errors
///
/// When it is not a well-formed x86-64 object.
pub fn defined(name: &str, bytes: &[u8]) -> Result<Defined, DiffError> {
    let build = Build::new(name, bytes, &profile::XSPLICE)?;
    let mut defined = Defined::default();
    for item in build
        .items
        .ids()
        .filter(|item| !build.name(*item).is_empty())
    {
        let name = build.name(item);
        defined.names.insert(name.to_owned());
        if let Some(mark) = mark(build.section_name(item)) {
            defined.marks.insert(name.to_owned(), mark);
        }
    }
    Ok(defined)
}

fn mark(section: &str) -> Option<Mark> {
    let prefixes = profile::ALL.into_iter().map(|profile| profile.prefix);
    let rest = prefixes
        .filter_map(|prefix| section.strip_prefix(prefix))
        .next()?;
    if rest.starts_with(HOOKS) {
        Some(Mark::Hook)
    } else {
        rest.starts_with(ACCEPT).then_some(Mark::Accept)
    }
}

fn information(object: &ElfObject<'_>) -> LineInformation {
    let table = object
        .sections()
        .find(|(_, section)| section.name == ".debug_line" && !section.is_allocated());
    match table {
        Some((_, section))
            if section.flags & elf::SHF_COMPRESSED.0 != 0
                && DebugSections::new(object).contents(".debug_line").is_none() =>
        {
            LineInformation::Compressed
        }
        Some((_, section)) if !section.data.is_empty() => LineInformation::Present,
        _ => {
            let holds_something = object
                .sections()
                .any(|(_, section)| section.is_allocated() && section.size > 0);
            if holds_something {
                LineInformation::Missing
            } else {
                LineInformation::Needless
            }
        }
    }
}

struct Reader<'a, 'data> {
    build: &'a Build<'data>,
    names: &'a [&'a str],
    wanted: &'a dyn Fn(&str) -> bool,
    files: Vec<CompiledFile>,
}

/// For each file number of a unit: its index in [`Reader::files`], if the file is wanted.
type FileMap = Vec<Option<usize>>;

impl Reader<'_, '_> {
    /// Reads every unit; a malformed unit is read up to the error.
    fn read(&mut self, dwarf: &Dwarf<Slice<'_>>) {
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            let Ok(unit) = dwarf.unit(header) else {
                continue;
            };
            let unit = UnitRef::new(dwarf, &unit);
            let files = self.file_map(&unit);
            if files.iter().all(Option::is_none) {
                continue;
            }
            self.read_rows(&unit, &files);
            let _ = self.read_declarations(&unit, &files);
        }
    }

    fn file_map<'d>(&mut self, unit: &UnitRef<'_, Slice<'d>>) -> FileMap {
        let Some(program) = &unit.line_program else {
            return Vec::new();
        };
        let header = program.header();
        let text = |value: AttributeValue<Slice<'d>>| {
            let text = unit.attr_string(value).ok()?;
            Some(text.to_string_lossy().into_owned())
        };
        let home = unit
            .comp_dir
            .map(|folder| folder.to_string_lossy().into_owned())
            .unwrap_or_default();
        // Numbers start at 1 up to version 4, at 0 from version 5 on.
        let count = u64::try_from(header.file_names().len()).unwrap_or(0);
        (0..=count)
            .map(|number| {
                let file = header.file(number)?;
                let name = text(file.path_name()).filter(|name| is_last(self.names, name))?;
                let folder = file.directory(header).and_then(text).unwrap_or_default();
                let path = normalised(&join(&home, &join(&folder, &name)));
                (self.wanted)(&path).then(|| self.file(path))
            })
            .collect()
    }

    fn file(&mut self, path: String) -> usize {
        if let Some(known) = self.files.iter().position(|file| file.path == path) {
            return known;
        }
        self.files.push(CompiledFile {
            path,
            code: Vec::new(),
            declarations: Vec::new(),
        });
        self.files.len() - 1
    }

    fn read_rows(&mut self, unit: &UnitRef<'_, Slice<'_>>, files: &FileMap) {
        let Some(program) = unit.line_program.clone() else {
            return;
        };
        let mut rows = program.rows();
        // The code of a row ends where the next row begins.
        let mut open: Option<(u64, u64, usize)> = None;
        while let Ok(Some((_, row))) = rows.next_row() {
            if let Some((address, line, file)) = open.take() {
                let weight = if row.address() > address {
                    Weight::Instructions
                } else {
                    Weight::Mention
                };
                if let Some(item) = self.item_at(address) {
                    self.files[file].code.push(CodeLine { line, item, weight });
                }
            }
            if row.end_sequence() {
                continue;
            }
            let file = usize::try_from(row.file_index())
                .ok()
                .and_then(|number| *files.get(number)?);
            open = file
                .zip(row.line())
                .map(|(file, line)| (row.address(), line.get(), file));
        }
    }

    /// What a person calls the function or datum at an address of the debug information.
    fn item_at(&self, address: u64) -> Option<String> {
        let (section, offset) = place(address)?;
        self.place_name(section, offset)
    }

    fn place_name(&self, section: SectionId, offset: u64) -> Option<String> {
        let known = usize::try_from(section.0).ok()? < self.build.object.sections.len();
        if !known {
            return None;
        }
        let item = self.build.items.at(section, offset)?;
        let is_padding = self.build.items.item(item).kind == ItemKind::Gap
            && self.build.items.item(item).size == 0;
        (!is_padding).then(|| self.build.shown(item))
    }

    fn read_declarations(
        &mut self,
        unit: &UnitRef<'_, Slice<'_>>,
        files: &FileMap,
    ) -> gimli::Result<()> {
        /// Depth of entries at file scope: the unit itself has depth 0.
        const FILE_SCOPE: isize = 1;

        // A function that is inlined is declared once; its copies refer to the declaration by its
        // offset in the unit.
        let mut declared: Vec<(usize, usize, usize)> = Vec::new();
        let mut copies: Vec<(usize, String)> = Vec::new();
        let mut around: Option<String> = None;
        let mut entries = unit.entries_raw(None)?;
        let mut attributes = Vec::new();
        while !entries.is_empty() {
            let (offset, depth) = (entries.next_offset(), entries.next_depth());
            let Some(form) = entries.read_abbreviation()? else {
                continue;
            };
            let tag = form.tag();
            let kind = kind_of(tag, depth == FILE_SCOPE);
            let is_copy = matches!(
                tag,
                gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine
            );
            // Most entries are members, parameters and pointers.
            if kind.is_none() && !is_copy {
                entries.skip_attributes(form.attributes())?;
                continue;
            }
            entries.read_attributes(form.attributes(), &mut attributes)?;
            let value_of = |name| {
                let mut all = attributes.iter();
                let found = all.find(|attribute: &&Attribute<_>| attribute.name() == name);
                found.map(Attribute::value)
            };
            if tag == gimli::DW_TAG_subprogram {
                let start = value_of(gimli::DW_AT_low_pc);
                let start = start.and_then(|value| unit.attr_address(value).ok()?);
                around = start.and_then(|address| self.item_at(address));
            }
            if is_copy
                && let Some(AttributeValue::UnitRef(origin)) =
                    value_of(gimli::DW_AT_abstract_origin)
                && let Some(item) = &around
            {
                copies.push((origin.0, item.clone()));
            }
            let Some(kind) = kind else {
                continue;
            };
            let number = |name| {
                let value = value_of(name)?;
                value.udata_value().or(match value {
                    AttributeValue::FileIndex(index) => Some(index),
                    _ => None,
                })
            };
            let file = number(gimli::DW_AT_decl_file)
                .and_then(|number| usize::try_from(number).ok())
                .and_then(|number| *files.get(number)?);
            let (Some(file), Some(line)) = (file, number(gimli::DW_AT_decl_line)) else {
                continue;
            };
            let name = value_of(gimli::DW_AT_name)
                .and_then(|value| unit.attr_string(value).ok())
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let item = match kind {
                DeclarationKind::Function => {
                    value_of(gimli::DW_AT_low_pc).and_then(|value| unit.attr_address(value).ok()?)
                }
                DeclarationKind::Datum | DeclarationKind::LocalDatum => {
                    value_of(gimli::DW_AT_location).and_then(|value| address_of(unit, value))
                }
                DeclarationKind::Type | DeclarationKind::Automatic => None,
            }
            .and_then(|address| self.item_at(address));
            let kind = match kind {
                // Variables in registers and on the stack belong to the code.
                DeclarationKind::LocalDatum if item.is_none() => DeclarationKind::Automatic,
                kind => kind,
            };
            let declarations = &mut self.files[file].declarations;
            declared.push((offset.0, file, declarations.len()));
            declarations.push(Declaration {
                line,
                kind,
                name,
                items: item.into_iter().collect(),
            });
        }
        self.add_copies(&declared, copies);
        Ok(())
    }

    /// Adds the functions that hold copies of inlined ones to the declarations of these. `declared`
    /// are the offset of each declaration, its file, and which of that file's it is.
    fn add_copies(&mut self, declared: &[(usize, usize, usize)], copies: Vec<(usize, String)>) {
        for (origin, item) in copies {
            // Entries are read in the order of their offsets.
            let Ok(at) = declared.binary_search_by_key(&origin, |(offset, _, _)| *offset) else {
                continue;
            };
            let (_, file, index) = declared[at];
            let items = &mut self.files[file].declarations[index].items;
            if !items.contains(&item) {
                items.push(item);
            }
        }
    }
}

fn kind_of(tag: DwTag, at_file_scope: bool) -> Option<DeclarationKind> {
    match tag {
        gimli::DW_TAG_variable if !at_file_scope => Some(DeclarationKind::LocalDatum),
        gimli::DW_TAG_variable => Some(DeclarationKind::Datum),
        gimli::DW_TAG_subprogram if at_file_scope => Some(DeclarationKind::Function),
        gimli::DW_TAG_structure_type
        | gimli::DW_TAG_union_type
        | gimli::DW_TAG_enumeration_type
        | gimli::DW_TAG_typedef
            if at_file_scope =>
        {
            Some(DeclarationKind::Type)
        }
        _ => None,
    }
}

/// The address of a variable that has a fixed one.
fn address_of(unit: &UnitRef<'_, Slice<'_>>, location: AttributeValue<Slice<'_>>) -> Option<u64> {
    let AttributeValue::Exprloc(expression) = location else {
        return None;
    };
    match expression.operations(unit.encoding()).next().ok()?? {
        Operation::Address { address } => Some(address),
        Operation::AddressIndex { index } => unit.address(index).ok(),
        _ => None,
    }
}

/// Whether the last name of a path is among `names`.
pub(crate) fn is_last(names: &[&str], path: &str) -> bool {
    let last = path
        .rsplit('/')
        .find(|part| !part.is_empty() && *part != ".");
    // `..` takes the name in front of it along: what is left is for the whole path to tell.
    last.is_none_or(|last| last == ".." || names.contains(&last))
}

/// A path that is relative to a folder.
pub(crate) fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') || folder.is_empty() {
        path.to_owned()
    } else {
        format!("{folder}/{path}")
    }
}

/// Resolves `.` and `..` by the names alone.
pub(crate) fn normalised(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{join, normalised};

    #[test]
    fn paths_are_joined_and_resolved() {
        assert_eq!(
            normalised(&join("/b/xen", "./common/x.c")),
            "/b/xen/common/x.c"
        );
        assert_eq!(
            normalised(&join("/b/xen/arch", "../include/x.h")),
            "/b/xen/include/x.h"
        );
        assert_eq!(normalised(&join("/b", "/usr/x.h")), "/usr/x.h");
        assert_eq!(normalised(&join(".", "f.c")), "f.c");
        assert_eq!(normalised("../../x.c"), "../../x.c");
        assert_eq!(normalised("/../x.c"), "/x.c");
    }
}
