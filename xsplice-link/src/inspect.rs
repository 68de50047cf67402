//! One page about a payload, for a person and as JSON: what it replaces, what it depends on, what
//! it brings along and what it asks of the loader.

use std::fmt::{self, Write as _};

use serde::Serialize;
use xsplice_abi::signature;
use xsplice_runtime::view::{Section, SectionId, View};

use crate::error::LinkError;
use crate::facts::{Facts, Value};
use crate::read;
use crate::relocate::type_name;

/// Schema of the JSON form.
const SCHEMA: u32 = 1;

/// Everything that `inspect` says. Field order is the order of the page and of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Version of this structure.
    pub schema: u32,
    /// Size of the file in bytes.
    pub size: usize,
    /// `--abi` name.
    pub abi: String,
    /// The payload's own name.
    pub name: Option<String>,
    /// Its own build-id.
    pub build_id: Option<String>,
    /// What it stacks on.
    pub depends: Option<String>,
    /// The base that it is for.
    pub base_id: Option<String>,
    /// `key=value` lines of `.modinfo`.
    pub metadata: Vec<(String, String)>,
    /// Functions that it replaces.
    pub records: Vec<RecordLine>,
    /// Hooks.
    pub hooks: Vec<HookLine>,
    /// Tables that the loader walks.
    pub tables: Vec<TableLine>,
    /// Symbols that the loader looks up.
    pub undefined: Vec<String>,
    /// Symbols that later payloads may use.
    pub exports: Vec<String>,
    /// What it defines for itself.
    pub symbols: Vec<SymbolLine>,
    /// Sections in memory.
    pub sections: Vec<SectionLine>,
    /// How many relocations of each type.
    pub relocations: Vec<(String, usize)>,
    /// Whether a signature follows the payload.
    pub signed: bool,
}

/// One replaced function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordLine {
    /// Name in the base.
    pub name: Option<String>,
    /// Where the old function is.
    pub old: String,
    /// In bytes.
    pub old_size: u32,
    /// Where the new function is in the payload.
    pub new: String,
    /// In bytes.
    pub new_size: u32,
    /// Expected first bytes, in hexadecimal.
    pub expect: String,
}

/// The hooks of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookLine {
    /// Kind, as in the section's name.
    pub kind: &'static str,
    /// What is called.
    pub functions: Vec<String>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableLine {
    /// The section.
    pub name: String,
    /// Number of entries.
    pub entries: u64,
}

/// One defined symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SymbolLine {
    /// Its name.
    pub name: String,
    /// The section that holds it.
    pub section: String,
    /// In bytes.
    pub size: u64,
}

/// One section in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionLine {
    /// Its name.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// `text`, `rw` or `ro`: the region that it is loaded into.
    pub region: &'static str,
    /// In bytes.
    pub alignment: u64,
}

/// Inspects a payload; `path` is what messages call it.
///
/// # Errors
/// [`LinkError::Payload`] when it is no ELF file that can be read.
pub fn inspect(path: &str, file: &[u8]) -> Result<Inspection, LinkError> {
    let view = read::read(file).map_err(|source| LinkError::Payload {
        path: path.to_owned(),
        source,
    })?;
    Ok(Inspection::new(file, &Facts::new(&view)))
}

impl Inspection {
    fn new(file: &[u8], facts: &Facts<'_, '_>) -> Inspection {
        let view = facts.view;
        let owned = |id: &Option<crate::build_id::BuildId>| id.as_ref().map(ToString::to_string);
        Inspection {
            schema: SCHEMA,
            size: file.len(),
            abi: facts.abi.name.to_owned(),
            name: facts.metadata_value("name").map(str::to_owned),
            build_id: owned(&facts.build_id),
            depends: owned(&facts.depends),
            base_id: owned(&facts.base_id),
            metadata: facts
                .metadata
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            records: record_lines(facts),
            hooks: facts
                .hooks
                .iter()
                .map(|hook| HookLine {
                    kind: hook.kind.name(),
                    functions: hook
                        .functions
                        .iter()
                        .map(|&one| place(facts, one))
                        .collect(),
                })
                .collect(),
            tables: facts
                .tables
                .iter()
                .map(|table| TableLine {
                    name: table.name.to_owned(),
                    entries: table.size_bytes / table.entry_bytes,
                })
                .collect(),
            undefined: facts.undefined().map(|one| one.name.to_owned()).collect(),
            exports: facts
                .defined()
                .filter(|symbol| symbol.binding != object::elf::STB_LOCAL.0)
                .map(|symbol| symbol.name.to_owned())
                .collect(),
            symbols: facts
                .defined()
                .map(|symbol| SymbolLine {
                    name: symbol.name.to_owned(),
                    section: match symbol.place {
                        xsplice_runtime::view::Place::Section(id) => section_name(view, id),
                        _ => String::new(),
                    },
                    size: symbol.size,
                })
                .collect(),
            sections: view
                .sections
                .iter()
                .filter(|section| section.is_allocated())
                .map(|section| SectionLine {
                    name: section.name.to_owned(),
                    size: section.size,
                    region: region(section),
                    alignment: section.alignment,
                })
                .collect(),
            relocations: relocation_counts(view),
            signed: file.ends_with(signature::MAGIC),
        }
    }
}

fn record_lines(facts: &Facts<'_, '_>) -> Vec<RecordLine> {
    facts
        .records
        .iter()
        .map(|record| RecordLine {
            name: record.name.map(str::to_owned),
            old: place(facts, record.old),
            old_size: record.old_size,
            new: match record.new_symbol {
                Some(symbol) => symbol.to_owned(),
                None => place(facts, record.new),
            },
            new_size: record.new_size,
            expect: record.expect.iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").expect("a string takes everything");
                text
            }),
        })
        .collect()
}

/// The region that a section is loaded into.
pub(crate) fn region(section: &Section<'_>) -> &'static str {
    match (section.is_executable(), section.is_writable()) {
        (true, false) => "text",
        (false, true) => "rw",
        (false, false) => "ro",
        (true, true) => "rwx",
    }
}

fn relocation_counts(view: &View<'_>) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for entry in view.relocations.iter().flat_map(|all| &all.entries) {
        *counts.entry(entry.kind).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .map(|(kind, count)| (type_name(kind).into_owned(), count))
        .collect()
}

fn section_name(view: &View<'_>, id: SectionId) -> String {
    view.section(id)
        .map_or("?", |section| section.name)
        .to_owned()
}

/// A value for people.
pub(crate) fn place(facts: &Facts<'_, '_>, value: Value<'_>) -> String {
    match value {
        Value::Payload { section, offset } => match facts.symbol_at(section, offset) {
            Some(symbol) => symbol.name.to_owned(),
            None => format!("{}+{offset:#x}", section_name(facts.view, section)),
        },
        Value::Named(name, 0) => name.to_owned(),
        Value::Named(name, addend) => format!("{name}{addend:+#x}"),
        Value::Absolute(address) => format!("{address:#x}"),
        Value::Unreadable => "?".to_owned(),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        writeln!(out, "payload   {}", or_none(&self.name))?;
        writeln!(out, "abi       {}", self.abi)?;
        let signed = if self.signed { ", signed" } else { "" };
        writeln!(out, "size      {} bytes{signed}", self.size)?;
        writeln!(out, "build-id  {}", or_none(&self.build_id))?;
        writeln!(out, "stacks on {}", or_none(&self.depends))?;
        writeln!(out, "base      {}", or_none(&self.base_id))?;
        for (key, value) in &self.metadata {
            if !matches!(key.as_str(), "name" | "abi") {
                writeln!(out, "{key:<9} {value}")?;
            }
        }
        heading(out, "replaces", self.records.len())?;
        for record in &self.records {
            writeln!(
                out,
                "  {} at {} ({} bytes) by {} ({} bytes)",
                or_none(&record.name),
                record.old,
                record.old_size,
                record.new,
                record.new_size
            )?;
            if !record.expect.is_empty() {
                writeln!(out, "    expects {}", record.expect)?;
            }
        }
        heading(out, "hooks", self.hooks.len())?;
        for hook in &self.hooks {
            writeln!(out, "  {:<10} {}", hook.kind, hook.functions.join(", "))?;
        }
        heading(out, "tables", self.tables.len())?;
        for table in &self.tables {
            writeln!(out, "  {:<24} {} entries", table.name, table.entries)?;
        }
        heading(out, "needs from the base", self.undefined.len())?;
        for name in &self.undefined {
            writeln!(out, "  {name}")?;
        }
        heading(out, "exports", self.exports.len())?;
        for name in &self.exports {
            writeln!(out, "  {name}")?;
        }
        heading(out, "brings", self.symbols.len())?;
        for symbol in &self.symbols {
            writeln!(
                out,
                "  {:<12} {:>6}  {}",
                symbol.section, symbol.size, symbol.name
            )?;
        }
        heading(out, "sections", self.sections.len())?;
        for section in &self.sections {
            writeln!(
                out,
                "  {:<4} {:>6}  align {:<4} {}",
                section.region, section.size, section.alignment, section.name
            )?;
        }
        heading(out, "relocations", self.relocations.len())?;
        for (name, count) in &self.relocations {
            writeln!(out, "  {name:<18} {count}")?;
        }
        Ok(())
    }
}

/// A heading, unless nothing stands under it.
fn heading(out: &mut fmt::Formatter<'_>, title: &str, count: usize) -> fmt::Result {
    if count == 0 {
        Ok(())
    } else {
        writeln!(out, "\n{title}")
    }
}
