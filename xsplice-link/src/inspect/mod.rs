//! One page about a payload, as text and as JSON: what it replaces, what it depends on, what it
//! contains and what it needs from the loader.

mod code;
mod data;
mod page;
mod places;
mod tables;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use xsplice_abi::hex::Hex;
use xsplice_abi::signature::MAGIC;
use xsplice_diff::tell::disassembly;
use xsplice_runtime::read::signature;
use xsplice_runtime::read::view::{SHT_RELA, SHT_STRTAB, SHT_SYMTAB, Section, SectionId, View};

pub use code::{CodeBlock, InstructionLine};
pub use data::{DataLine, ReferenceLine, WordLine};
pub use tables::EntryLine;

use self::places::Places;
use crate::error::LinkError;
use crate::facts::{Facts, Value};
use crate::layout::type_name;
use crate::read;

/// Everything that `inspect` says. Field order is the order of the page and of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Size of the file in bytes.
    pub size: usize,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
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
    /// Words of the base that it changes in place.
    pub words: Vec<WordLine>,
    /// Hooks.
    pub hooks: Vec<HookLine>,
    /// Tables that the loader walks.
    pub tables: Vec<TableLine>,
    /// Tables that no loader walks, and of which nobody here knows an entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_tables: Vec<UnknownTableLine>,
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
    /// Every byte of its code.
    pub code: Vec<CodeBlock>,
    /// Every byte of its data.
    pub data: Vec<DataLine>,
    /// Every relocation of what is loaded.
    pub references: Vec<ReferenceLine>,
    /// Sections that the loader does not load, but for the tables of an ELF file.
    pub unloaded: Vec<SectionLine>,
    /// Whether a signature follows the payload.
    pub signed: bool,
    /// The signature; `None` also for one that cannot be read.
    pub signature: Option<SignatureLine>,
}

/// The signature behind a payload, as the trailer says; nothing is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureLine {
    /// The signer's name.
    pub signer: String,
    /// The key's id, in hexadecimal.
    pub key_id: String,
    /// How it is signed.
    pub scheme: &'static str,
    /// Size of the signature in bytes.
    pub bytes: usize,
    /// What is signed: the bytes before the trailer.
    pub content_bytes: usize,
    /// SHA-256 of these, in hexadecimal.
    pub content_sha256: String,
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
    /// The instructions that these are, the last perhaps cut.
    pub expect_code: Vec<String>,
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
    /// The entries.
    pub items: Vec<EntryLine>,
}

/// A table of which nobody here knows an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownTableLine {
    /// The section.
    pub name: String,
    /// In bytes.
    pub size: u64,
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
    /// `text`, `rw` or `ro`: the region that it is loaded into; `none` where it is not.
    pub region: &'static str,
    /// In bytes.
    pub alignment: u64,
}

/// Inspects a payload; `path` is what messages call it.
///
/// # Errors
/// [`LinkError::Payload`] when it is no payload that can be read.
pub fn inspect(path: &str, file: &[u8]) -> Result<Inspection, LinkError> {
    let view = read::payload(file).map_err(|source| LinkError::Payload {
        path: path.to_owned(),
        source,
    })?;
    Ok(Inspection::new(file, &Facts::new(&view)))
}

impl Inspection {
    fn new(file: &[u8], facts: &Facts<'_, '_>) -> Inspection {
        let view = facts.view;
        let places = Places::new(facts);
        let code = code::blocks(facts, &places);
        let reader = tables::Reader {
            facts,
            places: &places,
            code: &code,
        };
        let owned = |id: &Option<crate::build_id::BuildId>| id.as_ref().map(ToString::to_string);
        Inspection {
            size: file.len(),
            sha256: hex(&Sha256::digest(file)),
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
            words: data::words(facts, &places),
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
                    items: reader.entries(table),
                })
                .collect(),
            unknown_tables: facts
                .unknown_tables
                .iter()
                .map(|table| UnknownTableLine {
                    name: table.name.to_owned(),
                    size: table.size_bytes,
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
                        xsplice_runtime::read::view::Place::Section(id) => section_name(view, id),
                        _ => String::new(),
                    },
                    size: symbol.size,
                })
                .collect(),
            sections: view
                .sections
                .iter()
                .filter(|section| section.is_allocated())
                .map(section_line)
                .collect(),
            relocations: relocation_counts(view),
            data: data::lines(facts, &places),
            references: data::references(facts, &places),
            unloaded: view
                .sections
                .iter()
                .skip(1)
                .filter(|section| {
                    !section.is_allocated()
                        && !matches!(section.kind, SHT_RELA | SHT_STRTAB | SHT_SYMTAB)
                })
                .map(section_line)
                .collect(),
            signed: file.ends_with(MAGIC),
            signature: signature_line(file),
            code,
        }
    }
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

fn section_line(section: &Section<'_>) -> SectionLine {
    SectionLine {
        name: section.name.to_owned(),
        size: section.size,
        region: region(section),
        alignment: section.alignment,
    }
}

fn signature_line(file: &[u8]) -> Option<SignatureLine> {
    let (content, signature) = signature::split(file).ok()?;
    let signature = signature?;
    Some(SignatureLine {
        signer: String::from_utf8_lossy(signature.signer).into_owned(),
        key_id: hex(signature.key_id),
        // The only one that can be read.
        scheme: "RSA with SHA-256",
        bytes: signature.bytes.len(),
        content_bytes: content.len(),
        content_sha256: hex(&Sha256::digest(content)),
    })
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
            expect: hex(&record.expect),
            expect_code: disassembly::listing(&disassembly::Code {
                bytes: &record.expect,
                fields: Vec::new(),
            })
            .into_iter()
            .map(|line| line.text)
            .collect(),
        })
        .collect()
}

/// The region that a section is loaded into.
pub(crate) fn region(section: &Section<'_>) -> &'static str {
    match (section.is_executable(), section.is_writable()) {
        _ if !section.is_allocated() => "none",
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
