//! Transfers every relocation of an included section into the payload: offsets translated, targets
//! resolved, GOT accesses rewritten. Refuses types that the profile's loader does not take.

use std::collections::BTreeMap;

use xsplice_abi::Profile;
use xsplice_abi::machine::{Kind, Machine, Range};
use xsplice_diff::extract::{self, Extract};
use xsplice_diff::machine::got::{self, Access};

use crate::error::{Refusal, RefusalCode};
use crate::layout::{Content, Layout, Memory, OutSection, OutSymbol, Place, Relocation, Section};
use crate::merge::{Placement, Spot};
use crate::resolve::{Reach, Resolver};

/// Section of the 8-byte slots.
const SLOTS: &str = ".got";
/// Size of a slot, in bytes.
const SLOT_BYTES: u64 = 8;

/// Transfers the relocations of every section.
pub(crate) fn relocate(
    extracts: &[&Extract<'_>],
    placement: &Placement,
    resolver: &mut Resolver<'_, '_>,
    abi: &'static Profile,
    layout: &mut Layout,
    refusals: &mut Vec<Refusal>,
) {
    let mut slots = Slots::default();
    for (extract_index, extract) in extracts.iter().enumerate() {
        for (piece_index, piece) in extract.sections.iter().enumerate() {
            let Some(Spot::At(out, start)) = placement.spot(extract_index, piece_index) else {
                continue;
            };
            for relocation in &piece.relocations {
                let place = |refusal: Refusal| refusal.at(&piece.name, relocation.offset);
                let carried = carry(
                    (extract_index, extract, piece),
                    relocation,
                    (out, start),
                    resolver,
                    abi,
                    layout,
                    &mut slots,
                );
                if let Err(refusal) = carried {
                    refusals.push(place(refusal));
                }
            }
        }
    }
    slots.fill(layout);
    for section in &mut layout.sections {
        section
            .relocations
            .sort_by_key(|relocation| relocation.offset);
    }
}

type From<'a, 'data> = (usize, &'a Extract<'data>, &'a extract::Section<'data>);

fn carry(
    (extract_index, extract, piece): From<'_, '_>,
    relocation: &extract::Relocation,
    (out, start): (OutSection, u64),
    resolver: &mut Resolver<'_, '_>,
    abi: &'static Profile,
    layout: &mut Layout,
    slots: &mut Slots,
) -> Result<(), Refusal> {
    let refused = |code, message: String| Refusal::new(code, &extract.object, message);
    let kind = relocation.kind;
    let machine = extract.machine;
    let is_got = machine.goes_through_slot(kind);
    let field = match abi.relocation(machine, kind).or_else(|| {
        let known = machine.relocation(kind);
        known.filter(|_| is_got)
    }) {
        Some(known) => known.field,
        None => {
            let message = not_taken(abi, machine, kind);
            return Err(refused(RefusalCode::UnknownRelocation, message));
        }
    };
    let end = relocation.offset.checked_add(field.bytes() as u64);
    if end.is_none_or(|end| end > piece.size)
        || matches!(layout.sections[out.0].content, Content::Zero(_))
    {
        return Err(refused(
            RefusalCode::MalformedExtract,
            format!(
                "a relocation lies outside its section of {} bytes",
                piece.size
            ),
        ));
    }
    let target = resolver.target(extract_index, relocation.symbol, layout)?;
    let is_own = matches!(layout.symbols[target.symbol.0].place, Place::Section(..));
    let is_short_address =
        field.kind == Kind::Absolute && matches!(field.range, Range::SignedAddress(_));
    if is_short_address && is_own && !resolver.base().is_in_top_window() {
        return Err(refused(
            RefusalCode::UnknownRelocation,
            format!(
                "{} of an address in the payload, which 32 bits cannot hold so far from {}; \
                 compile position-independent code (-fpic or -fpie), or link the image at the top \
                 of the address space, for which -mcmodel=kernel is",
                machine.type_name(kind),
                resolver.base().path()
            ),
        ));
    }
    let offset = start + relocation.offset;
    if !is_got {
        layout.sections[out.0].relocations.push(Relocation {
            offset,
            kind,
            symbol: target.symbol,
            addend: relocation.addend.wrapping_add(target.bias),
        });
        return Ok(());
    }
    let access = match target.reach {
        Reach::Near => {
            let Content::Bytes(bytes) = &mut layout.sections[out.0].content else {
                return Err(refused(
                    RefusalCode::MalformedExtract,
                    "a GOT access outside code".to_owned(),
                ));
            };
            got::relax(machine, bytes, offset, kind, relocation.addend)
        }
        Reach::Unknown => Access::Slot,
    };
    match access {
        Access::Direct { offset, addend } => {
            layout.sections[out.0].relocations.push(Relocation {
                offset,
                kind: machine.distance.number,
                symbol: target.symbol,
                addend: addend.wrapping_add(target.bias),
            });
        }
        Access::Slot => slots.uses.push(SlotUse {
            section: out,
            offset,
            addend: relocation.addend,
            target: (target.symbol, target.bias),
        }),
    }
    Ok(())
}

/// The sentence about a type that no loader of the ABI takes.
fn not_taken(abi: &Profile, machine: &'static Machine, kind: u32) -> String {
    /// Longer lists of types help nobody.
    const TYPES_SHOWN_MAX: usize = 8;
    let taken = abi.relocations(machine).iter().map(|known| known.name);
    let taken: Vec<_> = taken.collect();
    let taken = match taken.len() {
        0 => "and nothing else for this machine".to_owned(),
        1..=TYPES_SHOWN_MAX => format!("only {}", taken.join(", ")),
        count => format!("only {count} other types"),
    };
    format!(
        "the loader of `{}` does not take {}, {taken}; {}",
        abi.name,
        machine.type_name(kind),
        machine.position_advice
    )
}

/// GOT accesses that need a slot, collected until their number is known.
#[derive(Default)]
struct Slots {
    uses: Vec<SlotUse>,
}

struct SlotUse {
    section: OutSection,
    offset: u64,
    addend: i64,
    target: (OutSymbol, i64),
}

impl Slots {
    /// Adds the slots as a read-only section, one a target in order of first use, and points the
    /// accesses at them.
    fn fill(self, layout: &mut Layout) {
        if self.uses.is_empty() {
            return;
        }
        let mut offsets: BTreeMap<(OutSymbol, i64), u64> = BTreeMap::new();
        let (word, distance) = (layout.machine.word, layout.machine.distance);
        let mut relocations = Vec::new();
        for used in &self.uses {
            let next = relocations.len() as u64 * SLOT_BYTES;
            offsets.entry(used.target).or_insert_with(|| {
                let (symbol, addend) = used.target;
                relocations.push(Relocation {
                    offset: next,
                    kind: word.number,
                    symbol,
                    addend,
                });
                next
            });
        }
        let size_bytes = relocations.len() * word.field.bytes();
        let slots = layout.add_section(Section {
            name: SLOTS.into(),
            memory: Memory::ReadOnly,
            content: Content::Bytes(vec![0; size_bytes]),
            alignment: SLOT_BYTES,
            entry_bytes: SLOT_BYTES,
            relocations,
        });
        let symbol = layout.add_symbol(crate::layout::Symbol {
            name: String::new(),
            kind: crate::layout::Kind::Section,
            visibility: crate::layout::Visibility::Private,
            size_bytes: 0,
            place: Place::Section(slots, 0),
        });
        for used in self.uses {
            let slot = i64::try_from(offsets[&used.target]).expect("slots are counted in usize");
            layout.sections[used.section.0]
                .relocations
                .push(Relocation {
                    offset: used.offset,
                    kind: distance.number,
                    symbol,
                    addend: used.addend.wrapping_add(slot),
                });
        }
    }
}
