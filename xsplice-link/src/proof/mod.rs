//! Proves that the original objects are the ones that the base was linked from.
//!
//! A record replaces whatever is at an address. That this is the function of the original object,
//! compiled by the same compiler from the same source, is proven by its bytes: they must be equal
//! where the linker does not change them. Every relocation field is decoded to the address that it
//! refers to, and that address must be what the object names there: the symbol, an equal string or
//! constant, the same place of a section.

mod failure;
mod fields;
mod tree;

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt as _};
use xsplice_abi::machine::Told;
use xsplice_diff::extract::{OriginalItem, OriginalRelocation, OriginalTarget};
use xsplice_diff::machine::linked;

use crate::base::{Base, Lookup, QualifiedName};
pub use failure::{FailureKind, ProofFailure};
use fields::{Compared, Field, Partners, decode};
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
pub(crate) struct Prover<'base, 'data> {
    base: &'base Base<'data>,
    /// Section of the object → address that it must have been placed at.
    placed: HashMap<String, u64>,
    /// Sections whose address was learned from the current item.
    learned: Vec<String>,
    /// Content that was proven, with the linker's changes in it.
    contents: HashMap<Content, Deviations>,
    /// The linker's changes so far.
    pub deviations: Deviations,
    /// Names that references of proven items lead to the place of, where a linker may have led
    /// them elsewhere.
    pub plain_names: BTreeSet<String>,
    /// The same of the current item.
    plain: Vec<String>,
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

/// Proves one item by itself.
///
/// # Errors
/// The first place that differs.
pub(crate) fn prove_at(
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
    pub(crate) fn new(base: &'base Base<'data>) -> Prover<'base, 'data> {
        Prover {
            base,
            placed: HashMap::new(),
            learned: Vec::new(),
            contents: HashMap::new(),
            deviations: Deviations::default(),
            plain_names: BTreeSet::new(),
            plain: Vec::new(),
        }
    }

    /// Proves that the base holds `item` at `address`.
    ///
    /// # Errors
    /// The first place that differs.
    pub(crate) fn prove(
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
        let plain = self.plain.drain(..);
        self.plain_names.extend(plain.filter(|_| result.is_ok()));
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
        let item = Compared {
            bytes,
            linked,
            address,
        };
        let mut position = 0;
        let mut fields: Vec<(&OriginalRelocation<'_>, Field)> = Vec::new();
        for relocation in relocations {
            let Some(offset) = usize::try_from(relocation.offset)
                .ok()
                .filter(|&offset| offset < bytes.len())
            else {
                return fail(0, FailureKind::MalformedItem);
            };
            let field = match decode(self.base, item, offset, relocation) {
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
            self.literal(item, position, field.start)?;
            position = field.end;
            self.deviations.relaxed += u64::from(field.is_rewritten);
            if let Some(sum) = field.told.address()
                && let Err(kind) = self.check_sum(relocation, sum)
            {
                return fail(offset, kind);
            }
            fields.push((relocation, field));
        }
        self.literal(item, position, bytes.len())?;
        if fields
            .iter()
            .any(|(_, field)| field.told.address().is_none())
        {
            self.check_parts(&fields, address)?;
        }
        Ok(())
    }

    /// Checks the fields that tell a part of their target's address each.
    fn check_parts(
        &mut self,
        fields: &[(&OriginalRelocation<'_>, Field)],
        address: u64,
    ) -> Result<(), ProofFailure> {
        let partners = Partners::new(fields);
        for (index, (relocation, field)) in fields.iter().enumerate() {
            if field.told.address().is_some() {
                continue;
            }
            let mut result = None;
            for sum in partners.sums(index) {
                let checked = self.check_sum(relocation, sum);
                if checked.is_ok() {
                    result = Some(checked);
                    break;
                }
                result.get_or_insert(checked);
            }
            // No other field of the same sum: only the address of what is meant can tell.
            let result = result.unwrap_or_else(|| self.check_alone(relocation, field.told));
            if let Err(kind) = result {
                return Err(ProofFailure {
                    offset: relocation.offset,
                    address: address.wrapping_add(relocation.offset),
                    kind,
                });
            }
        }
        Ok(())
    }

    /// Whether a part of an address is that of what the object refers to.
    fn check_alone(
        &self,
        relocation: &OriginalRelocation<'_>,
        told: Told,
    ) -> Result<(), FailureKind> {
        let fits = |start: u64| told.fits(start.wrapping_add_signed(relocation.addend));
        let by_name = |name: &str, file: Option<&str>, below: u64| {
            let found = match self.base.lookup(QualifiedName { file, name }) {
                Lookup::Found(symbol) => vec![symbol],
                Lookup::Ambiguous(all) => all,
                Lookup::Absent => Vec::new(),
            };
            let mut starts = found.iter().map(|one| one.address.wrapping_add(below));
            starts.any(fits)
        };
        let is_it = match &relocation.target {
            OriginalTarget::Symbol { name, file } => by_name(name, file.as_deref(), 0),
            OriginalTarget::SectionOffset {
                near: Some((name, file, below)),
                ..
            } => by_name(name, file.as_deref(), *below),
            OriginalTarget::SectionOffset {
                section, offset, ..
            } => {
                let place = self.placed.get(section);
                place.is_some_and(|start| fits(start.wrapping_add(*offset)))
            }
            OriginalTarget::Absolute(value) => fits(*value),
            OriginalTarget::Content { .. } => false,
        };
        if is_it {
            return Ok(());
        }
        Err(FailureKind::PartAlone)
    }

    /// Whether an address is that of what the object refers to, with its addend; a branch may go
    /// there by way of a veneer.
    fn check_sum(
        &mut self,
        relocation: &OriginalRelocation<'_>,
        sum: u64,
    ) -> Result<(), FailureKind> {
        let start = |sum: u64| sum.wrapping_sub(relocation.addend.cast_unsigned());
        let result = self.check_target(relocation, start(sum));
        let machine = self.base.machine();
        if result.is_ok() || !machine.is_branch(relocation.kind) {
            return result;
        }
        let fetch = |address, length| self.base.bytes_at(address, length);
        let Some(behind) = linked::veneer(machine, sum, &fetch) else {
            return result;
        };
        self.check_target(relocation, start(behind))?;
        self.deviations.relaxed += 1;
        Ok(())
    }

    /// Compares bytes that the linker does not change, but for instructions that it moved away.
    fn literal(
        &mut self,
        item: Compared<'_>,
        mut start: usize,
        end: usize,
    ) -> Result<(), ProofFailure> {
        let machine = self.base.machine();
        loop {
            let Err(failure) = literal(item.bytes, item.linked, start, end, item.address) else {
                return Ok(());
            };
            let offset = usize::try_from(failure.offset).unwrap_or(usize::MAX);
            let step = machine.instruction_bytes.unwrap_or(1);
            let at = offset - offset.checked_rem(step).unwrap_or(0);
            let moved = item.bytes.get(at..end).zip(item.linked.get(at..end));
            let moved = moved.and_then(|(ours, linked)| {
                let place = linked::Place {
                    ours,
                    linked,
                    address: item.address.wrapping_add(at as u64),
                };
                let fetch = |address, length| self.base.bytes_at(address, length);
                linked::moved_away(machine, &place, &fetch)
            });
            let Some(bytes) = moved else {
                return Err(failure);
            };
            self.deviations.relaxed += 1;
            start = at + bytes;
        }
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
                    Lookup::Found(symbol) if symbol.address == found => {
                        if file.is_none() && self.base.may_be_wrapped(name.name) {
                            self.plain.push(name.name.to_owned());
                        }
                        return Ok(());
                    }
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
    ///
    /// Shortcut S22: the first reference to a section without a kept label tells where it is, and
    /// all others must agree.
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
