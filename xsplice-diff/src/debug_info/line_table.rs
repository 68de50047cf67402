//! Which source line each instruction of an object came from, by `.debug_line`.
//!
//! [`crate::debug_info::debug_sections`] gives each section addresses of its own.

use std::cell::LazyCell;

use gimli::{DebugLineOffset, EndianSlice, LittleEndian};

use crate::debug_info::debug_sections::{DebugSections, address, is_compressed};
use crate::debug_info::source_lines::{is_last, join, normalised};
use crate::read::object::{ElfObject, SectionId};
use serde::{Deserialize, Serialize};

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLine {
    /// The file, as it was named to the compiler.
    pub file: String,
    /// From 1.
    pub line: u64,
}

type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// Bytes of the length field of a line program itself.
const LENGTH_BYTES: usize = 4;

/// A range of code from one source line.
#[derive(Clone, Copy, Debug)]
struct Row {
    address: u64,
    /// 0 ends a sequence.
    line: u64,
    file: u32,
}

/// The line table of one object.
#[derive(Debug)]
pub struct LineTable {
    /// By address; among equal ones in program order.
    rows: Vec<Row>,
    files: Vec<String>,
}

impl LineTable {
    /// Reads the table; `None` when there is none, or none that can be read.
    #[must_use]
    pub fn new(object: &ElfObject<'_>) -> Option<LineTable> {
        let sections = DebugSections::new(object);
        let lines = sections.contents(".debug_line")?;
        let line_strings = sections.contents(".debug_line_str").unwrap_or_default();
        let strings = sections.contents(".debug_str").unwrap_or_default();
        let mut table = LineTable {
            rows: Vec::new(),
            files: Vec::new(),
        };
        let section = gimli::DebugLine::new(&lines, LittleEndian);
        let mut offset = 0;
        while offset < lines.len() {
            let Ok(program) = section.program(DebugLineOffset(offset), 8, None, None) else {
                break;
            };
            let next = program.header().unit_length().checked_add(LENGTH_BYTES)?;
            table.read_program(program, &line_strings, &strings);
            offset = offset.checked_add(next)?;
        }
        if table.rows.is_empty() {
            return None;
        }
        table.rows.sort_by_key(|row| row.address);
        Some(table)
    }

    fn read_program(
        &mut self,
        program: gimli::IncompleteLineProgram<Slice<'_>>,
        line_strings: &[u8],
        strings: &[u8],
    ) {
        let first_file = self.files.len();
        // DWARF 5 counts files from 0, earlier versions from 1.
        let counts_from = u64::from(program.header().version() < 5);
        for file in program.header().file_names() {
            self.files
                .push(file_name(file.path_name(), line_strings, strings).unwrap_or_default());
        }
        let mut rows = program.rows();
        while let Ok(Some((_, row))) = rows.next_row() {
            let file = row
                .file_index()
                .checked_sub(counts_from)
                .and_then(|file| usize::try_from(file).ok()?.checked_add(first_file))
                .and_then(|file| u32::try_from(file).ok())
                .unwrap_or(u32::MAX);
            let line = if row.end_sequence() {
                0
            } else {
                row.line().map_or(0, std::num::NonZero::get)
            };
            self.rows.push(Row {
                address: row.address(),
                line,
                file,
            });
        }
    }

    /// Every line that the table gives for the instruction at an offset of a section.
    pub fn lines_at(&self, section: SectionId, offset: u64) -> impl Iterator<Item = u64> {
        self.rows_at(section, offset)
            .iter()
            .map(|row| row.line)
            .filter(|line| *line != 0)
    }

    /// The line that the instruction at an offset of a section comes from.
    #[must_use]
    pub fn source(&self, section: SectionId, offset: u64) -> Option<SourceLine> {
        let row = self
            .rows_at(section, offset)
            .iter()
            .rfind(|row| row.line != 0)?;
        let file = self.files.get(usize::try_from(row.file).ok()?)?;
        Some(SourceLine {
            file: file.clone(),
            line: row.line,
        })
    }

    /// The rows of the address, or those of the nearest address below it.
    fn rows_at(&self, section: SectionId, offset: u64) -> &[Row] {
        let (Some(start), Some(address)) = (address(section, 0), address(section, offset)) else {
            return &[];
        };
        let end = self.rows.partition_point(|row| row.address <= address);
        let Some(last) = self.rows[..end].last() else {
            return &[];
        };
        if last.address < start {
            return &[];
        }
        let start = self.rows[..end].partition_point(|row| row.address < last.address);
        &self.rows[start..end]
    }
}

fn file_name(
    name: gimli::AttributeValue<Slice<'_>>,
    line_strings: &[u8],
    strings: &[u8],
) -> Option<String> {
    let at = |table: &[u8], offset: usize| {
        let bytes = table.get(offset..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    match name {
        gimli::AttributeValue::String(name) => Some(name.to_string_lossy().into_owned()),
        gimli::AttributeValue::DebugLineStrRef(offset) => at(line_strings, offset.0),
        gimli::AttributeValue::DebugStrRef(offset) => at(strings, offset.0),
        _ => None,
    }
}

/// Whether the headers of an object's line table may name a file with one of these last names. This
/// is asked of every object, so that nothing is unpacked, copied or relocated for it: where an
/// offset leads is not known, and a name counts as named when it is among the strings at all.
pub(crate) fn may_name(object: &ElfObject<'_>, names: &[&str]) -> bool {
    let finders: Vec<_> = names.iter().map(memchr::memmem::Finder::new).collect();
    let has_one = |bytes: &[u8]| finders.iter().any(|name| name.find(bytes).is_some());
    let in_sections = |name: &str| {
        let mut sections = object.sections().filter(|(_, one)| one.name == name);
        sections.any(|(_, one)| is_compressed(one) || has_one(one.data))
    };
    let (line_strings, strings) = (
        LazyCell::new(|| in_sections(".debug_line_str")),
        LazyCell::new(|| in_sections(".debug_str")),
    );
    let is_one = |name: gimli::AttributeValue<Slice<'_>>| match name {
        gimli::AttributeValue::String(name) => has_one(name.slice()),
        gimli::AttributeValue::DebugLineStrRef(_) => *line_strings,
        gimli::AttributeValue::DebugStrRef(_) => *strings,
        _ => true,
    };
    let mut tables = object
        .sections()
        .filter(|(_, one)| one.name == ".debug_line");
    tables.any(|(_, table)| {
        if is_compressed(table) {
            return true;
        }
        let section = gimli::DebugLine::new(table.data, LittleEndian);
        let mut offset = 0;
        while offset < table.data.len() {
            let Ok(program) = section.program(DebugLineOffset(offset), 8, None, None) else {
                return true;
            };
            let header = program.header();
            if header
                .file_names()
                .iter()
                .any(|file| is_one(file.path_name()))
            {
                return true;
            }
            let next = header.unit_length().checked_add(LENGTH_BYTES);
            let Some(next) = next.and_then(|bytes| offset.checked_add(bytes)) else {
                return true;
            };
            offset = next;
        }
        false
    })
}

/// Paths of the files that the headers of an object's line table name and whose last name is among
/// `names`. Up to DWARF 4 they leave out the folder of the compilation, so leading folders may be
/// missing.
pub(crate) fn file_paths(object: &ElfObject<'_>, names: &[&str]) -> Vec<String> {
    let sections = DebugSections::new(object);
    let Some(lines) = sections.contents(".debug_line") else {
        return Vec::new();
    };
    let line_strings = sections.contents(".debug_line_str").unwrap_or_default();
    let strings = sections.contents(".debug_str").unwrap_or_default();
    let section = gimli::DebugLine::new(&lines, LittleEndian);
    let mut paths = Vec::new();
    let mut offset = 0;
    while let Ok(program) = section.program(DebugLineOffset(offset), 8, None, None) {
        let header = program.header();
        let text = |name| file_name(name, &line_strings, &strings);
        // From DWARF 5 on the first folder is that of the compilation.
        let home = (header.version() >= 5)
            .then(|| header.directory(0).and_then(text))
            .flatten()
            .unwrap_or_default();
        for file in header.file_names() {
            let name = text(file.path_name()).unwrap_or_default();
            if !is_last(names, &name) {
                continue;
            }
            let folder = file.directory(header).and_then(text).unwrap_or_default();
            paths.push(normalised(&join(&home, &join(&folder, &name))));
        }
        let Some(next) = header
            .unit_length()
            .checked_add(LENGTH_BYTES)
            .and_then(|bytes| offset.checked_add(bytes))
            .filter(|next| *next < lines.len())
        else {
            break;
        };
        offset = next;
    }
    paths
}
