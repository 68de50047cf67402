//! Appends the sections of all extracts to the payload's sections, in object and section order.
//!
//! Only mergeable constants with equal bytes are deduplicated: with `SHF_MERGE` the compiler states
//! that they have no identity.

pub(crate) mod classify;
pub(crate) mod file_names;
pub(crate) mod known_constants;

use std::collections::{BTreeMap, HashMap};

use object::elf;
use xsplice_abi::Profile;
use xsplice_diff::extract::{Extract, Place, Section as Piece, Symbol};

use crate::error::{Refusal, RefusalCode};
use crate::layout::{Content, Layout, Memory, OutSection, Section};
use crate::merge::classify::{Class, Destination, Rank};

/// Where one section of an extract went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// This many bytes into a section.
    At(OutSection, u64),
    /// The same bytes are there already, from another section; its relocations are not needed.
    Shared(OutSection, u64),
    /// It was left out.
    Dropped,
}

/// Where every section went: by extract, then by section of the extract.
#[derive(Debug)]
pub(crate) struct Placement(Vec<Vec<Spot>>);

impl Placement {
    /// The spot of one section; `None` for an index that the extract does not have.
    #[must_use]
    pub(crate) fn spot(&self, extract: usize, piece: usize) -> Option<Spot> {
        self.0.get(extract)?.get(piece).copied()
    }
}

/// A section while it grows.
struct Growing {
    content: Content,
    alignment: u64,
    pieces: Vec<(usize, usize, u64)>,
}

/// The key by which mergeable sections are deduplicated.
#[derive(PartialEq, Eq, Hash)]
struct Constant<'data> {
    alignment: u64,
    entry_bytes: u64,
    bytes: &'data [u8],
}

/// Places every section of `extracts`, which are in their final order, into `layout`.
pub(crate) fn merge(
    extracts: &[&Extract<'_>],
    abi: &'static Profile,
    layout: &mut Layout,
    refusals: &mut Vec<Refusal>,
) -> Placement {
    let mut spots: Vec<Vec<Spot>> = extracts
        .iter()
        .map(|extract| vec![Spot::Dropped; extract.sections.len()])
        .collect();
    let mut growing: BTreeMap<Destination, Growing> = BTreeMap::new();
    let mut constants: HashMap<Constant<'_>, (usize, usize)> = HashMap::new();
    let mut shared = Vec::new();

    for (extract_index, extract) in extracts.iter().enumerate() {
        for (piece_index, piece) in extract.sections.iter().enumerate() {
            let destination = match classify::classify(piece, abi, extract.machine) {
                Class::Dropped => continue,
                Class::Refused(code, message) => {
                    refusals
                        .push(Refusal::new(code, &extract.object, message).in_section(&piece.name));
                    continue;
                }
                Class::Placed(destination) => destination,
            };
            // Alternatives with an empty replacement still point to a place for it, and the loader
            // requires that place to be in a replacement section.
            let is_target = |symbol: &Symbol| match symbol.place {
                Place::Section { section, .. } => section.0 == piece_index,
                _ => false,
            };
            if piece.size == 0 && !extract.symbols.iter().any(is_target) {
                continue;
            }
            if let Err(refusal) = check(piece, &destination, &extract.object) {
                refusals.push(refusal);
                continue;
            }
            if let Some(constant) = mergeable(piece) {
                let first = *constants
                    .entry(constant)
                    .or_insert((extract_index, piece_index));
                if first != (extract_index, piece_index) {
                    shared.push((extract_index, piece_index, first));
                    continue;
                }
            }
            let is_zero = destination.rank == Rank::Zero;
            // Between functions something that stops: nothing falls through.
            let padding = if destination.memory == Memory::Text {
                extract.machine.trap
            } else {
                0
            };
            growing
                .entry(destination)
                .or_insert_with(|| Growing {
                    content: if is_zero {
                        Content::Zero(0)
                    } else {
                        Content::Bytes(Vec::new())
                    },
                    alignment: 1,
                    pieces: Vec::new(),
                })
                .append(piece, padding, (extract_index, piece_index));
        }
    }

    for (destination, grown) in growing {
        let entry_bytes = match destination.rank {
            Rank::Table { entry_bytes } => entry_bytes,
            _ => 0,
        };
        if entry_bytes != 0 && !grown.content.size_bytes().is_multiple_of(entry_bytes) {
            refusals.push(gap(&destination, entry_bytes));
        }
        let out = layout.add_section(Section {
            name: destination.name,
            memory: destination.memory,
            content: grown.content,
            alignment: grown.alignment,
            entry_bytes,
            relocations: Vec::new(),
        });
        for (extract, piece, offset) in grown.pieces {
            spots[extract][piece] = Spot::At(out, offset);
        }
    }
    for (extract, piece, (first_extract, first_piece)) in shared {
        if let Spot::At(out, offset) = spots[first_extract][first_piece] {
            spots[extract][piece] = Spot::Shared(out, offset);
        }
    }
    Placement(spots)
}

impl Growing {
    fn append(&mut self, piece: &Piece<'_>, padding: u8, index: (usize, usize)) {
        let alignment = piece.alignment.max(1);
        self.alignment = self.alignment.max(alignment);
        let offset = match &mut self.content {
            Content::Zero(size_bytes) => {
                let offset = size_bytes.saturating_add(alignment - 1) & !(alignment - 1);
                *size_bytes = offset.saturating_add(piece.size);
                offset
            }
            Content::Bytes(bytes) | Content::Note(bytes) => {
                while !(bytes.len() as u64).is_multiple_of(alignment) {
                    bytes.push(padding);
                }
                let offset = bytes.len() as u64;
                bytes.extend_from_slice(&piece.data);
                offset
            }
        };
        self.pieces.push((index.0, index.1, offset));
    }
}

/// The rules for a single section.
fn check(piece: &Piece<'_>, destination: &Destination, object: &str) -> Result<(), Refusal> {
    let refused =
        |code, message: String| Err(Refusal::new(code, object, message).in_section(&piece.name));
    let alignment = piece.alignment.max(1);
    if !alignment.is_power_of_two() || alignment > xsplice_abi::limits::PAGE_BYTES {
        let message = format!(
            "an alignment of {alignment} bytes cannot be kept; a payload's regions are aligned to \
             pages of {} bytes",
            xsplice_abi::limits::PAGE_BYTES
        );
        return refused(RefusalCode::UnloadableSection, message);
    }
    let is_zero = destination.rank == Rank::Zero;
    if !is_zero && u64::try_from(piece.data.len()) != Ok(piece.size) {
        let message = format!(
            "the extract holds {} bytes of a section of {}; make the extract again",
            piece.data.len(),
            piece.size
        );
        return refused(RefusalCode::MalformedExtract, message);
    }
    if is_zero && piece.size > xsplice_abi::limits::PAYLOAD_BYTES_MAX as u64 {
        let message = format!("{} bytes of .bss are more than a loader takes", piece.size);
        return refused(RefusalCode::TooLarge, message);
    }
    if let Rank::Table { entry_bytes } = destination.rank
        && !piece.size.is_multiple_of(entry_bytes)
    {
        let message = format!(
            "{} bytes are no whole number of entries of {entry_bytes} bytes; was the object built \
             for another version of the base?",
            piece.size
        );
        return refused(RefusalCode::BrokenTable, message);
    }
    Ok(())
}

/// Refuses a gap that alignment leaves inside a table: a loader would read it as an entry.
fn gap(destination: &Destination, entry_bytes: u64) -> Refusal {
    Refusal::new(
        RefusalCode::BrokenTable,
        "payload",
        format!(
            "alignment leaves a gap between entries of {entry_bytes} bytes, which a loader would \
             read as an entry"
        ),
    )
    .in_section(&destination.name)
}

fn mergeable<'data>(piece: &'data Piece<'_>) -> Option<Constant<'data>> {
    let is_mergeable = piece.flags & elf::SHF_MERGE.0 != 0
        && piece.flags & elf::SHF_WRITE.0 == 0
        && piece.relocations.is_empty();
    is_mergeable.then_some(Constant {
        alignment: piece.alignment,
        entry_bytes: piece.entry_size,
        bytes: &piece.data,
    })
}
