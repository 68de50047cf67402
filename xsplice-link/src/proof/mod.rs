//! Proves that the original objects are the ones that the base was linked from.
//!
//! A record replaces whatever is at an address. That this is the function of the original object,
//! compiled by the same compiler from the same source, is proven by its bytes: they must be equal
//! where the linker does not change them. Every relocation field is decoded to the address that it
//! refers to, and that address must be what the object names there: the symbol, an equal string or
//! constant, the same place of a section.

mod failure;
mod relaxed;
mod tree;

use foldhash::{HashMap, HashMapExt as _};
use xsplice_abi::machine::{Kind, OF_RUNTIME};
use xsplice_diff::extract::{OriginalItem, OriginalRelocation, OriginalTarget};

use crate::base::{Base, Lookup, QualifiedName};
use crate::resolve::got;
pub use failure::{FailureKind, ProofFailure};
pub use tree::{ItemFailure, ObjectProof, TreeProof, prove_object};

/// How often the linker changed something that was proven equal all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deviations {
    /// GOT accesses that the linker turned into direct ones.
    pub relaxed: u64,
    /// Strings and constants that were followed and compared by content.
    pub content: u64,
    /// Targets that were resolved through the layout of their section.
    pub section_offsets: u64,
}

impl Deviations {
    pub(crate) fn add(&mut self, other: Deviations) {
        self.relaxed += other.relaxed;
        self.content += other.content;
        self.section_offsets += other.section_offsets;
    }
}

/// Proves items of one object. What it learns about the addresses of sections is used for the next
/// items.
#[derive(Debug)]
pub struct Prover<'base, 'data> {
    base: &'base Base<'data>,
    /// Section of the object → address that it must have been placed at.
    placed: HashMap<String, u64>,
    /// Sections whose address was learned from the current item.
    learned: Vec<String>,
    /// Content that was proven, with the linker's changes in it.
    contents: HashMap<Content, Deviations>,
    /// The linker's changes so far.
    pub deviations: Deviations,
}

/// The key of proven content: its bytes and relocations, compared by their addresses in memory, and
/// an address of the base. This is sound because a [`Prover`] borrows its items for as long as it
/// exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Content {
    bytes: usize,
    length: usize,
    relocations: usize,
    address: u64,
}

/// A decoded relocation field of the base.
struct Field {
    /// Address of the target, without the addend.
    target: u64,
    /// Offset of the first byte that needs no comparison.
    start: usize,
    /// Offset behind the last.
    end: usize,
}

/// Proves one item by itself.
///
/// # Errors
/// The first place that differs.
pub fn prove_at(
    base: &Base<'_>,
    item: &OriginalItem<'_>,
    address: u64,
) -> Result<Deviations, ProofFailure> {
    let mut prover = Prover::new(base);
    prover.prove(item, address)?;
    Ok(prover.deviations)
}

impl<'base, 'data> Prover<'base, 'data> {
    /// A prover for the items of one object.
    #[must_use]
    pub fn new(base: &'base Base<'data>) -> Prover<'base, 'data> {
        Prover {
            base,
            placed: HashMap::new(),
            learned: Vec::new(),
            contents: HashMap::new(),
            deviations: Deviations::default(),
        }
    }

    /// Proves that the base holds `item` at `address`.
    ///
    /// # Errors
    /// The first place that differs.
    pub fn prove(
        &mut self,
        item: &'base OriginalItem<'_>,
        address: u64,
    ) -> Result<(), ProofFailure> {
        let before = self.deviations;
        let result = self.compare(&item.bytes, &item.relocations, address);
        if result.is_err() {
            // A failed item is no evidence for the addresses of sections.
            self.deviations = before;
            for section in self.learned.drain(..) {
                self.placed.remove(&section);
            }
        }
        self.learned.clear();
        result
    }

    fn compare(
        &mut self,
        bytes: &[u8],
        relocations: &[OriginalRelocation<'_>],
        address: u64,
    ) -> Result<(), ProofFailure> {
        let fail = |offset: usize, kind| {
            Err(ProofFailure {
                offset: offset as u64,
                address: address.wrapping_add(offset as u64),
                kind,
            })
        };
        let Some(linked) = self.base.bytes_at(address, bytes.len() as u64) else {
            // Zero-initialised data has no bytes in the file, and no relocations.
            if relocations.is_empty()
                && bytes.iter().all(|&byte| byte == 0)
                && self.is_zero(address)
            {
                return Ok(());
            }
            return fail(0, FailureKind::OutsideImage);
        };
        let mut position = 0;
        for relocation in relocations {
            let Some(offset) = usize::try_from(relocation.offset)
                .ok()
                .filter(|&offset| offset < bytes.len())
            else {
                return fail(0, FailureKind::MalformedItem);
            };
            let field = match decode(self.base, bytes, linked, address, offset, relocation) {
                Ok(field) => field,
                Err(kind) => return fail(offset, kind),
            };
            let Some(field) = field else {
                continue;
            };
            if field.start < position {
                // Two relocations on one field, or a rewritten instruction that overlaps.
                return fail(offset, FailureKind::MalformedItem);
            }
            literal(bytes, linked, position, field.start, address)?;
            position = field.end;
            let is_rewritten = bytes[field.start..offset] != linked[field.start..offset];
            self.deviations.relaxed += u64::from(is_rewritten);
            if let Err(kind) = self.check_target(relocation, field.target) {
                return fail(offset, kind);
            }
        }
        literal(bytes, linked, position, bytes.len(), address)
    }

    fn is_zero(&self, address: u64) -> bool {
        self.base
            .section_at(address)
            .is_some_and(|section| section.data.is_empty())
    }

    /// Whether `found`, which the base's field refers to, is what the object refers to.
    fn check_target(
        &mut self,
        relocation: &OriginalRelocation<'_>,
        found: u64,
    ) -> Result<(), FailureKind> {
        match &relocation.target {
            OriginalTarget::Symbol { name, file } => {
                let name = QualifiedName {
                    file: file.as_deref(),
                    name,
                };
                let expected = match self.base.lookup(name) {
                    Lookup::Found(symbol) if symbol.address == found => return Ok(()),
                    Lookup::Found(symbol) => format!("{name} at {:#x}", symbol.address),
                    // Only the base's field tells which of them the object means.
                    Lookup::Ambiguous(all) if all.iter().any(|one| one.address == found) => {
                        return Ok(());
                    }
                    Lookup::Ambiguous(_) => format!("one of several {name}"),
                    // An undefined weak symbol is zero.
                    Lookup::Absent if found == 0 => return Ok(()),
                    Lookup::Absent => format!("{name}, which the base does not have"),
                };
                Err(self.target_differs(expected, found))
            }
            OriginalTarget::Content { bytes, relocations } => {
                self.deviations.content += 1;
                self.check_content(bytes, relocations, found)
                    .map_err(|inner| FailureKind::ContentDiffers {
                        address: found,
                        inner: Box::new(inner),
                    })
            }
            OriginalTarget::SectionOffset {
                section,
                offset,
                near,
            } => {
                self.deviations.section_offsets += 1;
                if let Some((name, file, below)) = near {
                    let name = QualifiedName {
                        file: file.as_deref(),
                        name,
                    };
                    let expected = match self.base.lookup(name) {
                        Lookup::Found(symbol) => {
                            if symbol.address.wrapping_add(*below) == found {
                                return Ok(());
                            }
                            format!("{name}+{below:#x}")
                        }
                        Lookup::Ambiguous(all) => {
                            if all
                                .iter()
                                .any(|one| one.address.wrapping_add(*below) == found)
                            {
                                return Ok(());
                            }
                            format!("one of several {name}, +{below:#x}")
                        }
                        // The base did not keep this label, so the address of the section decides.
                        Lookup::Absent => return self.check_place(section, *offset, found),
                    };
                    return Err(self.target_differs(expected, found));
                }
                self.check_place(section, *offset, found)
            }
            OriginalTarget::Absolute(value) if *value == found => Ok(()),
            OriginalTarget::Absolute(value) => {
                Err(self.target_differs(format!("the number {value:#x}"), found))
            }
        }
    }

    /// Compares content; each content is compared only once.
    fn check_content(
        &mut self,
        bytes: &[u8],
        relocations: &[OriginalRelocation<'_>],
        found: u64,
    ) -> Result<(), ProofFailure> {
        /// Up to this many bytes, comparing is faster than a lookup.
        const SHORT_BYTES: usize = 64;
        if relocations.is_empty() && bytes.len() <= SHORT_BYTES {
            return self.compare(bytes, relocations, found);
        }
        let content = Content {
            bytes: bytes.as_ptr().addr(),
            length: bytes.len(),
            relocations: relocations.as_ptr().addr(),
            address: found,
        };
        if let Some(deviations) = self.contents.get(&content) {
            self.deviations.add(*deviations);
            return Ok(());
        }
        let outer = std::mem::take(&mut self.deviations);
        let result = self.compare(bytes, relocations, found);
        let inner = std::mem::replace(&mut self.deviations, outer);
        self.deviations.add(inner);
        if result.is_ok() {
            self.contents.insert(content, inner);
        }
        result
    }

    /// All references into a section must agree on its address.
    fn check_place(&mut self, section: &str, offset: u64, found: u64) -> Result<(), FailureKind> {
        let start = found.wrapping_sub(offset);
        let known = match self.placed.get(section) {
            Some(known) => *known,
            None => {
                self.placed.insert(section.to_owned(), start);
                self.learned.push(section.to_owned());
                return Ok(());
            }
        };
        if known == start {
            return Ok(());
        }
        let expected = format!("{section}+{offset:#x} at {:#x}", known.wrapping_add(offset));
        Err(self.target_differs(expected, found))
    }

    fn target_differs(&self, expected: String, found: u64) -> FailureKind {
        let found = match self.base.describe(found) {
            Some((symbol, 0)) => symbol.qualified().to_string(),
            Some((symbol, distance)) => format!("{}+{distance:#x}", symbol.qualified()),
            None => format!("{found:#x}"),
        };
        FailureKind::TargetDiffers { expected, found }
    }
}

/// Compares bytes that the linker does not change.
fn literal(
    bytes: &[u8],
    linked: &[u8],
    start: usize,
    end: usize,
    address: u64,
) -> Result<(), ProofFailure> {
    let (Some(ours), Some(theirs)) = (bytes.get(start..end), linked.get(start..end)) else {
        return Err(ProofFailure {
            offset: start as u64,
            address: address.wrapping_add(start as u64),
            kind: FailureKind::MalformedItem,
        });
    };
    let Some(distance) = ours.iter().zip(theirs).position(|(a, b)| a != b) else {
        return Ok(());
    };
    let offset = start + distance;
    Err(ProofFailure {
        offset: offset as u64,
        address: address.wrapping_add(offset as u64),
        kind: FailureKind::BytesDiffer {
            expected: bytes[offset],
            found: linked[offset],
        },
    })
}

/// Decodes the field at `offset` of the linked bytes; `None` for an unknown type.
fn decode(
    base: &Base<'_>,
    bytes: &[u8],
    linked: &[u8],
    address: u64,
    offset: usize,
    relocation: &OriginalRelocation<'_>,
) -> Result<Option<Field>, FailureKind> {
    let place = address.wrapping_add(offset as u64);
    if got::is_got_access(relocation.kind) {
        let relaxed = relaxed::decode(base, bytes, linked, address, offset, relocation.addend)
            .ok_or(FailureKind::GotAccessDiffers)?;
        return Ok(Some(Field {
            target: relaxed.target,
            start: relaxed.start,
            end: relaxed.end,
        }));
    }
    let known = OF_RUNTIME.relocation(relocation.kind);
    let known = known.ok_or(FailureKind::UnknownRelocation(relocation.kind))?;
    let held = || known.field.read(linked.get(offset..)?);
    let value = match known.field.kind {
        Kind::Nothing if known.number == 0 => return Ok(None),
        Kind::Absolute if known.number == OF_RUNTIME.word.number => base.running_word_at(place),
        Kind::Absolute => held(),
        Kind::Relative => held().map(|value| value.wrapping_add(place)),
        _ => return Err(FailureKind::UnknownRelocation(relocation.kind)),
    };
    let size = known.field.bytes();
    let value = value.ok_or(FailureKind::MalformedItem)?;
    Ok(Some(Field {
        target: value.wrapping_sub(relocation.addend.cast_unsigned()),
        start: offset,
        end: offset + size,
    }))
}
