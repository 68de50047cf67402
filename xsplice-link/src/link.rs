//! The pipeline of a payload: merge, prove, resolve, relocate, add notes, write.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use object::elf;
use sha1::{Digest as _, Sha1};
use xsplice_abi::hex::Hex;
use xsplice_abi::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, SECTIONS_MAX, SYMBOL_NAME_BYTES_MAX};
use xsplice_abi::profile::BaseNote;
use xsplice_abi::section::modinfo;
use xsplice_abi::{note, section};
use xsplice_diff::extract::{self, Extract, Record};
use xsplice_diff::machine::MachineName;
use xsplice_diff::report::json::PayloadSummary;

use crate::base::{Base, BaseSymbol, Lookup, QualifiedName, Scope, SymbolKind};
use crate::build_id::BuildId;
use crate::error::{LinkError, Refusal, RefusalCode, Refusals};
use crate::layout::record::{self, RecordPlan};
use crate::layout::{Content, Layout, Memory, Section};
use crate::merge::{self, classify, file_names, known_constants};
use crate::options::{BaseProof, LinkOptions, References, StacksOn};
use crate::proof;
use crate::resolve::Resolver;
use crate::resolve::{empty_replacements, relocate};
use crate::write;

/// A linked payload.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its own build-id.
    pub build_id: BuildId,
    /// What it stacks on.
    pub depends: BuildId,
    /// Its records, in file order.
    pub records: Vec<RecordPlan>,
}

/// Links `extracts` against `base`. The order in which they are given does not matter.
///
/// # Errors
/// [`LinkError::Refused`] with every reason why no payload can be made.
pub fn link(
    base: &Base<'_>,
    extracts: &[Extract<'_>],
    options: &LinkOptions,
) -> Result<Payload, LinkError> {
    check_name(&options.name)?;
    check_machines(base, extracts)?;
    let mut refusals = Vec::new();
    let known: Vec<Cow<'_, Extract<'_>>> = extracts
        .iter()
        .map(|extract| match options.proof {
            BaseProof::Required => known_constants::refer_to_base(base, extract),
            BaseProof::Skipped => Cow::Borrowed(extract),
        })
        .map(|extract| file_names::refer_to_base(base, extract))
        .collect();
    let mut ordered: Vec<&Extract<'_>> = known.iter().map(AsRef::as_ref).collect();
    ordered.sort_by(|a, b| a.object.cmp(&b.object));
    check_inputs(base, &ordered, options, &mut refusals);

    let mut layout = Layout::new(base.machine());
    let placement = merge::merge(&ordered, options.abi, &mut layout, &mut refusals);
    check_hooks(&layout, options, &mut refusals);
    let mut resolver = Resolver::new(
        base,
        options,
        &ordered,
        &placement,
        &mut layout,
        &mut refusals,
    );
    let plans = plan_records(
        base,
        &ordered,
        options,
        &mut resolver,
        &mut layout,
        &mut refusals,
    );
    relocate::relocate(
        &ordered,
        &placement,
        &mut resolver,
        options.abi,
        &mut layout,
        &mut refusals,
    );
    drop(resolver);
    empty_replacements::place(&mut layout);
    let does_something = layout.sections.iter().any(|section| {
        let name = &section.name;
        classify::hook_of(name, options.abi).is_some() || classify::is_words(name, options.abi)
    });
    if plans.is_empty() && !does_something && refusals.is_empty() {
        refusals.push(Refusal::new(
            RefusalCode::Nothing,
            "payload",
            "nothing to patch: the extracts hold no function to replace, no hook and no word",
        ));
    }
    Refusals(refusals).into_result()?;

    record::append(&mut layout, options.abi, &plans);
    let depends = append_notes(&mut layout, base, options);
    append_modinfo(&mut layout, &ordered, options);
    write::drop_unused_undefined(&mut layout);
    let written = write::write(&layout)?;
    check_size(&layout, written.bytes.len())?;
    Ok(Payload {
        bytes: written.bytes,
        build_id: written.build_id,
        depends,
        records: plans,
    })
}

impl Payload {
    /// What reports say of it once it is written to `path`.
    #[must_use]
    pub fn summary(&self, path: &Path) -> PayloadSummary {
        let sha1 = Sha1::digest(&self.bytes);
        PayloadSummary {
            path: path.display().to_string(),
            size: self.bytes.len(),
            build_id: self.build_id.to_string(),
            depends: self.depends.to_string(),
            sha1: Hex(&sha1).to_string(),
            functions: self.records.len(),
        }
    }
}

/// The name goes into symbols and metadata, where other characters have a meaning.
fn check_name(name: &str) -> Result<(), LinkError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if !name.is_empty() && name.len() < NAME_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(LinkError::BadName {
        name: name.to_owned(),
    })
}

fn check_machines(base: &Base<'_>, extracts: &[Extract<'_>]) -> Result<(), LinkError> {
    let foreign = extracts
        .iter()
        .find(|extract| extract.machine.e_machine != base.machine().e_machine);
    foreign.map_or(Ok(()), |extract| {
        Err(LinkError::TwoMachines {
            path: base.path().to_owned(),
            machine: MachineName(base.machine().e_machine),
            extract: extract.object.clone(),
            other: MachineName(extract.machine.e_machine),
        })
    })
}

fn check_inputs(
    base: &Base<'_>,
    extracts: &[&Extract<'_>],
    options: &LinkOptions,
    refusals: &mut Vec<Refusal>,
) {
    for extract in extracts {
        if extract.abi.name != options.abi.name {
            refusals.push(Refusal::new(
                RefusalCode::AbiMismatch,
                &extract.object,
                format!(
                    "its extract was made for --abi {}, the payload is for --abi {}",
                    extract.abi.name, options.abi.name
                ),
            ));
        }
    }
    for pair in extracts.windows(2) {
        if pair[0].object == pair[1].object {
            refusals.push(Refusal::new(
                RefusalCode::DuplicateSymbol,
                &pair[0].object,
                "two extracts are of this object; give each once",
            ));
        }
    }
    let structure = options.abi.record_structure;
    let expected = options.abi.record_bytes as u64;
    if let Some(found) = base
        .structure_bytes(structure)
        .filter(|&found| found != expected)
    {
        refusals.push(
            Refusal::new(
                RefusalCode::RecordSize,
                base.path(),
                format!(
                    "its loader has records of {found} bytes, and those of --abi {} have \
                     {expected}; choose the ABI that this image takes",
                    options.abi.name
                ),
            )
            .of(format!("struct {structure}")),
        );
    }
    if options.references == References::Prelinked && base.is_relocatable() {
        refusals.push(Refusal::new(
            RefusalCode::NotPrelinkable,
            base.path(),
            "--prelink needs the addresses that run, and this image is relocated when it boots; \
             link without --prelink",
        ));
    }
}

/// Each kind of hook, merged from all objects, holds as many pointers as it may.
fn check_hooks(layout: &Layout, options: &LinkOptions, refusals: &mut Vec<Refusal>) {
    for section in &layout.sections {
        let Some(kind) = classify::hook_of(&section.name, options.abi) else {
            continue;
        };
        let size_bytes = section.content.size_bytes();
        if !classify::hook_size_is_legal(kind, size_bytes) {
            refusals.push(
                Refusal::new(
                    RefusalCode::BadHook,
                    "payload",
                    format!(
                        "there are {} `{}` hooks, and a payload may have one; let one call the \
                         others",
                        size_bytes / xsplice_abi::hook::POINTER_BYTES,
                        kind.name()
                    ),
                )
                .in_section(&section.name),
            );
        }
    }
}

fn plan_records(
    base: &Base<'_>,
    extracts: &[&Extract<'_>],
    options: &LinkOptions,
    resolver: &mut Resolver<'_, '_>,
    layout: &mut Layout,
    refusals: &mut Vec<Refusal>,
) -> Vec<RecordPlan> {
    let mut plans: Vec<RecordPlan> = Vec::new();
    let mut by_address: BTreeMap<u64, (&str, String)> = BTreeMap::new();
    for (extract_index, extract) in extracts.iter().enumerate() {
        for record in &extract.records {
            let old = match old_function(base, extract, record) {
                Ok(old) => old,
                Err(refusal) => {
                    refusals.push(refusal);
                    continue;
                }
            };
            if options.proof == BaseProof::Required {
                refusals.extend(
                    proof::prove_at(base, &record.original, old.address)
                        .err()
                        .map(|failure| {
                            failure.into_refusal(
                                base,
                                &extract.object,
                                &record.original,
                                &extract.compiled_by,
                            )
                        }),
                );
            }
            let plan = plan_record(
                base,
                extract_index,
                extract,
                record,
                old,
                options,
                resolver,
                layout,
            );
            match plan {
                Ok(plan) => {
                    let here = (extract.object.as_str(), plan.name.clone());
                    if let Some((object, name)) = by_address.insert(old.address, here) {
                        let other = format!("{name} of {object}");
                        refusals.push(shared_address(extract, &plan.name, &other, old.address));
                    } else if let Some(other) = folded(base, record, old) {
                        let other = other.qualified().to_string();
                        refusals.push(shared_address(extract, &plan.name, &other, old.address));
                    }
                    plans.push(plan);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
    }
    plans
}

/// A function at the address of `old` that is not the one of the record under another name: the
/// linker folded identical functions, and a record would replace both.
fn folded<'base, 'data>(
    base: &'base Base<'data>,
    record: &Record<'_>,
    old: &BaseSymbol<'data>,
) -> Option<&'base BaseSymbol<'data>> {
    let is_alias = |other: &BaseSymbol<'_>| {
        record.aliases.iter().any(|(name, file)| {
            // A hidden one has a file in the image and none in the object.
            let is_local = other.scope == Scope::Local;
            name == other.name && (!is_local || file.as_deref() == other.file)
        })
    };
    base.symbols_at(old.address).find(|other| {
        matches!(other.kind, SymbolKind::Function | SymbolKind::Chooser)
            && (other.name, other.file) != (old.name, old.file)
            && !is_alias(other)
    })
}

fn shared_address(extract: &Extract<'_>, name: &str, other: &str, address: u64) -> Refusal {
    Refusal::new(
        RefusalCode::SharedAddress,
        &extract.object,
        format!(
            "{other} is at the same address {address:#x} of the base, and one jump cannot serve \
             both; leave out the object that merely contains the other (a partial link such as \
             built_in.o: --ignore-object), or link the base without folding identical functions"
        ),
    )
    .of(name)
}

/// The base's function that a record replaces.
fn old_function<'base, 'data>(
    base: &'base Base<'data>,
    extract: &Extract<'_>,
    record: &Record<'_>,
) -> Result<&'base BaseSymbol<'data>, Refusal> {
    let name = QualifiedName {
        file: record.file.as_deref(),
        name: &record.name,
    };
    let refused =
        |code, message: String| Refusal::new(code, &extract.object, message).of(name.to_string());
    let old = match base.lookup(name) {
        Lookup::Found(old) => old,
        Lookup::Ambiguous(candidates) => {
            let list: Vec<_> = candidates
                .iter()
                .map(|found| format!("{:#x} ({} bytes)", found.address, found.size_bytes))
                .collect();
            return Err(refused(
                RefusalCode::AmbiguousSymbol,
                format!(
                    "{} has several functions of this name: {}; give the objects distinct FILE \
                     symbols",
                    base.path(),
                    list.join(", ")
                ),
            ));
        }
        Lookup::Absent => {
            return Err(refused(
                RefusalCode::UnresolvedSymbol,
                format!(
                    "{} does not have this function; is the object linked into it, and is it the \
                     build that these objects are of?",
                    base.path()
                ),
            ));
        }
    };
    let is_local = record.binding == elf::STB_LOCAL.0;
    if is_local && old.scope != Scope::Local {
        return Err(refused(
            RefusalCode::RecordMismatch,
            format!(
                "is local in the object and global in {}; does the object carry a FILE symbol?",
                base.path()
            ),
        ));
    }
    if record.binding == elf::STB_WEAK.0 && old.scope == Scope::Global {
        return Err(refused(
            RefusalCode::RecordMismatch,
            format!(
                "is weak in the object and gave way to the definition of another object in {}: \
                 this one does not run; patch the one that does, or leave this change out",
                base.path()
            ),
        ));
    }
    if old.kind == SymbolKind::Data {
        return Err(refused(
            RefusalCode::RecordMismatch,
            format!(
                "is data in {}, not a function; keep data out of the code's sections, or change \
                 it from a hook",
                base.path()
            ),
        ));
    }
    if old.size_bytes != 0 && old.size_bytes != record.old_size {
        return Err(refused(
            RefusalCode::RecordMismatch,
            format!(
                "has {} bytes in {} and {} in the original object; the original objects must be \
                 those of the very build that runs",
                old.size_bytes,
                base.path(),
                record.old_size
            ),
        ));
    }
    Ok(old)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the record's two sides and the three places that its parts go to"
)]
fn plan_record(
    base: &Base<'_>,
    extract_index: usize,
    extract: &Extract<'_>,
    record: &Record<'_>,
    old: &BaseSymbol<'_>,
    options: &LinkOptions,
    resolver: &mut Resolver<'_, '_>,
    layout: &mut Layout,
) -> Result<RecordPlan, Refusal> {
    let name = match old.scope {
        Scope::Hidden => old.qualified(),
        Scope::Global | Scope::Weak | Scope::Local => QualifiedName {
            file: record.file.as_deref(),
            name: &record.name,
        },
    }
    .to_string();
    let refused = |code, message: String| Refusal::new(code, &extract.object, message).of(&name);
    if name.len() > SYMBOL_NAME_BYTES_MAX {
        return Err(refused(
            RefusalCode::NameTooLong,
            format!(
                "a loader takes names of at most {SYMBOL_NAME_BYTES_MAX} bytes; leave the function \
                 as it is, and change those that call it"
            ),
        ));
    }
    let target = resolver.target(extract_index, record.symbol, layout)?;
    let size = |bytes: u64| {
        u32::try_from(bytes)
            .ok()
            .filter(|&bytes| bytes != 0)
            .ok_or_else(|| {
                refused(
                    RefusalCode::RecordMismatch,
                    format!("a function of {bytes} bytes does not fit a record"),
                )
            })
    };
    let old_symbol = if base.is_relocatable() {
        let symbol = extract::Symbol {
            name: record.name.clone(),
            file: record.file.clone(),
            binding: record.binding,
            kind: elf::STT_FUNC.0,
            size: record.old_size,
            place: extract::Place::Base,
            otherwise: None,
        };
        Some(resolver.in_base(extract, &symbol, layout)?.symbol)
    } else {
        None
    };
    Ok(RecordPlan {
        object: extract.object.clone(),
        new: (target.symbol, target.bias),
        new_size: size(record.new_size)?,
        old_addr: old.address,
        old: old_symbol,
        old_size: size(record.old_size)?,
        expect: record::expectation(base, old, &record.original, &options.stacks_on),
        name,
    })
}

/// The payload's own build-id, still zero, and what it depends on.
fn append_notes(layout: &mut Layout, base: &Base<'_>, options: &LinkOptions) -> BuildId {
    let own = BuildId::new(&[0; note::BUILD_ID_BYTES]).expect("20 bytes are a legal id");
    let depends = match &options.stacks_on {
        StacksOn::Base => base.build_id(),
        StacksOn::Id(id) => id,
        StacksOn::Payload(below) => &below.build_id,
    };
    let prefix = options.abi.prefix;
    let mut notes = vec![
        (section::BUILD_ID.to_owned(), &own),
        (format!("{prefix}{}", section::DEPENDS), depends),
    ];
    if options.abi.base_note == BaseNote::Mandatory {
        let base_id = options.base_id.as_ref().unwrap_or(base.build_id());
        notes.push((format!("{prefix}{}", section::XEN_DEPENDS), base_id));
    }
    for (name, id) in notes {
        layout.add_section(Section {
            name: name.into(),
            memory: Memory::ReadOnly,
            content: Content::Note(id.to_note()),
            alignment: 4,
            entry_bytes: 0,
            relocations: Vec::new(),
        });
    }
    depends.clone()
}

/// `key=value` lines, each ended by NUL.
fn append_modinfo(layout: &mut Layout, extracts: &[&Extract<'_>], options: &LinkOptions) {
    let mut lines = vec![
        format!("{}={}", modinfo::ABI, options.abi.name),
        format!("{}={}", modinfo::NAME, options.name),
        format!("{}=xsplice-link {}", modinfo::TOOL, options.tool_version),
    ];
    if options.proof == BaseProof::Skipped {
        lines.push(format!("{}={}", modinfo::BASE_PROOF, modinfo::SKIPPED));
    }
    if options.references == References::Prelinked {
        lines.push(format!("{}=yes", modinfo::PRELINKED));
    }
    for extract in extracts {
        lines.extend(
            extract
                .accepted
                .iter()
                .map(|what| format!("{}={}:{what}", modinfo::ACCEPTED, extract.object)),
        );
    }
    lines.extend(
        options
            .metadata
            .iter()
            .map(|(key, value)| format!("{key}={value}")),
    );
    let mut bytes = Vec::new();
    for line in lines {
        // A NUL in the text would end the line early and start another one.
        bytes.extend(line.bytes().filter(|&byte| byte != 0));
        bytes.push(0);
    }
    layout.add_section(Section {
        name: section::MODINFO.into(),
        memory: Memory::ReadOnly,
        content: Content::Bytes(bytes),
        alignment: 1,
        entry_bytes: 0,
        relocations: Vec::new(),
    });
}

fn check_size(layout: &Layout, file_bytes: usize) -> Result<(), LinkError> {
    let refused = |message: String| {
        Err(LinkError::Refused(Refusals(vec![Refusal::new(
            RefusalCode::TooLarge,
            "payload",
            message,
        )])))
    };
    if file_bytes > PAYLOAD_BYTES_MAX {
        return refused(format!(
            "it has {file_bytes} bytes, and a loader takes {PAYLOAD_BYTES_MAX}; split the fix"
        ));
    }
    for section in &layout.sections {
        let size_bytes = section.content.size_bytes();
        if size_bytes > PAYLOAD_BYTES_MAX as u64 {
            return refused(format!(
                "{} has {size_bytes} bytes, and a loader takes {PAYLOAD_BYTES_MAX}",
                section.name
            ));
        }
    }
    // Its own header, those of the relocations, the three tables and the null one.
    let headers = layout.sections.len() * 2 + 4;
    if headers >= SECTIONS_MAX {
        return refused(format!("it may need {headers} sections"));
    }
    Ok(())
}
